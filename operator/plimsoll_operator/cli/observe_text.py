"""What `plimsoll observe` prints: for people a table of predicted and logged with the error, for programs the same as data.

Called by cli.observe; works out nothing that the estimator's comparison does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from plimsoll_estimator import (
    GIB,
    MEMORY_COMPONENTS,
    Compared,
    EngineLog,
    EngineVersion,
    Estimate,
    Figure,
    Gpu,
    Prepared,
    checkpoint_bytes,
    compare,
    format_gib,
    phase_times,
)
from plimsoll_operator.cli.estimate_text import wrapped
from plimsoll_operator.reasons.engine_ends import NEXT_STEPS
from plimsoll_operator.text import one_line, without_tokens

COMPARED: Final = 0
FAILED: Final = 1
UNKNOWN: Final = 3
_TITLES: Final = {
    "weights_bytes": "weights",
    "activation_bytes": "activation",
    "cuda_graph_bytes": "CUDA graphs (deducted)",
    "non_torch_bytes": "non-torch and buffers",
    "available_kv_cache_bytes": "KV cache",
    "cuda_graph_pool_bytes": "CUDA graphs (captured)",
}
_PHASES: Final = {"read_seconds": "reading weights", "compile_seconds": "compiling", "capture_seconds": "capturing graphs"}
_WHOLE: Final = {"load_seconds": "loading", "profile_seconds": "profiling", "init_seconds": "engine init"}
"""Times that are of several phases, or of none that is predicted by itself."""
_MOST_WORDS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A log, what was predicted of its start (None where something for that is missing), and what there is to say of either."""

    name: str
    log: EngineLog
    model: str | None
    version: EngineVersion | None
    gpu: Gpu | None
    estimate: Estimate | None
    prepared: Prepared | None
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """Status of the command."""
        if self.log.failure is not None:
            return FAILED
        return UNKNOWN if self.estimate is None or not self.log.workers else COMPARED


def screen_lines(found: Observation) -> list[str]:
    """The whole answer for people."""
    lines = [_head(found), *(f"  {text}" for text in _about(found)), *_failure(found)]
    compared = compared_of(found)
    if compared:
        lines += ["", *_table(compared)]
    elif found.log.workers:
        lines += ["", *_logged_alone(found)]
    lines += _cache(found) + _times(found)
    lines += [
        f"not in the log: {', '.join(absent)}; VLLM_LOGGING_LEVEL=DEBUG has the engine write more" for absent in (_absent(found),) if absent
    ]
    lines += [f"left out: {text}" for text in found.log.dropped]
    lines += [f"missing: {text}" for text in found.missing]
    lines += [f"note: {text}" for text in found.notes]
    return list(wrapped(lines))


def compared_of(found: Observation) -> tuple[Compared, ...]:
    """Every component of the prediction beside the log's; nothing where there is no prediction."""
    return () if found.estimate is None else compare(found.estimate, found.log)


def _head(found: Observation) -> str:
    log = found.log
    if log.failure is not None:
        state = f"it ended while it served ({log.failure.cause})" if log.failure.serving else f"it did not start ({log.failure.cause})"
    elif log.ready:
        state = "it served"
    elif log.workers or log.version:
        state = "the log ends before it served"
    else:
        state = "no start of vLLM in it"
    starts = f"; the last of {log.starts} starts" if log.starts > 1 else ""
    return f"{found.name}: {state}{starts}{'; only its beginning and its end are read' if log.cut else ''}"


def _about(found: Observation) -> Iterator[str]:
    log, version = found.log, found.version
    said = log.version or (str(version) if version is not None else "of an unknown release")
    engine = f", engine {log.engine}" if log.engine else ""
    rules = f" (read as {version})" if version is not None and log.version is not None and log.release is None else ""
    gpu = f" on {found.gpu.product}, {format_gib(found.gpu.total_memory_bytes)}" if found.gpu is not None else ""
    yield f"vLLM {said}{engine}{rules}: {found.model or 'a model that is not named'}{gpu}"
    workers = len(log.workers)
    if workers > 1:
        yield f"{workers} workers: {', '.join(worker.worker or '-' for worker in log.workers[:16])}{', ...' if workers > 16 else ''}"


