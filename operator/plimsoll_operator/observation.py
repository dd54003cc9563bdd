"""What the log of an engine's start says beside its plan: parsed into status, the worst start that stands for all, and what differs.

Called by the controller, which reads the logs and writes the status. Pure. A log is text from outside: whatever of it cannot be on the GPU
that was planned is left out and named, and moves nothing. Knows no API server and no line of a log.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal

from plimsoll_estimator import (
    GIB,
    MIB,
    EngineLog,
    EngineVersion,
    Figure,
    InvalidInput,
    WorkerLog,
    covered_percent,
    format_gib,
    fullest_logged,
)
from plimsoll_operator.api import (
    MAX_LEFT_OUT,
    MAX_LEFT_OUT_TEXT,
    InferenceDeployment,
    MemoryByComponent,
    ObservedStatus,
    Plan,
    PlanStatus,
    PredictedMemory,
    StartPhases,
    StartStatus,
)
from plimsoll_operator.facts import AppliedCorrection
from plimsoll_operator.reasons import Why
from plimsoll_operator.text import one_line, without_tokens

SOURCE: Final = "log"
OWN: Final = "status.observed"
"""Source of the correction that a deployment's own engines taught."""
MOST_LEARNED_BYTES: Final = 16 * GIB
"""As much as an EngineCalibration may raise a need by (calibration.py)."""
_FIGURES: Final = frozenset(item.name for item in fields(WorkerLog)) - {"worker"}
_COMPONENTS: Final = {item.name: item.name for item in fields(PredictedMemory)} | {"kv_cache_bytes": "available_kv_cache_bytes"}
"""Fields of a WorkerLog by those of PredictedMemory."""
_MOST_TIMES: Final = 2
"""More than so many times the planned GPU's memory is nobody's figure."""
_MOST_TIMES_TOKENS: Final = 16
"""Releases count the tokens of hybrid caches differently, by less than this."""
_SAME_TOTAL_BYTES: Final = 16 * MIB
"""Drivers of one product differ by less in what CUDA reports."""
_OWN_BYTES: Final = GIB
_OWN_WITH_OTHERS_BYTES: Final = 3 * GIB
"""What an engine has taken of its GPU before it first looks, alone and with communicators to other GPUs: at the 95th percentile 0.7 and
2.6 GiB (plimsoll_estimator/data/overheads.json: pre_snapshot_p95_gib)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as planned: its reason, and a sentence without its full stop that names the pods."""

    reason: Why
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartsSeen:
    """What AsPredicted says."""

    status: Literal["True", "False", "Unknown"]
    reason: Why
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedFigures:
    """What is exported of an ObservedStatus, a tenth of its size: bytes by the field of PredictedMemory, the rest but the cache, tokens."""

    memory: tuple[tuple[str, int], ...] = ()
    not_kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None

    @classmethod
    def of(cls, observed: ObservedStatus | None) -> ObservedFigures | None:
        """None where nothing was observed."""
        if observed is None:
            return None
        memory = tuple(components_of(observed.memory).items())
        return cls(memory=memory, not_kv_cache_bytes=observed.not_kv_cache_bytes, kv_cache_tokens=observed.kv_cache_tokens)


NO_START: Final = StartsSeen(status="Unknown", reason=Why.NOT_OBSERVED, message="no start of the plan has been read yet")


def seen_of(plan: Plan | None, starts: Sequence[StartStatus], unread: str) -> StartsSeen:
    """How the starts that were read compare with the plan. `unread` says of one that could not be read why not."""
    if plan is None:
        return NO_START
    found = differences(plan, starts)
    if found:
        return StartsSeen(status="False", reason=found[0].reason, message="; ".join(row.message for row in found))
    told = [start for start in starts if start.memory is not None]
    if told:
        count = f"{len(told)} start{'s' * (len(told) != 1)}"
        return StartsSeen(status="True", reason=Why.AS_PREDICTED, message=f"{count} read, within the prediction")
    if unread:
        return StartsSeen(status="Unknown", reason=Why.LOG_UNREAD, message=f"{unread}; it is tried again")
    if starts:
        message = f"the log of pod {starts[0].pod} does not say what the engine took"
        return StartsSeen(status="Unknown", reason=Why.NOT_OBSERVED, message=message)
    return NO_START


