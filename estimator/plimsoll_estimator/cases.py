"""The batch door: one JSON case in, one JSON answer out, always. Called by `plimsoll estimate --cases`.

Follows the published contract of the batch door. Refuses to read files or the network: models come through a lookup.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final, Literal, Protocol

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.estimate import WeightTotals, prepare, weight_totals
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.prepared import Prepared
from plimsoll_estimator.resolved import Estimate, Gpu, RankEstimate, ResolvedArgs

_Faulty = Literal["NotJson", "InvalidInput"]
ModelLookup = Callable[[str], HfConfig | None]

_CASE_KEYS: Final = frozenset(
    {"id", "model", "model_config", "weights", "engine_version", "gpu", "engine_args", "available_kv_cache_bytes"}
)
_GPU_KEYS: Final = frozenset(
    {"product", "label_memory_mib", "total_memory_bytes", "free_memory_bytes", "interconnect", "compute_capability", "driver_major"}
)
MAX_CASE_CHARACTERS: Final = 8 << 20
"""A longer line is no case; whoever reads the stream need not read more of it."""
_HIDDEN: Final = frozenset({"version", "gpu", "given"})


class TextSink(Protocol):
    """Where answers go."""

    def write(self, text: str, /) -> object:
        """Write one answer line."""
        ...


def run_cases(stream_in: Iterable[str], stream_out: TextSink, models: ModelLookup) -> int:
    """Answer every line; 0 when all were JSON (whatever the verdicts), 2 when some line was not JSON."""
    status = 0
    for line in stream_in:
        if not line.strip():
            continue
        try:
            if len(line) > MAX_CASE_CHARACTERS:
                raise ValueError("line too long")
            line.encode()  # bytes that were no UTF-8 reach this door as lone surrogates: not JSON
            case = json.loads(line)
        except (ValueError, RecursionError):
            status = 2
            reply: dict[str, Any] = _failure(None, "invalid", "NotJson", "this line is not JSON")
        else:
            reply = answer_case(case, models)
        stream_out.write(_line(reply) + "\n")
    return status


def _line(reply: dict[str, Any]) -> str:
    """One line of JSON that any reader takes: escaped where not ASCII (a lone surrogate has no UTF-8), no NaN, no Infinity."""
    try:
        return json.dumps(reply, allow_nan=False)
    except ValueError:  # only the caller's own id can hold one: it is handed back as its text
        return json.dumps({**reply, "id": json.dumps(reply["id"])}, allow_nan=False)


def answer_case(case: object, models: ModelLookup) -> dict[str, Any]:
    """The answer to one case; bad input becomes verdict invalid, unknown territory unsupported, never an exception."""
    identity = case.get("id") if isinstance(case, Mapping) else None
    try:
        if not isinstance(case, Mapping):
            raise InvalidInput("case", case, "must be a JSON object")
        result, edge = _estimate_case(case, models)
    except InvalidInput as error:
        return _failure(identity, "invalid", "InvalidInput", str(error))
    except Unsupported as error:
        return _failure(identity, "unsupported", error.reason, str(error))
    except EngineRefusal as error:
        return _failure(identity, "refused", error.reason, str(error))
    return {"id": identity, **_as_json(result), **_edge(result, edge)}


def _edge(result: Estimate, edge: str | None) -> dict[str, Any]:
    """Whether the answer holds over its whole interval, and the message that says so where it does not."""
    return {"on_the_edge": edge is not None, "message": "; ".join(text for text in (result.message, edge) if text) or None}


def _failure(identity: object, verdict: str, reason: Check | _Faulty, message: str) -> dict[str, Any]:
    return {"id": identity, "verdict": verdict, "reason": reason, "message": message}


def _estimate_case(case: Mapping[str, Any], models: ModelLookup) -> tuple[Estimate, str | None]:
    _known_keys("case", case, _CASE_KEYS)
    given = case.get("available_kv_cache_bytes")
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= 1 << 50):
        raise InvalidInput("available_kv_cache_bytes", given, "must be a whole number of bytes")
    found = prepared_case(case, models)
    if isinstance(found, Estimate):
        return found, None
    answer = found.estimate(available_kv_cache_bytes=given)
    return answer, found.edge_of(answer)


def prepared_case(case: Mapping[str, Any], models: ModelLookup) -> Prepared | Estimate:
    """A case before its budget is looked at. Raises InvalidInput, Unsupported and EngineRefusal as `prepare`."""
    args = case.get("engine_args")
    return prepare(
        _model(case, models),
        EngineArgs.from_mapping({} if args is None else args),
        _gpu(case.get("gpu")),
        _version(case.get("engine_version")),
        weights=_weights(case.get("weights")),
    )


def _known_keys(name: str, data: Mapping[str, Any], known: frozenset[str]) -> None:
    for key in data:
        if key not in known:
            raise InvalidInput(f"{name}.{key}", data[key], "is not a key of the contract")


def _model(case: Mapping[str, Any], models: ModelLookup) -> HfConfig:
    config, name = case.get("model_config"), case.get("model")
    if config is not None:
        return HfConfig(config, "model_config")
    if not isinstance(name, str) or not 0 < len(name) <= 300:
        raise InvalidInput("model", name, "must name a model when there is no model_config")
    found = models(name)
    if found is None:
        raise InvalidInput("model", name, "is not in the catalogue; pass model_config")
    return found


def _version(text: object) -> EngineVersion:
    if text is None:
        return NEWEST_KNOWN
    if not isinstance(text, str):
        raise InvalidInput("engine_version", text, "must be a string")
    return EngineVersion.parse(text)


def _gpu(data: object) -> Gpu:
    if not isinstance(data, Mapping):
        raise InvalidInput("gpu", data, "must be an object")
    _known_keys("gpu", data, _GPU_KEYS)
    product, interconnect, capability = data.get("product"), data.get("interconnect"), data.get("compute_capability")
    for key, value in (("product", product), ("interconnect", interconnect), ("compute_capability", capability)):
        if value is not None and (not isinstance(value, str) or len(value) > 200):
            raise InvalidInput(f"gpu.{key}", value, "must be a string of at most 200 characters")
    for key in ("label_memory_mib", "total_memory_bytes", "free_memory_bytes", "driver_major"):
        value = data.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise InvalidInput(f"gpu.{key}", value, "must be a whole number")
    sizes = data.get("label_memory_mib"), data.get("total_memory_bytes"), data.get("free_memory_bytes")
    return gpu_from(product, *sizes, interconnect, capability, data.get("driver_major"))


def _weights(data: object) -> WeightTotals | None:
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise InvalidInput("weights", data, "must be an object")
    _known_keys("weights", data, frozenset({"total_bytes", "bytes_by_dtype"}))
    return weight_totals(data)


def _as_json(result: Estimate) -> dict[str, Any]:
    plan, interval = result.kv_plan, result.available_kv_cache_interval_bytes
    resolved = result.resolved
    outside = result.outside_budget
    return {
        "verdict": result.verdict,
        "reason": result.reason,
        "message": result.message,
        "ranks": [_rank_json(rank) for rank in result.ranks],
        "block_size": result.block_size,
        "num_gpu_blocks": plan.num_gpu_blocks if plan else None,
        "kv_cache_tokens": plan.kv_cache_tokens if plan else None,
        "max_model_len": plan.max_model_len if plan else (resolved.max_model_len if resolved else None),
        "max_concurrency": plan.max_concurrency if plan else None,
        "estimated_max_model_len": result.estimated_max_model_len,
        "resolved": _resolved_json(resolved, result.block_size) if resolved else None,
        "interval": {"available_kv_cache_bytes": list(interval)} if interval else None,
        "outside_budget": {"pre_snapshot_bytes": outside.pre_snapshot_bytes, "post_kv_bytes": outside.post_kv_bytes} if outside else None,
        "needed_kv_cache_bytes": result.needed_kv_cache_bytes,
        "host_memory_bytes": result.host_memory_bytes,
        "warnings": list(result.warnings),
    }


def _rank_json(rank: RankEstimate) -> dict[str, Any]:
    return {f.name: getattr(rank, f.name) for f in fields(rank)}


def _resolved_json(resolved: ResolvedArgs, block_size: int | None) -> dict[str, Any]:
    data = {f.name: getattr(resolved, f.name) for f in fields(resolved) if f.name not in _HIDDEN}
    data["engine_version"] = str(resolved.version)
    data["block_size"] = block_size if block_size is not None else resolved.block_size
    return data
