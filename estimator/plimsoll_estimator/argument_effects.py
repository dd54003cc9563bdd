"""What a `vllm serve` argument without a field of EngineArgs does to memory: its class, by release and value, with its proof.

Called by `arguments`. data/argument_classes.json is kept by hand, a row for each flag (and release, and values, where these differ):

neutral: vLLM's own code makes the same specs and plan. host: it takes host memory. reserve: what it may take has no exact rule; a stated
reserve is held on every GPU and widens the interval by as much on both sides. model: it changes the model's shape, and is applied to it.
rule: what it takes is worked out. refused: it contradicts the plan, or the pod. unruled: there is no rule, so it is refused unless a
policy lets such arguments through. What the table does not name is unruled too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

from plimsoll_estimator.argument_spelling import GivenArgument
from plimsoll_estimator.argument_table import ArgumentRow
from plimsoll_estimator.argument_values import NO_RULE, value_of, whole_number
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.units import GIB, MIB

Kind = Literal["neutral", "host", "reserve", "model", "rule", "refused", "unruled"]
_NOT_LET: Final = ("refused", "unruled")
_LARGEST_FILE: Final = 5 * GIB  # of a checkpoint as published
_STREAMED: Final = 40 * 10**9  # run:ai's streamer: RUNAI_STREAMER_MEMORY_LIMIT where nothing is said
_THREADS: Final = 8  # model_loader/default_loader.py: DEFAULT_NUM_THREADS
_MOST_THREADS: Final = 1024
_MOST_GIB: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One row. `why` is the proof of a class that is let through, else the reason as a user reads it; bytes are of one rank.

    `values`: it holds for these alone; empty: for the rest. `whole_weights`: a copy of the rank's weights in host memory.
    """

    flag: str
    kind: Kind
    why: str
    since: EngineVersion | None = None
    before: EngineVersion | None = None
    values: tuple[str, ...] = ()
    gpu_bytes: int = 0
    host_bytes: int = 0
    whole_weights: bool = False

    def holds(self, version: EngineVersion, value: str | None) -> bool:
        """Whether the row speaks of the release and the value."""
        of_release = (self.since is None or self.since <= version) and (self.before is None or version < self.before)
        return of_release and (not self.values or value in self.values)


@cache
def effects() -> Mapping[str, tuple[Effect, ...]]:
    """The rows by flag; of one flag, those of values stand before the rest."""
    text = resources.files("plimsoll_estimator").joinpath("data/argument_classes.json").read_text(encoding="utf-8")
    found: dict[str, tuple[Effect, ...]] = {}
    for row in json.loads(text)["classes"]:
        border = {key: EngineVersion.parse(row[key]) for key in ("since", "before") if key in row}
        effect = Effect(
            flag=row["flag"],
            kind=row["class"],
            why=row["why"],
            values=tuple(row.get("values", ())),
            gpu_bytes=row.get("gpu_mib", 0) * MIB,
            host_bytes=row.get("host_mib", 0) * MIB,
            whole_weights=row.get("whole_weights", False),
            **border,
        )
        found[effect.flag] = (*found.get(effect.flag, ()), effect)
    return found


def effect_of(row: ArgumentRow, version: EngineVersion, value: str | None = None) -> Effect:
    """The class of a flag in a release, with this value; of the rest of its values where none is given."""
    if not row.moves_memory:
        return Effect(flag=row.flag, kind="neutral", why="read by the API server, or for names, logs and requests, after the start")
    if value is not None and value in row.harmless_values:
        return Effect(flag=row.flag, kind="neutral", why="the default, or what it stands for")
    found = next((effect for effect in effects().get(row.flag, ()) if effect.holds(version, value)), None)
    if found is None and row.engine_field is not None:
        return Effect(flag=row.flag, kind="rule", why=f"worked out from {row.engine_field}, as vLLM's own code does")
    return found or Effect(flag=row.flag, kind="unruled", why=NO_RULE)


def admits(row: ArgumentRow, version: EngineVersion) -> bool:
    """Whether a release's flag is let through with anything but a value that means its default."""
    rows = [effect for effect in effects().get(row.flag, ()) if effect.holds(version, None) or effect.values]
    return any(effect.kind not in _NOT_LET for effect in (*rows, effect_of(row, version)))