def start_of(log: EngineLog, plan: Plan, *, pod: str, uid: str, restarts: int) -> StartStatus:
    """What this log says of a start of this plan. All figures of the fullest rank, tokens of the whole replica."""
    left_out = list(log.dropped)
    workers = tuple(_believed(worker, plan, left_out) for worker in log.workers)
    rank = fullest_logged(replace(log, workers=workers)) or WorkerLog()
    names = (*_COMPONENTS.values(), "total_bytes", "free_bytes", "requested_bytes")
    found: dict[str, Figure] = {name: figure for name in names if (figure := getattr(rank, name)) is not None}
    rest = _not_kv_cache(found, log, plan, left_out)
    memory = {own: found[name].value_bytes for own, name in _COMPONENTS.items() if name in found}
    total = rest + memory["kv_cache_bytes"] if rest is not None else None
    return StartStatus(
        pod=pod[:256],
        uid=uid[:256],
        restarts=restarts,
        rank=rank.worker[:64] or None,
        memory=_memory(memory, total) if memory else None,
        not_kv_cache_bytes=rest,
        kv_cache_tokens=_tokens(log, plan, left_out),
        max_concurrency=f"{log.max_concurrency:.2f}" if log.max_concurrency is not None else None,
        engine_version=_clean(log.version, 80) if log.version is not None else None,
        gpu_total_bytes=_bytes(found.get("total_bytes")),
        gpu_free_bytes=_bytes(found.get("free_bytes")),
        phases=_phases(log),
        left_out=tuple(_clean(line, MAX_LEFT_OUT_TEXT) for line in left_out[:MAX_LEFT_OUT]) or None,
    )


def _phases(log: EngineLog) -> StartPhases | None:
    """Bounded by whoever reads logs; None where the log has no time at all."""
    seconds = {name: math.ceil(value) for name, value in asdict(log.times).items() if value is not None}
    return StartPhases(**seconds) if seconds else None


def _believed(worker: WorkerLog, plan: Plan, left_out: list[str]) -> WorkerLog:
    """The worker without figures that are less than nothing, or that no card like the planned one has. Its total is said as it is."""
    most = _MOST_TIMES * plan.gpu_total_bytes
    wrong: dict[str, Any] = {}
    for name in sorted(_FIGURES - {"total_bytes"}):
        figure = getattr(worker, name)
        if figure is not None and not 0 <= figure.value_bytes <= most:
            wrong[name] = None
            whose = f" of {worker.worker}" if worker.worker else ""
            what = "less than nothing" if figure.value_bytes < 0 else f"more than a {plan.product} has, twice over"
            left_out.append(f"{name} {format_gib(figure.value_bytes)}{whose} is {what}")
    return replace(worker, **wrong) if wrong else worker


def _not_kv_cache(found: dict[str, Figure], log: EngineLog, plan: Plan, left_out: list[str]) -> int | None:
    """The budget less the cache, which is the sum of all other components whether the log names them or not. None where the cache is not
    logged, was not sized by the budget, or contradicts it: then it is left out."""
    cache = found.get("available_kv_cache_bytes")
    sized_otherwise = any(name == "kv_cache_memory_bytes" and value is not None for name, value in log.arguments or ())
    if cache is None or sized_otherwise or plan.predicted.total_bytes + _SAME_TOTAL_BYTES < plan.allocated_bytes:
        return None
    budget = found["requested_bytes"].value_bytes if "requested_bytes" in found else plan.allocated_bytes
    rest = budget - cache.value_bytes
    weights = found.get("weights_bytes")
    if rest <= 0 or (weights is not None and weights.value_bytes - weights.off_by_bytes > rest + cache.off_by_bytes + _SAME_TOTAL_BYTES):
        beside = "" if weights is None else f" beside weights of {format_gib(weights.value_bytes)}"
        left_out.append(f"a KV cache of {format_gib(cache.value_bytes)} is more than a budget of {format_gib(budget)} holds{beside}")
        del found["available_kv_cache_bytes"]
        return None
    return rest


def _tokens(log: EngineLog, plan: Plan, left_out: list[str]) -> int | None:
    """Of all engines of the replica together, as the plan counts them."""
    if log.kv_cache_tokens is None:
        return None
    tokens = log.kv_cache_tokens * plan.data_parallel_size
    if plan.kv_cache_tokens and tokens > _MOST_TIMES_TOKENS * plan.kv_cache_tokens:
        left_out.append(f"a KV cache of {tokens} tokens is {_MOST_TIMES_TOKENS} times what can be")
        return None
    return tokens


