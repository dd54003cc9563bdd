"""The text of an engine's log to one value: what its last start took, by worker, and why it ended where it did.

Called by `plimsoll observe` and by the controller, which tells of an engine that ends. Pure, and total: any text at all gives a value, in
time bounded by `lines`. A figure that cannot be, or that contradicts one of the same worker, is left out and said. Knows no prediction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from plimsoll_estimator.engine_log import written
from plimsoll_estimator.engine_log.failures import failure_in
from plimsoll_estimator.engine_log.forms import found_in
from plimsoll_estimator.engine_log.lines import Line, lines_of
from plimsoll_estimator.engine_log.printed import MOST_SECONDS, count, of_unit
from plimsoll_estimator.engine_log.values import FIGURES, EngineLog, Failure, FailureCause, Figure, Times, WorkerLog
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput

MOST_WORKERS: Final = 1024
MOST_DROPPED: Final = 20
_TIMES: Final = ("load_seconds", "profile_seconds", "compile_seconds", "capture_seconds", "init_seconds")
_SUMS: Final = {"each_read_seconds": "read_seconds", "each_compile_seconds": "compile_seconds"}
"""Said once for the model and once for its draft."""
_MOST_SUMMED: Final = 8
_MOST_UTILIZATION: Final = 1.0
_MOST_CONCURRENCY: Final = 1e9
_DIGITS: Final = re.compile(r"(\d+)")
_SERVERS: Final = ("APIServer", "ApiServer")
_ENGINES: Final = ("EngineCore", "Worker", "VllmWorker", "RayWorker")
_AFTERWARDS: Final = (FailureCause.STOPPED, FailureCause.ENGINE_TIMED_OUT)
"""What an engine says because its server has ended."""


@dataclass(slots=True)
class _Start:
    """What has been read of one start so far."""

    figures: dict[str, dict[str, Figure]] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    sums: dict[str, dict[str, set[float]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    utilization: dict[str, float] = field(default_factory=dict)
    concurrency: float | None = None
    arguments: tuple[tuple[str, Any], ...] | None = None
    config: tuple[tuple[str, Any], ...] = ()
    engines: set[str] = field(default_factory=set)
    failure: Failure | None = None
    failed: str = ""
    ready: bool = False

    @property
    def begun(self) -> bool:
        """Whether another opening line is another start's."""
        return bool(self.figures or self.ready or (self.failure is not None))


def read_engine_log(text: str) -> EngineLog:
    """The last start in this text. Never raises."""
    lines, cut = lines_of(text)
    reading = _Reading()
    for line in lines:
        reading.take(line)
    return replace(reading.value(), cut=cut)


