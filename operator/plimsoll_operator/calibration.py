"""Which corrections of EngineCalibrations count: by trusted, agreeing evidence, one vote a model, inside hard bounds. Pure.

Asked by `gather` for the facts and by the controller for the condition on each object. Knows no estimate: how far a need may be
lowered beside its interval is the estimator's business. One tenant's log can never move a shared constant alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from statistics import median_low
from typing import Final

from plimsoll_estimator import GIB, MIB, format_gib
from plimsoll_operator.api import CalibrationTrust, Correction, EngineCalibration
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
    trusted = [row for row in correction.evidence if row.namespace in namespaces]
    votes: dict[str, list[int]] = {}
    for row in trusted:
        votes.setdefault(row.model, []).append(row.observed_bytes - row.predicted_bytes)
    agreeing = {model for model, found in votes.items() if _agrees(median_low(found), add)}
    if len(agreeing) < MIN_MODELS:
        return f"{len(agreeing)} models of trusted namespaces agree with it, {MIN_MODELS} must"
    if 2 * len(agreeing) <= len(votes):
        return f"{len(agreeing)} of {len(votes)} models of trusted namespaces agree with it, more than half must"
    told = {row.namespace for row in trusted if row.model in agreeing}
    if len(told) < MIN_NAMESPACES:
        return f"its evidence is of {len(told)} trusted namespace, {MIN_NAMESPACES} are needed"
    return None


def _agrees(difference: int, add: int) -> bool:
    """A start that differs from its prediction by what the correction adds, in the same direction."""
    return difference * add > 0 and abs(difference - add) <= max(TOLERANCE_BYTES, abs(add) // 4)


def applied(calibrations: Iterable[EngineCalibration], trust: CalibrationTrust) -> tuple[AppliedCorrection, ...]:
    """Every correction that counts, sorted. Of several for one component, release and product the one that needs most counts."""
    if trust.mode == "Off":
        return ()
    found: dict[tuple[str, ...], AppliedCorrection] = {}
    for calibration in sorted(calibrations, key=lambda one: one.metadata.name):
        for row in calibration.spec.corrections:
            key = (row.engine_minor, row.product or "", row.component, row.interconnect or "", row.cause_of_doubt or "")
            if (key not in found or row.add_bytes > found[key].add_bytes) and why_not(row, trust) is None:
                found[key] = AppliedCorrection(
                    source=calibration.metadata.name,
                    engine_minor=row.engine_minor,
                    product=row.product,
                    component=row.component,
                    add_bytes=row.add_bytes,
                    interconnect=row.interconnect,
                    cause_of_doubt=row.cause_of_doubt,
                )
    return tuple(found[key] for key in sorted(found))
