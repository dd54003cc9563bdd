"""Which record describes a model: every file of this folder that has `MODELS` is found by itself, and a config is read by its class's.

Called by `resolve`, `weights`, `kv_cache`, `overhead` and `explain`, which ask for a model's `Shape`. Knows no line by name: what no record
claims is unsupported, never taken for something else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from plimsoll_estimator import models
from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.mixers import Experts
from plimsoll_estimator.models.record import Model, Wrapper, always
from plimsoll_estimator.models.releases import releases_with
from plimsoll_estimator.reader import EXPERTS, MAX_WIDTH, VISION, dimensions, experts, language, positive, text_type, tower
from plimsoll_estimator.shape import Shape, Vision
from plimsoll_estimator.towers.largest import tower_blocks

_HEADS: Final = (
    "ForTextEncoding", "EmbeddingModel", "ForSequenceClassification", "ForTokenClassification", "ClassificationModel",
    "ForRewardModeling", "RewardModel", "Model",
)  # fmt: skip
"""Endings of pooling classes that vLLM makes of another class, the longest first (config/model.py: _SUFFIX_TO_DEFAULTS, v0.32.0)."""
_GENERATES: Final = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")
"""What it puts in their place, in its order (models/registry.py: _normalize_arch)."""
_ENDINGS: Final = re.compile(r"(LMHeadModel|ForCausalLM|ForConditionalGeneration|Model)$")
_LONGEST_NAME: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class _Records:
    """Every record by what names it. `languages`: what a wrapper may have inside. `bases`: Transformers' class without a head."""

    classes: Mapping[str, Model | Wrapper]
    languages: Mapping[str, Model]
    claimed: frozenset[str]
    bases: Mapping[str, str]


@cache
def _records() -> _Records:
    found = records()
    described = [record for record in found if isinstance(record, Model)]
    classes: dict[str, Model | Wrapper] = {}
    for record in found:
        for name in record.classes:
            assert name not in classes, f"{name} is in two records"
            classes[name] = record
    return _Records(
        classes=classes,
        languages={kind: record for record in reversed(described) if not record.multimodal for kind in record.model_types},
        claimed=frozenset(kind for record in described for kind in record.model_types),
        bases={_plain(stem): stem for name in reversed(classes) if (stem := _ENDINGS.sub("", name))},
    )


@cache
def records() -> tuple[Model | Wrapper, ...]:
    """Every record, in the order of the files' names."""
    return tuple(record for name in sorted(info.name for info in iter_modules(models.__path__)) for record in _of_file(name))


def _of_file(name: str) -> Iterable[Model | Wrapper]:
    if f"{models.__name__}.{name}" == __name__:
        return ()
    found: tuple[Model | Wrapper, ...] = getattr(import_module(f"{models.__name__}.{name}"), "MODELS", ())
    return found


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name).lower()


def known_classes() -> tuple[str, ...]:
    """The names in `architectures` that some record has, sorted."""
    return tuple(sorted(_records().classes))


def architecture_of(config: HfConfig) -> str:
    """The class vLLM picks. Without `architectures` it falls back to the base class of the model type (a pooling model)."""
    kind = config.model_type
    if config.list_or_none("architectures") or not kind:
        return config.architecture
    camel = "".join(part.capitalize() for part in kind.replace("-", "_").split("_"))
    return _records().bases.get(_plain(kind), camel) + "Model"


@kept_with_config
def find(config: HfConfig, architecture: str) -> Model:
    """The record of the class `architecture` around a config; a bare "...Model" or a pooling head is its causal class without the head.

    Raises Unsupported(UNSUPPORTED_ARCHITECTURE): for a class without a record, naming what resembles it; for a model type that no record
    claims, unless the checkpoint brings configuration code of its own; for a wrapper around such a language model.
    """
    records, kind = _records(), text_type(config)
    found = _named(records, architecture)
    if isinstance(found, Wrapper):
        inner = records.languages.get(kind)
        if inner is None:
            raise _unsupported(f"no rules for the language model {kind[:_LONGEST_NAME] or 'without a model_type'} behind {architecture}")
        return _around(architecture, kind)
    if kind and kind not in records.claimed and "auto_map" not in config:
        raise _unsupported(f"no rules for the model type {kind[:_LONGEST_NAME]} of {architecture}")
    return found