class _Reading:
    """One pass over the lines."""

    def __init__(self) -> None:
        self._start = _Start()
        self._starts = 0
        self._dropped: list[str] = []

    def take(self, line: Line) -> None:
        """Read one line."""
        found = found_in(line)
        if found is not None:
            self._take(line, {name: said for name, said in found.groupdict().items() if said is not None})
        failure = failure_in(line)
        if failure is not None and self._tells_more(line, failure):
            self._start.failure, self._start.failed = replace(failure, serving=self._start.ready), line.process

    def _tells_more(self, line: Line, failure: Failure) -> bool:
        """The first error counts, a known one before others. But an API server also logs what single requests fail of (an image that
        cannot be fetched, a prompt that is too long), which ends nothing: what an engine's own process says comes before that."""
        known = self._start.failure
        if known is None or (known.cause is FailureCause.OTHER and failure.cause is not FailureCause.OTHER):
            return True
        if not self._start.failed.startswith(_SERVERS) or not line.process.startswith(_ENGINES):
            return False
        return failure.cause not in _AFTERWARDS and (self._start.ready or failure.cause is not FailureCause.OTHER)

    def _take(self, line: Line, said: dict[str, str]) -> None:
        self._opens(line, said)
        start = self._start
        if "ready" in said or "init_seconds" in said:
            start.failure = None  # whatever went wrong before, it went on
        if "ready" in said:
            start.ready = True
        elif not start.ready:
            self._figures(line.worker, said)
            self._times(line, said)
            self._scalars(said)

    def _opens(self, line: Line, said: Mapping[str, str]) -> None:
        again = "engine_version" in said and line.process in self._start.engines
        if self._start.begun and (again or "server_version" in said or "arguments" in said):
            self._start, self._dropped = _Start(), []
            self._starts += 1
        if "engine_version" in said:
            self._start.engines.add(line.process)

    def _figures(self, worker: str, said: Mapping[str, str]) -> None:
        peak = "activation_bytes" if "weights_bytes" in said else "peak_bytes"  # the latter holds the graphs' estimate too
        for name, number in said.items():
            target = peak if name == "peak_bytes" else name
            if target not in FIGURES and target != "peak_bytes":
                continue
            of_worker = self._start.figures.setdefault(worker, {}) if len(self._start.figures) < MOST_WORKERS else {}
            figure = of_unit(number, said.get(f"{name}_unit", "GiB"))
            if figure is None or (figure.value_bytes < 0 and target != "available_kv_cache_bytes"):
                self._drop(target, number, worker, "cannot be")
                continue
            before = of_worker.setdefault(target, figure)
            if abs(before.value_bytes - figure.value_bytes) > before.off_by_bytes + figure.off_by_bytes:
                self._drop(target, number, worker, "contradicts an earlier line")

    def _times(self, line: Line, said: Mapping[str, str]) -> None:
        start = self._start
        for name, number in said.items():
            if not name.endswith("_seconds"):
                continue
            seconds = float(number)
            if not 0 <= seconds <= MOST_SECONDS:
                self._drop(name, number, line.worker, "cannot be")
            elif name in _SUMS:
                of_all = start.sums.setdefault(_SUMS[name], {}).setdefault(line.worker, set())
                if len(of_all) < _MOST_SUMMED:  # the same time twice is one line that was carried twice
                    of_all.add(seconds)
            elif name in _TIMES:
                start.times[name] = max(seconds, start.times.get(name, 0.0))

    def _scalars(self, said: Mapping[str, str]) -> None:
        start = self._start
        for name in ("server_version", "engine_version", "engine", "model", "architecture", "gpu_product"):
            if name in said:
                start.texts.setdefault(name, said[name])
        self._counts(said)
        self._shares(said)
        if "arguments" in said and start.arguments is None:
            start.arguments = written.mapping(said["arguments"])
        if "config" in said and not start.config:
            start.config = written.fields(said["config"])

    def _counts(self, said: Mapping[str, str]) -> None:
        counts = self._start.counts
        for name in ("max_model_len", "fitted_model_len", "kv_cache_tokens", "concurrency_tokens"):
            if name not in said:
                continue
            number = count(said[name])
            if number is None:
                self._drop(name, said[name], "", "cannot be")
            elif name == "kv_cache_tokens":  # each worker's cache is said, and the smallest holds
                counts[name] = min(number, counts.get(name, number))
            else:
                counts.setdefault(name, number)

    def _shares(self, said: Mapping[str, str]) -> None:
        start = self._start
        for name in ("gpu_memory_utilization", "utilization_without_graphs"):
            if name in said and (share := self._within(name, said[name], _MOST_UTILIZATION)) is not None:
                start.utilization.setdefault(name, share)
        if (
            "max_concurrency" in said
            and (at_once := self._within("max_concurrency", said["max_concurrency"], _MOST_CONCURRENCY)) is not None
        ):
            start.concurrency = at_once if start.concurrency is None else min(at_once, start.concurrency)

    def _within(self, name: str, number: str, most: float) -> float | None:
        value = float(number)
        if 0 < value <= most:
            return value
        self._drop(name, number, "", "cannot be")
        return None

    def _drop(self, name: str, number: str, worker: str, why: str) -> None:
        where = f" of {worker}" if worker else ""
        sentence = f"{name} {number[:24]}{where} {why} and is left out"
        if sentence not in self._dropped and len(self._dropped) < MOST_DROPPED:
            self._dropped.append(sentence)

    def value(self) -> EngineLog:
        """All of it, with what follows from it."""
        start = self._start
        workers = tuple(self._worker(name, figures) for name, figures in sorted(start.figures.items(), key=_natural) if figures)
        version = start.texts.get("engine_version") or start.texts.get("server_version")
        config = dict(start.config)
        model = start.texts.get("model") or dict(start.arguments or ()).get("model") or config.get("model")
        seconds = {name: round(max(map(sum, of_all.values())), 6) for name, of_all in start.sums.items()} | start.times
        if {"read_seconds", "load_seconds"} <= seconds.keys():  # two of Ray's workers may share a process number
            seconds["read_seconds"] = min(seconds["read_seconds"], seconds["load_seconds"])
        opened = version is not None or start.arguments is not None or bool(workers) or start.failure is not None
        return EngineLog(
            version=version,
            release=_release(version),
            engine=start.texts.get("engine"),
            model=model if isinstance(model, str) and model else None,
            architecture=start.texts.get("architecture"),
            gpu_product=start.texts.get("gpu_product", "").replace("_", "-") or None,
            max_model_len=start.counts.get("fitted_model_len", start.counts.get("max_model_len")) or _whole(config.get("max_seq_len")),
            arguments=start.arguments,
            config=start.config,
            gpu_memory_utilization=start.utilization.get("gpu_memory_utilization"),
            workers=workers,
            kv_cache_tokens=start.counts.get("kv_cache_tokens"),
            max_concurrency=start.concurrency,
            concurrency_tokens=start.counts.get("concurrency_tokens"),
            times=Times(**seconds),
            failure=start.failure,
            ready=start.ready,
            starts=self._starts + opened,
            dropped=tuple(self._dropped),
        )

    def _worker(self, name: str, figures: Mapping[str, Figure]) -> WorkerLog:
        """With what other lines make of its figures: graphs that were taken off, non-torch out of what is consumed, activations alone."""
        found = {key: figure for key, figure in figures.items() if key in FIGURES}
        share, alone = self._start.utilization.get("gpu_memory_utilization"), self._start.utilization.get("utilization_without_graphs")
        total, weights = found.get("total_bytes"), found.get("weights_bytes")
        if share is not None and alone is not None:
            estimate = found.get("cuda_graph_estimate_bytes")
            if estimate is None and total is not None and 0 <= share - alone <= 1:
                size = round((share - alone) * total.value_bytes)
                estimate = Figure(
                    value_bytes=size, off_by_bytes=-(-total.value_bytes // 10_000)
                )  # both shares are printed with four decimals
            if estimate is not None:
                found["cuda_graph_bytes"] = estimate
        if "non_torch_bytes" not in found and (consumed := found.get("consumed_bytes")) is not None and weights is not None:
            found["non_torch_bytes"] = _less(consumed, weights)
        if "activation_bytes" not in found and (peak := figures.get("peak_bytes")) is not None:
            graphs = found.get("cuda_graph_bytes")
            found["activation_bytes"] = peak if graphs is None else _less(peak, graphs)
        if total is not None:
            for key, figure in tuple(found.items()):
                if figure.value_bytes > total.value_bytes + total.off_by_bytes + figure.off_by_bytes:
                    self._drop(key, f"{figure.value_bytes} bytes", name, "is more than the GPU has")
                    del found[key]
        return WorkerLog(worker=name, **found)


def _less(one: Figure, other: Figure) -> Figure:
    return Figure(value_bytes=max(0, one.value_bytes - other.value_bytes), off_by_bytes=one.off_by_bytes + other.off_by_bytes)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _release(version: str | None) -> EngineVersion | None:
    """None for a build that has no release's number (0.1.dev18496+gd4e0675a7 is a checkout without tags)."""
    try:
        found = EngineVersion.parse(version) if version is not None else None
    except InvalidInput:
        return None
    return None if found is not None and found < EngineVersion(0, 2) else found


def _natural(item: tuple[str, object]) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(item[0])]


def failure_of(text: str) -> Failure | None:
    """Why the engine whose log, or the end of it, this is has ended; None where it says no error."""
    return read_engine_log(text).failure