def _memory(memory: dict[str, int], total: int | None) -> MemoryByComponent:
    shown: dict[str, int | str] = dict(memory)
    if total is not None:
        shown |= {"total_bytes": total, "total": format_gib(total)}
    return MemoryByComponent.model_validate(shown)


def observed_of(plan: Plan, starts: Sequence[StartStatus]) -> ObservedStatus | None:
    """What is shown of these starts of this plan: figures of the one with the least KV cache. None without any."""
    if not starts:
        return None
    worst = min(starts, key=_room)
    return ObservedStatus(
        plan_digest=plan.digest,
        pod=worst.pod,
        rank=worst.rank,
        memory=worst.memory,
        not_kv_cache_bytes=worst.not_kv_cache_bytes,
        kv_cache_tokens=worst.kv_cache_tokens,
        max_concurrency=worst.max_concurrency,
        engine_version=worst.engine_version,
        source=SOURCE,
        error_ratio=_share(error_ratio(needed(plan.predicted), worst.not_kv_cache_bytes)),
        starts=tuple(sorted(starts, key=lambda start: (start.pod, start.uid))),
    )


def _room(start: StartStatus) -> tuple[int, int, str]:
    """Sorts the start with the least cache first; without one the one with most of the rest."""
    memory = components_of(start.memory)
    if "kv_cache_bytes" in memory:
        return (0, memory["kv_cache_bytes"], start.pod)
    return (1, 0, start.pod) if memory else (2, 0, start.pod)


def components_of(memory: MemoryByComponent | None) -> dict[str, int]:
    """Bytes by the field of PredictedMemory, of those that were logged."""
    rows = ((name, getattr(memory, name, None)) for name in _COMPONENTS)
    return {name: value for name, value in rows if value is not None}


def needed(predicted: PredictedMemory) -> int:
    """What of a rank is predicted beside its KV cache, in bytes."""
    return predicted.total_bytes - predicted.kv_cache_bytes


def error_ratio(predicted_bytes: int, observed_bytes: int | None) -> float | None:
    """(predicted - observed) / observed; None where nothing is observed, or nothing of it is there."""
    return None if not observed_bytes else (predicted_bytes - observed_bytes) / observed_bytes


def _share(ratio: float | None) -> str | None:
    """Four decimals, and no negative zero."""
    return None if ratio is None else f"{round(ratio, 4) + 0.0:.4f}"


def differences(plan: Plan, starts: Iterable[StartStatus]) -> tuple[Difference, ...]:
    """What is not as planned, the cause before what follows from it. Each names the pods whose start tells it."""
    told: dict[Why, list[tuple[str, str]]] = {}
    for start in starts:
        for reason, sentence in _of_start(plan, start):
            told.setdefault(reason, []).append((start.pod, sentence))
    return tuple(Difference(reason=reason, message=_of_pods(told[reason])) for reason in _ORDER if reason in told)


_ORDER: Final = (Why.ENGINE_NOT_AS_PLANNED, Why.GPU_NOT_AS_PLANNED, Why.FOREIGN_GPU_MEMORY, Why.LESS_KV_CACHE, Why.FIGURES_LEFT_OUT)


def _of_pods(rows: Sequence[tuple[str, str]]) -> str:
    """The first pod's sentence, and how many others say the like."""
    pod, sentence = min(rows)
    others = len(rows) - 1
    beside = f" (and {others} other{'s' * (others > 1)})" if others else ""
    return f"pod {pod}{beside}: {sentence}"


def _of_start(plan: Plan, start: StartStatus) -> list[tuple[Why, str]]:
    found = [_of_engine(plan, start), _of_gpu(plan, start), _of_foreign(plan, start), _of_cache(plan, start)]
    if start.left_out:
        found.append((Why.FIGURES_LEFT_OUT, f"its log has figures that cannot be, and they count for nothing: {'; '.join(start.left_out)}"))
    return [row for row in found if row is not None]


def _of_engine(plan: Plan, start: StartStatus) -> tuple[Why, str] | None:
    """A build without a release's number says nothing either way."""
    try:
        says = EngineVersion.parse(start.engine_version or "")
    except InvalidInput:
        return None
    if says in (EngineVersion.parse(plan.engine_version), EngineVersion(0, 1)) or says < EngineVersion(0, 2):
        return None
    return (
        Why.ENGINE_NOT_AS_PLANNED,
        f"the engine says that it is vLLM {start.engine_version}, and the plan is made by the rules of {plan.engine_version}",
    )