@lru_cache(maxsize=1024)
def _around(architecture: str, kind: str) -> Model:
    """The record of a wrapper with the language model of a type inside, both known to the register: made once, not for each config."""
    records = _records()
    wrapper = _named(records, architecture)
    assert isinstance(wrapper, Wrapper), "asked what is no wrapper for what it is around"
    return wrapper.around(records.languages[kind])


def _named(records: _Records, architecture: str) -> Model | Wrapper:
    known = records.classes.get(architecture)
    if known is not None:
        return known
    ending = next((ending for ending in _HEADS if architecture.endswith(ending)), "")
    stem = architecture.removesuffix(ending)
    for name in (stem + other for other in _GENERATES if ending):
        if name in records.classes:
            return records.classes[name]
    close = difflib.get_close_matches(architecture[:_LONGEST_NAME], records.classes, n=3, cutoff=0.6)
    hint = f"; the nearest known are {', '.join(close)}" if close else ""
    raise _unsupported(f"no rules for the model architecture {architecture[:_LONGEST_NAME]}{hint}")


def _unsupported(message: str) -> Unsupported:
    return Unsupported(Check.UNSUPPORTED_ARCHITECTURE, message)


def shape_of(config: HfConfig) -> Shape:
    """The shape of the class that vLLM picks for a config. Raises as `read`."""
    return read(config, architecture_of(config))


def served_by(config: HfConfig) -> str:
    """The releases that serve the class of a config, in words; nothing where the newest that is known does. Raises as `read`."""
    return releases_with(shape_of(config).architecture)


@kept_with_config
def read(config: HfConfig, architecture: str) -> Shape:
    """What the config's model is, read once. Raises Unsupported as `find` and for layers without a rule, InvalidInput naming a key."""
    model, text = find(config, architecture), language(config)
    size = dimensions(config, model.overrides(text), attends=model.attends)
    layers = model.layers(text, size)
    shape = Shape(
        architecture=architecture,
        size=size,
        layers=layers,
        multimodal=model.multimodal,
        vision=_vision(config) if model.multimodal else None,
        attends_both_ways=model.encodes(text),
        encoder_only=model.encodes is always,
        named_experts=experts(text),
        image_prefix=model.image_prefix(config),
        predictions=model.predictions(text, layers),
        drafter=model.drafter,
        chunk_size=positive(text, "mamba_chunk_size", "chunk_size", default=2048, limit=MAX_WIDTH),
    )
    _check_experts(text, shape)
    return shape


def _check_experts(text: HfConfig, shape: Shape) -> None:
    """Raises InvalidInput where a layer is made of experts, and the file has none or gives them no width: they would weigh nothing."""
    for layer in shape.kinds:
        if isinstance(layer.ffn, Experts) and layer.ffn.count < 1:
            key = next((key for key in EXPERTS if key in text.as_mapping()), EXPERTS[0])
            raise InvalidInput(f"{text.path}.{key}", layer.ffn.count, "must be at least 1 where layers are made of experts")
        if isinstance(layer.ffn, Experts) and layer.ffn.width < 1:
            raise InvalidInput(text.path, layer.ffn.width, "is no width for experts")


def _vision(config: HfConfig) -> Vision:
    """What the tower's configuration says of its outputs; nothing of a class that hears only, or reads no keys of a tower."""
    held = tower(config, VISION)
    levels = held.list_or_none("deepstack_visual_indexes") or ()
    return Vision(merges_patches="spatial_merge_size" in held, deepstack_levels=len(levels), blocks=tower_blocks(config, held))
