"""What starts teach of the estimate: residuals in, corrections of an EngineCalibration out, with what did not count and why. Pure.

Called by `plimsoll observe` with logs, or with what the controller wrote into status. A start is what an engine took beside weights and KV
cache, against what was predicted of it WITHOUT any correction: so what was learned once is never evidence for itself. Which corrections
count where is `calibration`'s to say; here nothing is proposed that it would not let count. Knows no log, no cluster and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from plimsoll_estimator import (
    GIB,
    MIB,
    EngineLog,
    EngineVersion,
    Estimate,
    Figure,
    InvalidInput,
    Prepared,
    format_gib,
    fullest_logged,
    known_gpus,
    requested_bytes,
)
from plimsoll_operator.api import CauseOfDoubt, Correction, Evidence, Plan, StartStatus
from plimsoll_operator.calibration import (
    MIN_MODELS,
    MOST_LOWERED_BYTES,
    MOST_RAISED_BYTES,
    TOLERANCE_BYTES,
    residuals_of,
    votes_of,
    why_unsupported,
)
from plimsoll_operator.observation import components_of
from plimsoll_operator.text import one_line

COMPONENT: Final = "nonTorch"
"""Where a correction goes: most releases log one sum for all that is neither weights nor cache, and a constant of it is what is learned."""
MOST_EVIDENCE: Final = 64
MOST_CORRECTIONS: Final = 256
_ROWS_OF_A_MODEL: Final = 4
"""Starts of one model in one namespace that are kept: it has one vote, their median."""
_WEIGHTS_OFF_BYTES: Final = 256 * MIB
"""Weights further off than this are another model or layout than was predicted: such a start says nothing of the rest."""
_LEAST_BYTES: Final = 2 * TOLERANCE_BYTES
"""Below, starts that need no correction would agree with it."""
_COLD: Final = "_cold"
"""Causes whose prediction leaves room for a first start, which compiles: engines that found their graphs must not take it away."""

Interconnect = Literal["none", "nvlink", "pcie", "network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Starts that vote together."""

    engine_minor: str
    product: str
    interconnect: Interconnect
    cause: CauseOfDoubt

    def __str__(self) -> str:
        """In words."""
        connected = "one GPU" if self.interconnect == "none" else f"GPUs over {self.interconnect}"
        return f"{self.engine_minor} on {self.product}, {connected}, {self.cause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One clean start: what it took beside weights and KV cache, and what was predicted of that without corrections. Bytes of one rank."""

    kind: Kind
    model: str
    namespace: str
    predicted_bytes: int
    observed_bytes: int

    @property
    def residual_bytes(self) -> int:
        """What was taken beyond the prediction."""
        return self.observed_bytes - self.predicted_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NoVote:
    """A start that teaches nothing, and why, as the end of a sentence."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Every correction that the calibration has now, and sentences on votes that moved nothing."""

    corrections: tuple[Correction, ...]
    outliers: tuple[str, ...]


def seen_in_log(log: EngineLog, prepared: Prepared, estimate: Estimate, *, model: str, namespace: str) -> Seen | NoVote:
    """The start that a log tells of. `prepared` and `estimate` are of the start as it was logged, and uncorrected."""
    resolved = prepared.resolved
    sizes = resolved.tensor_parallel_size * resolved.pipeline_parallel_size
    why = _unclean(log, sizes * resolved.data_parallel_size)
    rank = fullest_logged(log)
    if why or rank is None or not estimate.ranks:
        return NoVote(why=why or "it logs no figure")
    if resolved.given.kv_cache_memory_bytes is not None:
        return NoVote(why="its KV cache was sized by hand")
    predicted = min(estimate.ranks, key=lambda one: one.available_kv_cache_bytes)
    budget = requested_bytes(resolved)
    asked = rank.requested_bytes.value_bytes if rank.requested_bytes is not None else budget
    if abs(asked - budget) > _WEIGHTS_OFF_BYTES:
        return NoVote(why=f"its budget is {format_gib(asked)} and {format_gib(budget)} follow from its arguments")
    version = resolved.version
    return _seen(
        Kind(
            engine_minor=f"{version.major}.{version.minor}",
            product=resolved.gpu.product,
            interconnect="none" if sizes == 1 else resolved.gpu.interconnect,
            cause=prepared.cause,
        ),
        _Figures(
            budget=asked,
            total=resolved.gpu.total_memory_bytes,
            cache=_value(rank.available_kv_cache_bytes),
            weights=_value(rank.weights_bytes),
            predicted_weights=predicted.weights_bytes,
            predicted_rest=predicted.activation_bytes + predicted.cuda_graph_bytes + predicted.non_torch_bytes,
        ),
        model,
        namespace,
    )