class Sums:
    """What the arguments of one list add up to, as fields of EngineArgs; `unruled` has the spellings that a policy let through."""

    __slots__ = ("_reserves_unruled", "fields", "unruled")

    def __init__(self, *, reserves_unruled: bool) -> None:
        self._reserves_unruled = reserves_unruled
        self.fields: dict[str, Any] = {}
        self.unruled: list[str] = []

    def add(self, item: GivenArgument, version: EngineVersion) -> None:
        """Count an argument. Raises InvalidInput naming it where it is refused."""
        if item.negated:
            return  # the default, or less of what is counted
        special = _SPECIAL.get(item.flag)
        value = item.values[0] if len(item.values) == 1 and not item.key_path else None
        counted = special(item, value) if special is not None else None
        for name, amount in (counted or {}).items():
            self._plus(name, amount)
        if special is None or (counted is None and item.flag == _BY_VALUE):
            self.count(item, effect_of(item.row, version, value))
        elif counted is None:
            self.without_rule(item)

    def without_rule(self, item: GivenArgument, why: str = NO_RULE) -> None:
        """Count an argument whose value has no rule. Raises InvalidInput naming it where none is let through."""
        self.count(item, Effect(flag=item.flag, kind="unruled", why=why))

    def found(self) -> Mapping[str, Any]:
        """The fields. A streamer's own limit holds for its buffer."""
        fields = dict(self.fields)
        limit = fields.pop("streamed_bytes", None)
        if limit is not None and fields.get("loader_buffer_bytes") == _STREAMED:
            fields["loader_buffer_bytes"] = limit
        return fields

    def count(self, item: GivenArgument, effect: Effect) -> None:
        """Count an argument of this class."""
        if effect.kind == "refused":
            raise InvalidInput(item.spelling, " ".join(item.tokens), f"is refused: {effect.why}")
        if effect.kind == "unruled":
            if not self._reserves_unruled:
                raise InvalidInput(item.spelling, " ".join(item.tokens), effect.why)
            self.unruled.append(item.spelling)
            self.fields["unruled"] = True
        self._plus("reserved_gpu_bytes", effect.gpu_bytes)
        self._plus("reserved_host_bytes", effect.host_bytes)
        if effect.whole_weights:
            self.fields["weights_on_host"] = True

    def _plus(self, name: str, amount: int) -> None:
        if not amount:
            return
        largest = name in _LARGEST
        self.fields[name] = max(self.fields.get(name, 0), amount) if largest else self.fields.get(name, 0) + amount


_BY_VALUE: Final = "--load-format"
_LARGEST: Final = frozenset({"max_cudagraph_capture_size", "loader_buffer_bytes", "streamed_bytes"})