def _failure(found: Observation) -> list[str]:
    failure = found.log.failure
    if failure is None:
        return []
    lines = ["", f"{failure.cause}{f' of {failure.worker}' if failure.worker else ''}: {words_of(failure.words)}"]
    step = NEXT_STEPS.get(failure.cause)
    return lines if step is None else [*lines, f"next: {step}"]


def words_of(text: str) -> str:
    """An engine's words as they may be shown."""
    return without_tokens(one_line(text, _MOST_WORDS))


def _table(compared: tuple[Compared, ...]) -> Iterator[str]:
    stages = sorted({row.stage for row in compared})
    for stage in stages:
        head = "per GPU" if len(stages) == 1 else f"per GPU, stage {stage}"
        yield f"{head:<24}{'predicted':>14}{'logged':>14}{'error':>14}"
        for row in compared:
            if row.stage == stage:
                logged = "-" if row.logged is None else format_gib(row.logged.value_bytes)
                yield f"{_TITLES[row.component]:<24}{format_gib(row.predicted_bytes):>14}{logged:>14}{_error(row)}".rstrip()


def _error(row: Compared) -> str:
    if row.error_bytes is None or row.logged is None:
        return f"{'-':>14}"
    ratio = "" if row.error_ratio is None else f"  {_ratio(row.error_ratio)}"
    if abs(row.error_bytes) <= row.logged.off_by_bytes:
        return f"{'0':>14}  within the print"
    return f"{row.error_bytes / GIB:>+10.2f} GiB  ±{row.logged.off_by_bytes / GIB:.2g}{ratio}"


def _logged_alone(found: Observation) -> Iterator[str]:
    yield f"{'per GPU':<24}{'logged':>14}"
    for component in MEMORY_COMPONENTS:
        figures = [figure for worker in found.log.workers if (figure := getattr(worker, component)) is not None]
        if figures:
            choose = min if component == "available_kv_cache_bytes" else max
            yield f"{_TITLES[component]:<24}{format_gib(choose(figure.value_bytes for figure in figures)):>14}"


def _cache(found: Observation) -> list[str]:
    log, plan = found.log, None if found.estimate is None else found.estimate.kv_plan
    lines = []
    if log.kv_cache_tokens is not None:
        beside = "" if plan is None else f", {plan.kv_cache_tokens} predicted{_percent(plan.kv_cache_tokens, log.kv_cache_tokens)}"
        lines.append(f"KV cache: {log.kv_cache_tokens} tokens logged{beside}")
    if log.max_concurrency is not None:
        of = f" of {log.concurrency_tokens} tokens" if log.concurrency_tokens is not None else ""
        beside = "" if plan is None else f", {plan.max_concurrency:.2f} predicted{_percent(plan.max_concurrency, log.max_concurrency)}"
        lines.append(f"Requests{of} at once: {log.max_concurrency:.2f} logged{beside}")
    return ["", *lines] if lines else []


def _percent(predicted: float, logged: float) -> str:
    return f" ({_ratio((predicted - logged) / logged)})" if logged else ""


def _ratio(value: float) -> str:
    """Without a nought that is less than nothing."""
    return f"{round(value, 3) + 0.0:+.1%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phase:
    """One phase of the start: seconds predicted from (caches warm, fastest storage) to (cold, slowest), and logged where it is."""

    name: str
    predicted: tuple[int, int] | None
    logged: float | None


def _phases(found: Observation) -> tuple[_Phase, ...]:
    predicted: dict[str, tuple[int, int]] = {}
    estimate = found.estimate
    if estimate is not None and estimate.resolved is not None and estimate.ranks:
        read = checkpoint_bytes(tuple(rank.weights_created_bytes for rank in estimate.ranks), estimate.ranks[0].count)
        times = phase_times(read, enforce_eager=estimate.resolved.enforce_eager)
        predicted = {row.phase: (row.at_best_seconds, row.at_worst_seconds) for row in times}
    return tuple(_Phase(name=name, predicted=predicted.get(name), logged=getattr(found.log.times, name)) for name in _PHASES)