def _of_gpu(plan: Plan, start: StartStatus) -> tuple[Why, str] | None:
    """Less than planned with; a plan for several products, or for a corrected pool, has the least of them."""
    total = start.gpu_total_bytes
    if total is None or total + _SAME_TOTAL_BYTES >= plan.gpu_total_bytes:
        return None
    return (
        Why.GPU_NOT_AS_PLANNED,
        f"its GPU has {format_gib(total)} as CUDA counts, and the plan is made for {format_gib(plan.gpu_total_bytes)}",
    )


def _of_foreign(plan: Plan, start: StartStatus) -> tuple[Why, str] | None:
    """On a card that is shared, others are meant to be there."""
    total, free = start.gpu_total_bytes, start.gpu_free_bytes
    if total is None or free is None or plan.sharing in ("time-slicing", "mps"):
        return None
    taken = total - free
    own = _OWN_BYTES if plan.gpus_per_replica == 1 else _OWN_WITH_OTHERS_BYTES
    if taken <= own:
        return None
    return (
        Why.FOREIGN_GPU_MEMORY,
        f"{format_gib(taken)} of its GPU were taken when it began, its own are at most {format_gib(own)}",
    )


def _of_cache(plan: Plan, start: StartStatus) -> tuple[Why, str] | None:
    """Below the lower end of the prediction's interval by more than its print rounds away."""
    cache, interval = components_of(start.memory).get("kv_cache_bytes"), plan.kv_cache_interval_bytes
    if cache is None or len(interval) != 2 or cache + _SAME_TOTAL_BYTES >= interval[0]:
        return None
    above = (100 + covered_percent()) // 2
    short = f"its KV cache has {format_gib(cache)}, less than the {format_gib(interval[0])} that {above} of 100 starts have"
    if plan.kv_cache_needed_bytes and cache < plan.kv_cache_needed_bytes:
        return (Why.LESS_KV_CACHE, f"{short}, and less than the {format_gib(plan.kv_cache_needed_bytes)} that the spec asks for")
    return (Why.LESS_KV_CACHE, f"{short}; it still holds what the spec asks for")


def own_correction(deployment: InferenceDeployment) -> tuple[AppliedCorrection, ...]:
    """What the deployment's own engines took beyond the prediction, where it left them less cache than the spec asks for; none elsewhere.

    It stays with the plans that follow, of whatever GPU and layout, as long as release and model are the same: else the plan that had too
    little would be the better one again.
    """
    status = deployment.status
    if status is None or status.plan is None or not _worth_a_look(status.plan, status.observed):
        return ()
    plan = status.plan.as_plan()
    if plan is None or plan.model != deployment.spec.model.name:
        return ()
    added = plan.learned_bytes
    observed = status.observed
    if observed is not None and observed.plan_digest == plan.digest and _holds_too_little(plan, observed):
        added += max(0, (observed.not_kv_cache_bytes or 0) - needed(plan.predicted))
    if not added:
        return ()
    version = EngineVersion.parse(plan.engine_version)
    minor = f"{version.major}.{version.minor}"
    added = min(added, MOST_LEARNED_BYTES)
    return (AppliedCorrection(source=OWN, engine_minor=minor, product=None, component="ownStarts", add_bytes=added),)


def _worth_a_look(plan: PlanStatus, observed: ObservedStatus | None) -> bool:
    """Reading a plan back takes long, and hardly any has taught something."""
    cache = components_of(observed.memory).get("kv_cache_bytes") if observed is not None else None
    asked = getattr(plan, "kv_cache_needed_bytes", None)
    return bool(getattr(plan, "learned_bytes", None)) or (cache is not None and asked is not None and cache < asked)


def _holds_too_little(plan: Plan, observed: ObservedStatus) -> bool:
    cache = components_of(observed.memory).get("kv_cache_bytes")
    return cache is not None and cache < plan.kv_cache_needed_bytes


def _bytes(figure: Figure | None) -> int | None:
    return figure.value_bytes if figure is not None else None


def _clean(text: str, limit: int) -> str:
    return without_tokens(one_line(text, limit))
