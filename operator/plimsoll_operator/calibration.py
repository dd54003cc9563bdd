"""Which corrections of EngineCalibrations count: by trusted, agreeing evidence, one vote a model, inside hard bounds. Pure.

Asked by `gather` for the facts and by the controller for the condition on each object. Knows no estimate: how far a need may be
lowered beside its interval is the estimator's business. One tenant's log can never move a shared constant alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Mapping
from statistics import median_low
from typing import Final

from plimsoll_estimator import GIB, MIB, format_gib
from plimsoll_operator.api import CalibrationTrust, Correction, EngineCalibration, Evidence
from plimsoll_operator.facts import AppliedCorrection

MIN_MODELS: Final = 3
MIN_NAMESPACES: Final = 2
MOST_RAISED_BYTES: Final = 16 * GIB
MOST_LOWERED_BYTES: Final = 4 * GIB
TOLERANCE_BYTES: Final = 128 * MIB
"""Starts repeat within this; larger corrections may differ by a quarter."""


def why_not(correction: Correction, trust: CalibrationTrust) -> str | None:
    """Why a correction does not count under this trust, as the end of a sentence; None where it does."""
    if trust.mode == "Off":
        return "the FitPolicy's calibrationTrust is Off"
    return why_unsupported(correction, trust.namespaces)


def why_unsupported(correction: Correction, namespaces: Collection[str]) -> str | None:
    """Why the evidence of these namespaces does not carry a correction, as the end of a sentence; None where it does."""
    add = correction.add_bytes
    if add == 0:
        return f"it adds nothing yet: fewer than {MIN_MODELS} models of {MIN_NAMESPACES} namespaces agree in its evidence"
    if not -MOST_LOWERED_BYTES <= add <= MOST_RAISED_BYTES:
        return f"addBytes {add} is outside -{format_gib(MOST_LOWERED_BYTES)} to {format_gib(MOST_RAISED_BYTES)}"
    if add < 0 and correction.component == "outsideBudget":
        return "what lives outside the budget has no interval and is never lowered"
    told = residuals_of(row for row in correction.evidence if row.namespace in namespaces)
    votes = votes_of(told)
    agreeing = {model for model, vote in votes.items() if _agrees(vote, add)}
    if len(agreeing) < MIN_MODELS:
        return f"{len(agreeing)} models of trusted namespaces agree with it, {MIN_MODELS} must"
    if 2 * len(agreeing) <= len(votes):
        return f"{len(agreeing)} of {len(votes)} models of trusted namespaces agree with it, more than half must"
    behind = _namespaces_behind(told, agreeing, add)
    if len(behind) < MIN_NAMESPACES:
        return f"its evidence is of {len(behind)} trusted namespace, {MIN_NAMESPACES} are needed, most of whose models agree with it"
    return None


def _namespaces_behind(told: Mapping[tuple[str, str], int], agreeing: Collection[str], add: int) -> frozenset[str]:
    """Those whose own starts carry it: more than half of their models, so that nobody's one outlier lends itself to others' votes."""
    found: dict[str, list[bool]] = {}
    for (model, namespace), residual in told.items():
        found.setdefault(namespace, []).append(model in agreeing and _agrees(residual, add))
    return frozenset(namespace for namespace, agree in found.items() if 2 * sum(agree) > len(agree))


def residuals_of(evidence: Iterable[Evidence]) -> Mapping[tuple[str, str], int]:
    """Observed less predicted by model and namespace: of several starts of a model in a namespace their lower median."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in evidence:
        found.setdefault((row.model, row.namespace), []).append(row.observed_bytes - row.predicted_bytes)
    return {place: median_low(rows) for place, rows in found.items()}


def votes_of(residuals: Mapping[tuple[str, str], int]) -> Mapping[str, int]:
    """One vote a model: the lower median of its namespaces, each of which counts once however often it starts the model."""
    found: dict[str, list[int]] = {}
    for (model, _), residual in residuals.items():
        found.setdefault(model, []).append(residual)
    return {model: median_low(rows) for model, rows in found.items()}


def _agrees(difference: int, add: int) -> bool:
    """A start that differs from its prediction by what the correction adds, in the same direction."""
    return difference * add > 0 and abs(difference - add) <= max(TOLERANCE_BYTES, abs(add) // 4)


def applied(calibrations: Iterable[EngineCalibration], trust: CalibrationTrust) -> tuple[AppliedCorrection, ...]:
    """Every correction that counts, sorted. Of several for one component and one kind of estimates the one that needs most counts."""
    if trust.mode == "Off":
        return ()
    found: dict[tuple[str, ...], AppliedCorrection] = {}
    for calibration in sorted(calibrations, key=lambda one: one.metadata.name):
        for row in _counting(calibration, trust.namespaces):
            key = (row.engine_minor, row.product or "", row.component, row.interconnect or "", row.cause_of_doubt or "")
            if key not in found or row.add_bytes > found[key].add_bytes:
                found[key] = row
    return tuple(found[key] for key in sorted(found))


_Counted = dict[tuple[str, ...], tuple[AppliedCorrection, ...]]
_COUNTED: Final[dict[int, tuple[weakref.ref[EngineCalibration], _Counted]]] = {}
"""By the object as it was read, while it lives, and the namespaces trusted: asked at every look and every review, and thousands of starts
may be behind it."""
_MOST_TRUSTS: Final = 64


def _counting(calibration: EngineCalibration, namespaces: tuple[str, ...]) -> tuple[AppliedCorrection, ...]:
    """The corrections of one object that count under this trust. Threads that ask at once both work it out: the answers are equal."""
    place = id(calibration)
    kept = _COUNTED.get(place)
    if kept is None or kept[0]() is not calibration:
        kept = (weakref.ref(calibration, lambda _: _COUNTED.pop(place, None)), {})
        _COUNTED[place] = kept
    found = kept[1].get(namespaces)
    if found is None:
        rows = (row for row in calibration.spec.corrections if why_unsupported(row, namespaces) is None)
        found = tuple(_as_applied(row, calibration.metadata.name) for row in rows)
        if len(kept[1]) >= _MOST_TRUSTS:
            kept[1].clear()
        kept[1][namespaces] = found
    return found


def _as_applied(row: Correction, source: str) -> AppliedCorrection:
    return AppliedCorrection(
        source=source,
        engine_minor=row.engine_minor,
        product=row.product,
        component=row.component,
        add_bytes=row.add_bytes,
        interconnect=row.interconnect,
        cause_of_doubt=row.cause_of_doubt,
    )