def _times(found: Observation) -> list[str]:
    """Phases beside their prediction, and times that are of several."""
    if not any(seconds is not None for seconds in asdict(found.log.times).values()):
        return []
    lines = ["", f"{'phase of the start':<24}{'predicted':>14}{'logged':>14}"]
    for row in _phases(found):
        if row.predicted is not None or row.logged is not None:
            expected = "-" if row.predicted is None else f"{row.predicted[0]}-{row.predicted[1]} s"
            logged = "-" if row.logged is None else f"{row.logged:.1f} s"
            lines.append(f"{_PHASES[row.name]:<24}{expected:>14}{logged:>14}{_beyond(row)}".rstrip())
    for name, title in _WHOLE.items():
        seconds = getattr(found.log.times, name)
        if seconds is not None:
            lines.append(f"{title:<24}{'-':>14}{f'{seconds:.1f} s':>14}")
    return lines


def _beyond(row: _Phase) -> str:
    """In a word where a phase took longer than predicted of the slowest storage and cold caches."""
    return "  longer" if row.predicted is not None and row.logged is not None and row.logged > row.predicted[1] else ""


def _absent(found: Observation) -> list[str]:
    """Components that the prediction has and no worker's lines say."""
    rows = compared_of(found)
    return list(dict.fromkeys(_TITLES[row.component] for row in rows if row.logged is None))


def data_of(found: Observation) -> dict[str, Any]:
    """The same as data. Bytes and seconds are numbers; what is not known is null."""
    log, failure, plan = found.log, found.log.failure, None if found.estimate is None else found.estimate.kv_plan
    return {
        "file": found.name,
        "status": found.exit_status,
        "ready": log.ready,
        "engine_version": log.version,
        "release": None if found.version is None else str(found.version),
        "model": found.model,
        "gpu": None if found.gpu is None else {"product": found.gpu.product, "total_memory_bytes": found.gpu.total_memory_bytes},
        "failure": None
        if failure is None
        else {
            "cause": str(failure.cause),
            "worker": failure.worker,
            "words": words_of(failure.words),
            "serving": failure.serving,
            "needed_bytes": _bytes(failure.needed_bytes),
            "available_bytes": _bytes(failure.available_bytes),
            "max_model_len": failure.max_model_len,
            "estimated_max_model_len": failure.estimated_max_model_len,
            "next": NEXT_STEPS.get(failure.cause),
        },
        "components": [_component(row) for row in compared_of(found)],
        "workers": [
            {"worker": worker.worker} | {name: _bytes(getattr(worker, name)) for name in MEMORY_COMPONENTS} for worker in log.workers
        ],
        "kv_cache_tokens": {"predicted": None if plan is None else plan.kv_cache_tokens, "logged": log.kv_cache_tokens},
        "max_concurrency": {"predicted": None if plan is None else plan.max_concurrency, "logged": log.max_concurrency},
        "times": asdict(log.times),
        "phases": [
            {"phase": row.name.removesuffix("_seconds"), "predicted_seconds": row.predicted, "logged_seconds": row.logged}
            for row in _phases(found)
        ],
        "left_out": list(log.dropped),
        "missing": list(found.missing),
        "notes": list(found.notes),
    }


def _bytes(figure: Figure | None) -> int | None:
    return None if figure is None else figure.value_bytes


def _component(row: Compared) -> dict[str, Any]:
    return {
        "component": row.component,
        "stage": row.stage,
        "workers": row.workers,
        "predicted_bytes": row.predicted_bytes,
        "logged_bytes": _bytes(row.logged),
        "logged_off_by_bytes": None if row.logged is None else row.logged.off_by_bytes,
        "error_bytes": row.error_bytes,
        "error_ratio": row.error_ratio,
    }
