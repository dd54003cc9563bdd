"""From a source to a manifest: reads the small files of one checkpoint and writes its ModelProfile.

Called by `plimsoll profile`, the reader pod and the controller. What cannot be known (totals of .bin and GGUF files) is left
out and said in `notes`, never guessed. Refuses to know whether anything fits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_estimator import HfConfig, InvalidInput, format_gib, parse_json_object
from plimsoll_operator.api import ApiError, ClusterModelProfile, ModelProfile, ModelProfileSpec, ProfileOrigin, parse_object
from plimsoll_operator.api.base import DNS_NAME
from plimsoll_operator.names import API_VERSION, COMMIT
from plimsoll_operator.profiles.headers import dtype_totals
from plimsoll_operator.profiles.prune import prune
from plimsoll_operator.profiles.source import MAX_CONFIG_BYTES, MAX_INDEX_BYTES, Source, SourceFailure, one_large_at_a_time
from plimsoll_operator.reasons import NoShape

MAX_CONFIG_TEXT: Final = 65536
MAX_SHARDS: Final = 4096
_CONFIG: Final = "config.json"
_MODELOPT: Final = "hf_quant_config.json"
_INDEX: Final = "model.safetensors.index.json"
_SINGLE: Final = "model.safetensors"
_PICKLED: Final = (".bin", ".pt", ".pth")

Progress = Callable[[int, int, str], None]
"""Called before each header: files done, files in all, the next file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the profile is called, where it is valid (in `namespace`, or in the whole cluster when that is None), and for what.

    With an `origin` it answers only for deployments that use this ConfigMap or volume; with a `requested_revision` only for that
    branch, tag or commit.
    """

    model: str
    namespace: str | None
    obtained_at: str
    name: str | None = None
    origin: ProfileOrigin | None = None
    requested_revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A manifest that the API accepts, its spec as a value, and what its reader should know about it."""

    manifest: Mapping[str, Any]
    spec: ModelProfileSpec
    notes: tuple[str, ...]


def build_profile(source: Source, target: Target, progress: Progress) -> Built:
    """Read config.json, hf_quant_config.json, the index and the headers. Raises InvalidInput and SourceFailure."""
    sizes = source.sizes()
    notes: list[str] = []
    text = json.dumps(_config(source, sizes, notes), separators=(",", ":"))
    if len(text) > MAX_CONFIG_TEXT:
        raise InvalidInput(_CONFIG, len(text), f"bytes are left after pruning, more than the {MAX_CONFIG_TEXT} that a ModelProfile holds")
    totals = _totals(source, sizes, notes, progress)
    spec: dict[str, Any] = {"model": target.model, "revision": source.revision}
    spec |= {"requestedRevision": target.requested_revision, "config": text}
    if totals is not None:
        rows = [{"dtype": dtype, "bytes": totals[dtype]} for dtype in sorted(totals)]
        spec["weights"] = {"totalBytes": sum(totals.values()), "byDtype": rows}
    spec |= {"source": source.kind, "obtainedAt": target.obtained_at, "digest": shape_digest(text, totals)}
    if target.origin is not None:
        spec["origin"] = target.origin.model_dump(mode="json", by_alias=True, exclude_none=True)
    kind = "ClusterModelProfile" if target.namespace is None else "ModelProfile"
    manifest = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": _object_name(target, source.revision)} | ({"namespace": target.namespace} if target.namespace else {}),
        "spec": {key: value for key, value in spec.items() if value is not None},
    }
    try:
        parsed = parse_object(ClusterModelProfile, manifest) if target.namespace is None else parse_object(ModelProfile, manifest)
    except ApiError as error:
        cause = error.causes[0]
        raise InvalidInput(cause.field, cause.value.strip('"') or None, cause.message) from error
    return Built(manifest=manifest, spec=parsed.spec, notes=tuple(notes))


def _config(source: Source, sizes: Mapping[str, int], notes: list[str]) -> dict[str, Any]:
    """config.json as the estimator reads it: ModelOpt's side file inside it, as vLLM joins them, and pruned."""
    if _CONFIG not in sizes:
        raise _without_config(sizes)
    config = _json(source, _CONFIG, sizes[_CONFIG], MAX_CONFIG_BYTES)
    view = HfConfig(config, _CONFIG)
    if not view.architecture:
        raise InvalidInput(f"{_CONFIG}.architectures", "", "must name the model class")
    own = any(level.raw(key) for level in (view, view.text) for key in ("quantization_config", "compression_config"))
    if _MODELOPT in sizes and not own:
        side = _json(source, _MODELOPT, sizes[_MODELOPT], MAX_CONFIG_BYTES)
        config = dict(config) | {"quantization_config": {"quant_method": "modelopt", **side}}
        notes.append(f"quantization_config is from {_MODELOPT}")
    return prune(config)


def _json(source: Source, name: str, size: int, limit: int) -> Mapping[str, Any]:
    if size > limit:
        raise InvalidInput(name, size, f"must have at most {limit} bytes")
    with one_large_at_a_time(size):
        data = source.read(name, 0, size + 1)
        if len(data) > size:
            raise InvalidInput(name, len(data), f"bytes came, more than the {size} that were announced")
        return parse_json_object(data, name, infinite=True)


