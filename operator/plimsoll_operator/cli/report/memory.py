"""Memory of one GPU of a plan, for the page: bars predicted, allocated and observed, and the same as a table with the error. Pure.

Asked by `page`. What an engine logged is text from outside that the controller has bounded: it is shown beside the plan of its digest only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import GIB, format_gib
from plimsoll_operator.api import ObservedStatus
from plimsoll_operator.cli.report.bars import Bar, bar
from plimsoll_operator.observation import components_of, error_ratio, needed
from plimsoll_operator.text import one_line
from plimsoll_operator.verdict import Plan

LABELS: Final = {
    "weights_bytes": ("weights", "weights"),
    "activation_bytes": ("activation", "activations"),
    "cuda_graph_bytes": ("graphs", "CUDA graphs"),
    "non_torch_bytes": ("non-torch", "non-torch"),
    "kv_cache_bytes": ("kv-cache", "KV cache"),
}
"""Fields of PredictedMemory: the kind of their part of a bar, and what people call it. In the order of the bar."""
_UNNAMED: Final = ("unnamed", "what the log does not name")
LEGEND: Final = (*LABELS.values(), _UNNAMED, ("budget", "budget"), ("left", "left free"))
_UNKNOWN: Final = "not logged"
_AS_SHOWN_BYTES: Final = GIB // 200
"""Half of the last digit that logs print and the page shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """One component in words; `kind` as in the bar, empty for a sum."""

    kind: str
    label: str
    predicted: str
    observed: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`caption` says of which plan, `origin` whose figures the observed ones are, empty where there are none."""

    caption: str
    bars: tuple[Bar, ...]
    rows: tuple[MemoryRow, ...]
    origin: str


def memory_of(plan: Plan, observed: ObservedStatus | None, *, in_force: bool) -> Memory:
    """Bars and rows of the fullest rank; what was observed of another plan is not shown."""
    seen = observed if observed is not None and observed.plan_digest == plan.digest else None
    taken = components_of(seen.memory) if seen is not None else {}
    total, left = plan.gpu_total_bytes, max(0, plan.gpu_total_bytes - plan.allocated_bytes)
    predicted = [
        (kind, _part(label, getattr(plan.predicted, name)), getattr(plan.predicted, name)) for name, (kind, label) in LABELS.items()
    ]
    budget = [("budget", _part("budget", plan.allocated_bytes), plan.allocated_bytes), ("left", _part("left free", left), left)]
    bars = [
        bar("predicted", format_gib(plan.predicted.total_bytes), predicted, total),
        bar("allocated", format_gib(plan.allocated_bytes), budget, total),
    ]
    if taken and seen is not None:
        bars.append(_observed_bar(taken, seen.not_kv_cache_bytes, total))
    which = "the plan in force" if in_force else "the plan that would be made"
    return Memory(
        caption=f"Memory of one {one_line(plan.product, 80)} with {format_gib(total)}, of {which}",
        bars=tuple(bars),
        rows=tuple(_rows(plan, taken, seen)),
        origin="" if seen is None or not taken else _origin(seen),
    )


def _observed_bar(taken: dict[str, int], beside: int | None, total: int) -> Bar:
    """As logged; what of the budget the log does not name stands between what it names and the cache."""
    named = [(kind, _part(label, taken[name]), taken[name]) for name, (kind, label) in LABELS.items() if name in taken]
    known = sum(size for name, size in taken.items() if name != "kv_cache_bytes")
    rest = max(0, (beside or known) - known)
    place = len(named) - ("kv_cache_bytes" in taken)
    parts = [*named[:place], (_UNNAMED[0], _part(_UNNAMED[1], rest), rest), *named[place:]]
    return bar("observed", format_gib(sum(size for _, _, size in parts)), parts, total)


def _rows(plan: Plan, taken: dict[str, int], seen: ObservedStatus | None) -> list[MemoryRow]:
    rows = [_row(kind, label, getattr(plan.predicted, name), taken.get(name)) for name, (kind, label) in LABELS.items()]
    beside = seen.not_kv_cache_bytes if seen is not None else None
    return [*rows[:-1], _row("", "all but the KV cache", needed(plan.predicted), beside), rows[-1]]


def _row(kind: str, label: str, predicted: int, observed: int | None) -> MemoryRow:
    return MemoryRow(
        kind=kind,
        label=label,
        predicted=format_gib(predicted),
        observed=_UNKNOWN if observed is None else format_gib(observed),
        error="" if observed is None else _error(predicted, observed),
    )


def _error(predicted: int, observed: int) -> str:
    if abs(predicted - observed) < _AS_SHOWN_BYTES:
        return "0"
    ratio = error_ratio(predicted, observed)
    return f"{(predicted - observed) / GIB:+.2f} GiB" + ("" if ratio is None else f" ({ratio:+.1%})")


def _origin(seen: ObservedStatus) -> str:
    return one_line(f"Observed: pod {seen.pod}, vLLM {seen.engine_version or 'of a release that it does not say'}, as its log says.", 400)


def _part(label: str, size: int) -> str:
    return f"{label} {format_gib(size)}"
