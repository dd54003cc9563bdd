"""What an engine's log says beside what was predicted of the same start: its arguments as estimates take them, each component's error.

Called by `plimsoll observe`. Pure arithmetic on an EngineLog and an Estimate; knows no file and no sentence of a log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.engine_log import MEMORY_COMPONENTS, EngineLog, Figure, WorkerLog
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EstimatorError, InvalidInput
from plimsoll_estimator.resolved import Estimate

_NO_FLAG: Final = frozenset(
    {"model", "model_tag", "subparser", "config", "dispatch_function", "api_key", "headless", "host", "port", "middleware"}
    | {"allowed_origins", "allowed_methods", "allowed_headers", "allow_credentials", "lora_modules", "prompt_adapters"}
)
"""In a log's arguments, and none of the engine's: what is served is asked for otherwise, and the rest is the HTTP server's."""
_RESOLVED: Final = {
    "dtype": "dtype",
    "max_seq_len": "max_model_len",
    "tensor_parallel_size": "tensor_parallel_size",
    "pipeline_parallel_size": "pipeline_parallel_size",
    "data_parallel_size": "data_parallel_size",
    "quantization": "quantization",
    "enforce_eager": "enforce_eager",
    "kv_cache_dtype": "kv_cache_dtype",
}
"""Fields of the engine's own configuration line, by the argument that gives them."""
_ROOM: Final = frozenset({"available_kv_cache_bytes", "total_bytes", "free_bytes", "requested_bytes"})
"""Of which the least is the worst; of a need the most is."""
_EACH: Final = tuple(item.name for item in fields(WorkerLog) if item.name != "worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedArguments:
    """Fields of EngineArgs as the log has them. `left_out` names arguments that the estimate cannot take, with why; `resolved`: they are
    what the engine made of its arguments, which the log does not have, so that sequences and tokens at once are not among them."""

    values: Mapping[str, Any]
    left_out: tuple[str, ...]
    resolved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One component of one kind of rank. Logged is the worst of its workers: the most of a need, the least of the cache.

    `error_bytes` is predicted less logged, known to `logged.off_by_bytes` either way; None where the log does not have the component.
    """

    component: str
    stage: int
    predicted_bytes: int
    logged: Figure | None
    workers: int

    @property
    def error_bytes(self) -> int | None:
        """Predicted less logged."""
        return None if self.logged is None else self.predicted_bytes - self.logged.value_bytes

    @property
    def error_ratio(self) -> float | None:
        """(predicted - logged) / logged; None where nothing, or nothing at all of it, is logged."""
        if self.logged is None or self.logged.value_bytes == 0:
            return None
        return (self.predicted_bytes - self.logged.value_bytes) / self.logged.value_bytes


def logged_arguments(log: EngineLog, version: EngineVersion) -> LoggedArguments:
    """The engine's arguments of a log, as this release reads them. What it, or the estimate, does not take is named, never raised."""
    given = log.arguments
    pairs = given if given is not None else tuple((_RESOLVED[name], value) for name, value in log.config if name in _RESOLVED)
    wanted = [(name, value, _tokens(name, value)) for name, value in pairs if name not in _NO_FLAG and value is not None]
    tokens = [word for _, _, words in wanted if _refusal(words, version) is None for word in words]
    left_out: list[str] = []
    for name, value, words in wanted:
        if _refusal(words, version) is None:
            continue
        refusal = _refusal([*tokens, *words], version)  # some are taken beside others only
        if refusal is None:
            tokens += words
        elif value is not False:  # a switch that is off, and whose release cannot spell that, is off
            left_out.append(f"{name}: {refusal}"[:200])
    try:
        values = parse_extra_args(tokens, version).engine_args
    except EstimatorError as error:
        return LoggedArguments(values={}, left_out=(*left_out, f"all arguments: {error}"[:200]), resolved=given is None)
    return LoggedArguments(values=values, left_out=tuple(left_out), resolved=given is None)


def _refusal(words: Sequence[str], version: EngineVersion) -> str | None:
    try:
        parse_extra_args(words, version)
    except EstimatorError as error:
        return str(error)
    return None


def _tokens(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{name.replace('_', '-')}"]
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return [flag, *map(str, value)]
    return [f"{flag}={json.dumps(value) if isinstance(value, dict | list) else value}"]


def compare(estimate: Estimate, log: EngineLog) -> tuple[Compared, ...]:
    """Every component of every kind of rank, in the order of an estimate. Components that are nothing in both are left out."""
    found: list[Compared] = []
    for rank in estimate.ranks:
        stage = _stage_of(rank.rank, estimate)
        workers = [worker for worker in log.workers if worker.stage == stage]
        for component in MEMORY_COMPONENTS:
            predicted = getattr(rank, component)
            logged = tuple(_figures(workers, component))
            if predicted == 0 and not logged:
                continue
            found.append(
                Compared(component=component, stage=stage, predicted_bytes=predicted, logged=_worst(component, logged), workers=len(logged))
            )
    return tuple(found)


def _stage_of(rank: int, estimate: Estimate) -> int:
    """Ranks are numbered stage by stage."""
    resolved = estimate.resolved
    return 0 if resolved is None else rank // max(1, resolved.tensor_parallel_size) % max(1, resolved.pipeline_parallel_size)


def _figures(workers: Sequence[WorkerLog], component: str) -> Iterator[Figure]:
    for worker in workers:
        figure = getattr(worker, component)
        if figure is not None:
            yield figure


def _worst(component: str, figures: Sequence[Figure]) -> Figure | None:
    choose = min if component in _ROOM else max
    return choose(figures, key=lambda figure: figure.value_bytes, default=None)


def fullest_logged(log: EngineLog) -> WorkerLog | None:
    """One rank that stands for all: of the stage with the least cache (most weights, where no cache is logged) the worst of each figure.

    It has the label of the worker whose cache, or weights, made the choice. None where no worker has a figure.
    """
    if not log.workers:
        return None
    stages: dict[int, list[WorkerLog]] = {}
    for worker in log.workers:
        stages.setdefault(worker.stage, []).append(worker)
    first = min(log.workers, key=_room)
    found = {name: _worst(name, tuple(_figures(stages[first.stage], name))) for name in _EACH}
    return WorkerLog(worker=first.worker, **found)


def _room(worker: WorkerLog) -> tuple[bool, int]:
    """Sorts the worker with the least room first; those whose cache is logged come before others."""
    cache, weights = worker.available_kv_cache_bytes, worker.weights_bytes
    return (True, -weights.value_bytes if weights is not None else 0) if cache is None else (False, cache.value_bytes)


def total_logged(log: EngineLog) -> Figure | None:
    """What CUDA reports for a GPU of this start: the least that a worker logs."""
    return min(_figures(log.workers, "total_bytes"), key=lambda figure: figure.value_bytes, default=None)


def release_of(log: EngineLog, stated: str | None) -> EngineVersion:
    """The engine's own word, else what is stated. Raises InvalidInput where neither tells a release."""
    if log.release is not None:
        return log.release
    if stated is not None:
        return EngineVersion.parse(stated)
    said = f"the log says {log.version}, which is no release" if log.version else "the log does not say it"
    raise InvalidInput("--engine-version", None, f"is needed: {said}")