def _totals(source: Source, sizes: Mapping[str, int], notes: list[str], progress: Progress) -> Mapping[str, int] | None:
    names = _weight_files(source, sizes)
    if not names:
        only_gguf = _only_gguf(sizes)
        if only_gguf is not None:
            raise only_gguf
        notes.append(_without_totals(sizes))
        return None
    totals: dict[str, int] = {}
    for done, name in enumerate(names):
        progress(done, len(names), name)
        for dtype, found in dtype_totals(source, name, sizes[name]).items():
            totals[dtype] = totals.get(dtype, 0) + found
    progress(len(names), len(names), "")
    return totals


def _weight_files(source: Source, sizes: Mapping[str, int]) -> list[str]:
    """The files vLLM loads: those of the index, else model.safetensors, else all *.safetensors but a consolidated copy."""
    if _INDEX in sizes:
        mapped = _json(source, _INDEX, sizes[_INDEX], MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(mapped, dict) or not mapped or not all(isinstance(name, str) for name in mapped.values()):
            raise InvalidInput(f"{_INDEX}: weight_map", mapped, "must be an object of tensor names and file names")
        names = sorted(set(mapped.values()))
        if len(names) > MAX_SHARDS:
            raise InvalidInput(f"{_INDEX}: weight_map", len(names), f"files are more than {MAX_SHARDS}")
        for name in names:
            if name not in sizes:  # also keeps a path outside the folder from being read: only names that were listed are
                raise InvalidInput(f"{_INDEX}: weight_map", name, "is not among the checkpoint's files")
        return names
    if _SINGLE in sizes:
        return [_SINGLE]
    found = sorted(name for name in sizes if name.endswith(".safetensors"))
    return [name for name in found if not name.startswith("consolidated")] or found


def _without_config(sizes: Mapping[str, int]) -> SourceFailure:
    if any(name.lower().endswith(".gguf") for name in sizes):
        beside = "the GGUF files hold it in a form that is not read: profile the original model"
        return SourceFailure(NoShape.UNSUPPORTED, f"there is no {_CONFIG}, which tells the model's shape; {beside}")
    if "params.json" in sizes:
        return SourceFailure(NoShape.UNSUPPORTED, f"there is no {_CONFIG}, and params.json, Mistral's own form of it, is not read")
    if "adapter_config.json" in sizes:
        return SourceFailure(
            NoShape.UNSUPPORTED, f"there is no {_CONFIG}: this is an adapter, which is loaded beside the model it was made for"
        )
    return SourceFailure(NoShape.NOT_FOUND, f"there is no {_CONFIG}, which tells the model's shape")


def _only_gguf(sizes: Mapping[str, int]) -> SourceFailure | None:
    """GGUF beside nothing that vLLM loads by the repository's name: its own choice of quantisation is in the file's name."""
    found = [size for name, size in sizes.items() if name.lower().endswith(".gguf")]
    if not found or any(name.lower().endswith(_PICKLED) for name in sizes):
        return None
    known = f"known: the shape from config.json, {len(found)} GGUF files of together {format_gib(sum(found))}"
    if len(found) > 1:
        return SourceFailure(NoShape.AMBIGUOUS, f"{known}; not known: which of them is meant, and the bytes by dtype inside it")
    return SourceFailure(NoShape.UNSUPPORTED, f"{known}; not known: the bytes by dtype inside it, as GGUF headers are not read")


def _without_totals(sizes: Mapping[str, int]) -> str:
    for suffix, what in ((".bin", ".bin"), (".pt", ".pt"), (".pth", ".pth")):
        found = [size for name, size in sizes.items() if name.lower().endswith(suffix)]
        if found:
            known = f"known: the shape from config.json, {len(found)} {what} files of together {format_gib(sum(found))}"
            return f"{known}; not known: bytes by dtype, which only safetensors headers tell, so the estimate rests on config.json alone"
    return "known: the shape from config.json; not known: bytes by dtype, as there are no weight files"


def shape_digest(text: str, totals: Mapping[str, int] | None) -> str:
    """As `gather` identifies a shape of this config text and bytes by dtype: SHA-256 with sorted keys, its first 16 digits."""
    weights = None if totals is None else [sum(totals.values()), sorted(totals.items())]
    canonical = json.dumps([dict(HfConfig.from_json(text).as_mapping()), weights], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _object_name(target: Target, revision: str | None) -> str:
    """The name given, or one made of the model's and, of a commit, its first 12 digits: two commits are two objects."""
    if target.name is not None:
        if not re.fullmatch(DNS_NAME, target.name):
            raise InvalidInput("--name", target.name, "must be a DNS name of lower-case letters, digits, - and .")
        return target.name
    stem = re.sub(r"[^a-z0-9.]+", "-", target.model.lower()).strip("-.")[:200]
    suffix = f"-{revision[:12]}" if revision and COMMIT.fullmatch(revision) else ""
    name = f"{stem}{suffix}"
    if not re.fullmatch(DNS_NAME, name):
        raise InvalidInput("--model", target.model, "must hold a letter or a digit")
    return name