def _sizes(values: object, item: GivenArgument) -> dict[str, int]:
    """Graphs for a list of batch sizes: counted up to the largest; more sizes than the usual list has are a reserve of their own."""
    found = [whole_number(one) for one in values] if isinstance(values, list) else []
    sizes = sorted({one for one in found if one is not None and 0 < one <= 1 << 20})
    if not sizes or any(one not in sizes for one in found):
        raise InvalidInput(item.spelling, " ".join(item.tokens), "must be whole numbers above 0")
    # Of any number of the smallest: which of them are within a batch is not known here.
    beyond = max(count - (3 + size // 8) for count, size in enumerate(sizes, 1))
    return {"max_cudagraph_capture_size": sizes[-1], "reserved_gpu_bytes": max(0, beyond) * 24 * MIB}


def _capture_sizes(item: GivenArgument, value: str | None) -> dict[str, int] | None:
    return _sizes(value_of(item), item)


def _cuda_graph_sizes(item: GivenArgument, value: str | None) -> dict[str, int] | None:
    """One number is the largest of the usual list (0.9.1 to 0.11.0, config: cuda_graph_sizes)."""
    return _sizes(value_of(item), item)


_PASSES: Final = frozenset(
    {
        "backend", "cache_dir", "compile_cache_save_format", "compile_mm_encoder", "compile_sizes", "cudagraph_mode",
        "cudagraph_num_of_warmups", "cudagraph_specialize_lora", "custom_ops", "debug_dump_path", "dynamic_shapes_config",
        "full_cuda_graph", "inductor_compile_config", "level", "mode", "pass_config", "splitting_ops", "use_cudagraph", "use_inductor",
        "use_inductor_graph_partition",
    }
)  # fmt: skip
_OF_COMPILATION: Final = 1024 * MIB
"""Graphs of another mode, workspaces of fused collectives, and what fusing spares where it is switched off (config/compilation.py)."""


def _compilation(item: GivenArgument, value: str | None) -> dict[str, int] | None:
    """Capture sizes are read; for the rest there is a reserve. A key that is not listed has no rule."""
    if item.key_path:
        path = item.key_path[0]
        if path.removesuffix("+") in ("cudagraph_capture_sizes", "max_cudagraph_capture_size"):
            texts = item.values[0].strip("[] ").split(",") if item.values else []
            return _sizes([int(text) for text in texts if text.strip().isdecimal() and len(text) < 9], item)
        return {"reserved_gpu_bytes": _OF_COMPILATION} if path in _PASSES else None
    if value in ("{}", None):
        return {} if value else None
    if value is not None and value.isdecimal():  # -O3 of the releases that read a level here
        return {"reserved_gpu_bytes": _OF_COMPILATION} if value in ("0", "1", "2", "3") else None
    found = value_of(item)
    if not isinstance(found, Mapping) or not found.keys() <= _PASSES | {"cudagraph_capture_sizes", "max_cudagraph_capture_size"}:
        return None
    counted = {"reserved_gpu_bytes": _OF_COMPILATION} if found.keys() & _PASSES else {}
    sizes = found.get("cudagraph_capture_sizes")
    largest = found.get("max_cudagraph_capture_size")
    of_sizes = _sizes(sizes if sizes is not None else [largest], item) if sizes is not None or largest is not None else {}
    return {name: counted.get(name, 0) + of_sizes.get(name, 0) for name in counted.keys() | of_sizes.keys()}


def _of_value(item: GivenArgument, value: str | None) -> dict[str, int] | None:
    """GiB of GPU memory that the API server's processes may take for decoded items (multimodal/gpu_ipc_memory.py)."""
    size = value_of(item)
    if not isinstance(size, int | float) or not 0 <= size <= _MOST_GIB:
        raise InvalidInput(item.spelling, " ".join(item.tokens), f"must be a number of GiB from 0 to {_MOST_GIB}")
    return {"reserved_gpu_bytes": int(size * GIB)}


def _loader(item: GivenArgument, value: str | None) -> dict[str, int] | None:
    if value not in ("runai_streamer", "runai_streamer_sharded"):
        return None
    return {"loader_buffer_bytes": _STREAMED}


def _loader_config(item: GivenArgument, value: str | None) -> dict[str, int] | None:
    """Files that several threads hold at once (weight_utils.py: multi_thread_safetensors_weights_iterator); a streamer's own limit."""
    if item.key_path:
        return None
    found = value_of(item)
    if not isinstance(found, Mapping) or not found.keys() <= {
        "enable_multithread_load", "num_threads", "concurrency", "memory_limit", "distributed", "pattern",
    }:  # fmt: skip
        return None
    threads, limit = found.get("num_threads", _THREADS), found.get("memory_limit")
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 < threads <= _MOST_THREADS:
        raise InvalidInput(item.spelling, value, f"must have num_threads from 1 to {_MOST_THREADS}")
    if found.get("enable_multithread_load"):
        return {"loader_buffer_bytes": threads * _LARGEST_FILE}
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= 1 << 50:
        return {} if limit is None else None
    return {"streamed_bytes": limit}


_SPECIAL: Final = {
    "--cudagraph-capture-sizes": _capture_sizes,
    "--cuda-graph-sizes": _cuda_graph_sizes,
    "--compilation-config": _compilation,
    "--mm-ipc-gpu-memory-gb": _of_value,
    "--load-format": _loader,
    "--model-loader-extra-config": _loader_config,
}
RULED_HERE: Final = frozenset(_SPECIAL)
"""Flags whose values are read here; what of them has no rule is classed by the table."""
