"""Says on each EngineCalibration which of its corrections count, and why the others do not. Called by the leader's clock.

Judges by `calibration` under every FitPolicy, as `gather` does for the facts; writes only the status. Knows no deployment.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime

from plimsoll_operator.api import Condition, EngineCalibration, FitPolicy, Unreadable
from plimsoll_operator.calibration import why_not
from plimsoll_operator.conditions import MAX_MESSAGE
from plimsoll_operator.controller.cluster.store import ParsedObjects
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import ENGINE_CALIBRATIONS, Kube, Manifest
from plimsoll_operator.reasons import Why

_log = logging.getLogger(__name__)


class CalibrationWriter:
    """`changed` is set by whoever sees a calibration or a policy change."""

    def __init__(self, kube: Kube, objects: ParsedObjects, now: Callable[[], datetime], border: Border = no_border) -> None:
        self._kube = kube
        self._border = border
        self._objects = objects
        self._now = now
        self._spoken: dict[str, tuple[str, str, str, int]] = {}
        self.changed = threading.Event()
        self.changed.set()

    def write_if_changed(self) -> None:
        """One pass where something changed; a refused one is tried again."""
        if not self.changed.is_set():
            return
        self.changed.clear()
        for calibration in self._objects.engine_calibrations.found():
            name = calibration.name if isinstance(calibration, Unreadable) else calibration.metadata.name
            with self._border(Unit.CALIBRATION, name):
                try:
                    if isinstance(calibration, Unreadable):
                        self._write_unreadable(calibration)
                    else:
                        self._write(calibration)
                except ApiFailure as failure:
                    _log.warning("calibration %s not written: %s", name, failure)
                    self.changed.set()

    def _write(self, calibration: EngineCalibration) -> None:
        status, reason, message = condition_of(calibration, self._objects.policies.values())
        rows = calibration.status.conditions if calibration.status is not None else ()
        before = next((row for row in rows if row.type == "Applied"), None)
        generation = calibration.metadata.generation
        said = (status, reason, message, generation)
        if before is not None and (before.status, before.reason, before.message, before.observed_generation) == said:
            return
        self._apply(calibration.metadata.name, said, before)

    def _write_unreadable(self, calibration: Unreadable) -> None:
        message = f"{calibration.problem}. None of its corrections is made: the shipped constants hold, with their intervals."
        said = ("False", Why.UNREADABLE, message[:MAX_MESSAGE], calibration.generation)
        if self._spoken.get(calibration.name) != said:
            self._apply(calibration.name, said, None)
            self._spoken[calibration.name] = said

    def _apply(self, name: str, said: tuple[str, str, str, int], before: Condition | None) -> None:
        status, reason, message, generation = said
        since = before.last_transition_time if before is not None and before.status == status else None
        condition: Manifest = {
            "type": "Applied",
            "status": status,
            "reason": str(reason),
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": since or self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        manifest: Manifest = {
            "apiVersion": ENGINE_CALIBRATIONS.api_version,
            "kind": ENGINE_CALIBRATIONS.kind,
            "metadata": {"name": name},
            "status": {"observedGeneration": generation, "conditions": [condition]},
        }
        self._kube.apply(ENGINE_CALIBRATIONS, manifest, subresource="status")


def condition_of(calibration: EngineCalibration, policies: Iterable[FitPolicy]) -> tuple[str, str, str]:
    """Status, reason and message of Applied: True where some policy lets every correction count, False where none does any."""
    corrections = calibration.spec.corrections
    if not corrections:
        return ("False", Why.EMPTY, "There is no correction.")
    trusting = sorted((policy for policy in policies if policy.spec.calibration_trust.mode == "Apply"), key=lambda one: one.metadata.name)
    if not trusting:
        return ("False", Why.NOT_TRUSTED, "No FitPolicy has calibrationTrust.mode Apply.")
    counted, lines = set(), []
    for policy in trusting:
        for number, row in enumerate(corrections):
            why = why_not(row, policy.spec.calibration_trust)
            if why is None:
                counted.add(number)
            else:
                lines.append(f"{row.component} of {row.engine_minor} does not count under FitPolicy {policy.metadata.name}: {why}.")
    names = ", ".join(policy.metadata.name for policy in trusting)
    head = f"{len(counted)} of {len(corrections)} corrections count under FitPolicy {names}."
    reason = Why.APPLIED if len(counted) == len(corrections) else Why.PARTLY_APPLIED if counted else Why.NOT_ENOUGH_EVIDENCE
    return ("True" if counted else "False", reason, " ".join([head, *lines])[:MAX_MESSAGE])
