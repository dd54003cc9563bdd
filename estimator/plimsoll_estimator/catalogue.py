"""The shipped catalogue: config.json shapes of well-known models, so that the command and the examples work offline.

Read by the CLI, the batch door and the controller's profile lookup. Holds facts (dimensions, quantisation settings, where
they were read) and refuses to know anything about a model that is not in it: names are matched exactly, never guessed.
Made by tools/make_catalogue.py; the file is package data, the only thing the estimator reads.
"""

from __future__ import annotations

import difflib
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

from plimsoll_estimator.hf_config import HfConfig

_FILE: Final = "data/catalogue.jsonl.gz"
# How publishers mark a quantised checkpoint after the model's name, with the bits of a weight.
_FORMATS: Final = {
    "fp8": 8, "fp8-dynamic": 8, "fp8-static-pertensor": 8, "int8": 8, "gptq-int8": 8, "w8a8": 8, "w8a16": 8,
    "awq": 4, "gptq": 4, "gptq-int4": 4, "int4": 4, "w4a16": 4, "nvfp4": 4, "mxfp4": 4,
}  # fmt: skip
# What a config says beside the shape: how weights are stored, and who wrote the file.
_NOT_SHAPE: Final = frozenset({"quantization_config", "compression_config", "torch_dtype", "dtype", "transformers_version", "use_cache"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One model's shape and where it comes from.

    `parameters` counts the elements of the model class as built (tied tensors once), `stored_parameters` the elements that
    the published checkpoint stores (packed formats store several values in one), `stored_bytes` its files' total. None:
    not known. `revision` is the hub commit, known for none of the entries that were read from other repositories.
    `fidelity` says how the config was had: verbatim, or put together from other published facts.
    """

    name: str
    config: HfConfig
    source: str
    fidelity: str
    parameters: int | None
    stored_parameters: int | None
    stored_bytes: int | None
    revision: str | None


@lru_cache(maxsize=1)
def _lines() -> dict[str, str]:
    """Model name to its unparsed line: an unwanted model is never parsed."""
    packed = resources.files("plimsoll_estimator").joinpath(_FILE).read_bytes()
    lines: dict[str, str] = {}
    for line in gzip.decompress(packed).decode().split("\n")[:-1]:
        name, _, text = line.partition("\t")
        lines[name] = text
    return lines


@lru_cache(maxsize=1)
def _folded() -> dict[str, str]:
    return {name.lower(): name for name in _lines()}


def names() -> tuple[str, ...]:
    """Every model's name, in alphabetical order without regard to case."""
    return tuple(_lines())


@lru_cache(maxsize=32)  # what is worked out from a config lives with it
def entry(name: str) -> CatalogueEntry | None:
    """The entry of exactly this hub name (case aside, as the hub itself has it), or None."""
    known = _folded().get(name.strip().lower())
    if known is None:
        return None
    data = json.loads(_lines()[known])
    return CatalogueEntry(
        name=known,
        config=HfConfig(data["config"]),
        source=data["source"],
        fidelity=data["fidelity"],
        parameters=data.get("parameters"),
        stored_parameters=data.get("stored_parameters"),
        stored_bytes=data.get("stored_bytes"),
        revision=data.get("revision"),
    )


@lru_cache(maxsize=64)
def quantised_siblings(name: str) -> tuple[str, ...]:
    """Entries that are this model with quantised weights, most bits first; empty where the catalogue knows of none.

    Two facts must agree: the published name is the model's own with nothing but a format added, and the configs are equal in every
    key but those of storage. A model of equal shape and another name is another model; so is one of that name and another shape.
    """
    base = entry(name)
    if base is None or base.config.raw("quantization_config") or base.config.raw("compression_config"):
        return ()
    shape, wanted = _shape(base.config), base.name.rpartition("/")[2].lower()
    found: list[tuple[int, str]] = []
    for other in names():
        model, _, added = other.rpartition("/")[2].lower().partition(wanted + "-")
        if model or added not in _FORMATS:
            continue
        candidate = entry(other)
        if candidate is not None and _says_how(candidate.config) and _shape(candidate.config) == shape:
            found.append((-_FORMATS[added], other))
    return tuple(other for _, other in sorted(found))


def _says_how(config: HfConfig) -> bool:
    """The config names vLLM's method: without it nothing tells how many bytes the weights take."""
    stored = config.raw("quantization_config") or config.raw("compression_config")
    return isinstance(stored, Mapping) and bool(stored.get("quant_method"))


def _shape(config: HfConfig) -> dict[str, object]:
    return {
        key: _shape(HfConfig(value)) if isinstance(value, Mapping) else value
        for key, value in config.as_mapping().items()
        if key not in _NOT_SHAPE
    }


def lookup(name: str) -> HfConfig | None:
    """The config of exactly this hub name, or None."""
    found = entry(name)
    return None if found is None else found.config


def resembling(name: str) -> tuple[str, ...]:
    """Up to three names of the catalogue that look like `name`, organisation and case aside; the likest first."""
    last = {known.rsplit("/", 1)[-1].lower(): known for known in reversed(names())}
    return tuple(last[like] for like in difflib.get_close_matches(name.rsplit("/", 1)[-1].lower(), last, n=3, cutoff=0.7))


def search(text: str) -> tuple[str, ...]:
    """Names that hold every word of `text`, case aside; words are split at blanks and slashes."""
    words = text.lower().replace("/", " ").split()
    return tuple(name for name in names() if all(word in name.lower() for word in words))