def seen_in_status(plan: Plan, start: StartStatus, *, namespace: str) -> Seen | NoVote:
    """The start that the controller read, of the plan that it was of: corrections that the plan counts are taken out of its prediction."""
    if start.left_out:
        return NoVote(why=f"its log has figures that cannot be ({'; '.join(start.left_out)})")
    try:
        version = EngineVersion.parse(start.engine_version or "")
    except InvalidInput:
        return NoVote(why="its engine names no release")
    if str(version) != plan.engine_version:
        return NoVote(why=f"its engine is vLLM {version} and not {plan.engine_version}")
    if plan.sharing != "none" or start.not_kv_cache_bytes is None:
        return NoVote(why="its GPU is shared, or its log does not tell what is left for the cache")
    if plan.cause_of_doubt not in get_args(CauseOfDoubt) or plan.product not in known_gpus():
        return NoVote(why="its plan is of a release that did not write down what it doubted, or of a GPU outside the table")
    several = plan.tensor_parallel_size * plan.pipeline_parallel_size > 1
    predicted, memory = plan.predicted, components_of(start.memory)
    rest = predicted.activation_bytes + predicted.cuda_graph_bytes + predicted.non_torch_bytes
    cache = memory.get("kv_cache_bytes")
    return _seen(
        Kind(
            engine_minor=f"{version.major}.{version.minor}",
            product=plan.product,
            interconnect=known_gpus()[plan.product].interconnect if several else "none",
            cause=next(cause for cause in get_args(CauseOfDoubt) if cause == plan.cause_of_doubt),
        ),
        _Figures(
            budget=start.not_kv_cache_bytes + (cache or 0),
            total=plan.gpu_total_bytes,
            cache=cache,
            weights=memory.get("weights_bytes"),
            predicted_weights=predicted.weights_bytes,
            predicted_rest=rest - plan.calibrated_bytes - plan.learned_bytes,
        ),
        plan.model,
        namespace,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """Bytes of one start."""

    budget: int
    total: int
    cache: int | None
    weights: int | None
    predicted_weights: int
    predicted_rest: int


def _unclean(log: EngineLog, ranks: int) -> str:
    """Why a log is no evidence; empty where it is. What contradicts itself may be forged, and moves nothing."""
    if log.failure is not None:
        return f"it ended ({log.failure.cause})"
    if not log.ready:
        return "the log ends before it served"
    if log.release is None:
        return "its engine names no release"
    if log.dropped:
        return f"it has figures that cannot be, or contradict each other ({one_line('; '.join(log.dropped), 200)})"
    if len(log.workers) > ranks:
        return f"it has figures of {len(log.workers)} workers, and the engine has {ranks}"
    return "" if log.workers else "it logs no figure"


def _seen(kind: Kind, figures: _Figures, model: str, namespace: str) -> Seen | NoVote:
    """Whatever cannot be on this GPU, or lies beyond the bounds of a correction, is none."""
    cache, weights = figures.cache, figures.weights
    if cache is None or weights is None:
        return NoVote(why="its log does not name both weights and KV cache")
    if abs(weights - figures.predicted_weights) > _WEIGHTS_OFF_BYTES:
        told = f"{format_gib(weights)} of weights where {format_gib(figures.predicted_weights)} are predicted"
        return NoVote(why=f"it logs {told}: another model, or another layout")
    observed = figures.budget - cache - weights
    if min(cache, weights, figures.predicted_rest) < 0 or not 0 <= observed <= figures.budget <= figures.total:
        return NoVote(why="its figures cannot be on this GPU")
    residual = observed - figures.predicted_rest
    if not -MOST_LOWERED_BYTES <= residual <= MOST_RAISED_BYTES:
        return NoVote(why=f"it is off by {_signed(residual)}, which no correction may be")
    return Seen(
        kind=kind,
        model=one_line(model, 256),
        namespace=one_line(namespace, 256),
        predicted_bytes=figures.predicted_rest,
        observed_bytes=observed,
    )


def learn(before: Sequence[Correction], starts: Iterable[Seen]) -> Learned:
    """The corrections with these starts among their evidence. What is not of a Kind, or of another component, stays as it is.

    The same starts twice teach no more than once, and their order nothing at all.
    """
    kept = tuple(row for row in before if kind_of(row) is None)
    evidence: dict[Kind, list[Evidence]] = {}
    for row in before:
        kind = kind_of(row)
        if kind is not None:
            evidence.setdefault(kind, []).extend(row.evidence)
    for start in starts:
        evidence.setdefault(start.kind, []).append(
            Evidence(
                model=start.model, namespace=start.namespace, predicted_bytes=start.predicted_bytes, observed_bytes=start.observed_bytes
            )
        )
    found = {kind: _corrected(kind, evidence[kind]) for kind in sorted(evidence, key=str)}
    room = max(0, MOST_CORRECTIONS - len(kept))
    chosen = set(sorted(found, key=lambda kind: _rank(kind, found[kind][0]))[:room])
    outliers = [line for kind, (_, told) in found.items() if kind in chosen for line in told]
    if len(found) > room:
        outliers.append(f"{len(found) - room} kinds of starts are left out: an EngineCalibration holds {MOST_CORRECTIONS} corrections")
    return Learned(corrections=(*kept, *(row for kind, (row, _) in found.items() if kind in chosen)), outliers=tuple(outliers))


def _rank(kind: Kind, row: Correction) -> tuple[bool, int, int, str]:
    """Sorts first what adds something, then what most namespaces and models tell of: who starts much alone pushes out nobody."""
    return (row.add_bytes == 0, -len({one.namespace for one in row.evidence}), -len({one.model for one in row.evidence}), str(kind))


def kind_of(row: Correction) -> Kind | None:
    """The Kind that a correction is of; None for one that somebody wrote for more than a Kind, or for another component."""
    if row.component != COMPONENT or row.product is None or row.interconnect is None or row.cause_of_doubt is None:
        return None
    return Kind(engine_minor=row.engine_minor, product=row.product, interconnect=row.interconnect, cause=row.cause_of_doubt)


def _corrected(kind: Kind, rows: Iterable[Evidence]) -> tuple[Correction, list[str]]:
    """The correction of a Kind, and votes beside it."""
    evidence = bounded(rows)
    namespaces = {row.namespace for row in evidence}
    votes = votes_of(residuals_of(evidence))

    def made(add: int) -> Correction:
        return Correction(
            engine_minor=kind.engine_minor,
            product=kind.product,
            interconnect=kind.interconnect,
            cause_of_doubt=kind.cause,
            component=COMPONENT,
            add_bytes=add,
            evidence=evidence,
        )

    may_lower = not kind.cause.endswith(_COLD)
    counting = [add for add in _proposals(votes.values()) if (add > 0 or may_lower) and why_unsupported(made(add), namespaces) is None]
    best = min(counting, key=lambda add: (_far(add, votes.values()), abs(add)), default=0)
    if best == 0:
        return made(0), []
    beside = [f"{kind}: {model} is off by {_signed(vote)}" for model, vote in sorted(votes.items()) if _is_outlier(vote, best)]
    return made(best), [f"{line}, others by about {_signed(best)}: it moves nothing" for line in beside]


def _proposals(votes: Iterable[int]) -> list[int]:
    """Each vote shrunk towards nothing, the less the more models there are: by a sixth of three, a twentieth of twelve."""
    found = list(votes)
    models = len(found)
    shrunk = [abs(vote) * 5 * models // (5 * models + MIN_MODELS) * (1 if vote > 0 else -1) for vote in found]
    return [min(MOST_RAISED_BYTES, max(-MOST_LOWERED_BYTES, add)) for add in shrunk if abs(add) >= _LEAST_BYTES]


def _far(add: int, votes: Iterable[int]) -> int:
    """How far it is from all votes together: the least of it is next to their median, which no few of them can move."""
    return sum(abs(vote - add) for vote in votes)


def _is_outlier(vote: int, add: int) -> bool:
    return abs(vote - add) > max(GIB // 2, abs(add) // 2)


def bounded(rows: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Each start once, a few of each model and namespace; of too many some of each namespace in turn, so that none pushes out others."""
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for row in sorted(set(rows), key=_order):
        groups.setdefault((row.namespace, row.model), []).append(row)
    by_namespace: dict[str, list[Evidence]] = {}
    for (namespace, _), some in sorted(groups.items()):
        by_namespace.setdefault(namespace, []).extend(_middle(some))
    kept: list[Evidence] = []
    while len(kept) < MOST_EVIDENCE and any(by_namespace.values()):
        for some in by_namespace.values():
            if some and len(kept) < MOST_EVIDENCE:
                kept.append(some.pop(0))
    return tuple(sorted(kept, key=_order))


def _middle(rows: Sequence[Evidence]) -> list[Evidence]:
    """The starts of one model next to its median."""
    ordered = sorted(rows, key=lambda row: (row.observed_bytes - row.predicted_bytes, row.predicted_bytes))
    first = max(0, (len(ordered) - _ROWS_OF_A_MODEL) // 2)
    return ordered[first : first + _ROWS_OF_A_MODEL]


def _order(row: Evidence) -> tuple[str, str, int, int]:
    return (row.namespace, row.model, row.predicted_bytes, row.observed_bytes)


def _signed(size: int) -> str:
    return f"{size / GIB:+.2f} GiB"


def _value(figure: Figure | None) -> int | None:
    return None if figure is None else figure.value_bytes
