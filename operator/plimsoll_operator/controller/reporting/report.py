"""What is told about one InferenceDeployment after it was decided: its status, written when it differs, and its Events.

Called by the reconciler at the end of each key, from any of its threads but never by two for the same key. Raises
ApiFailure where the API server refuses the status. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Final

from plimsoll_operator.api import ApiError, InferenceDeploymentStatus, ObservedStatus, parse_part
from plimsoll_operator.conditions import INTERNAL_ERROR, UNREAD, ChildState, Invalid, Situation
from plimsoll_operator.controller.children.course import Applied, Course
from plimsoll_operator.controller.cluster.copies import Copies
from plimsoll_operator.controller.reporting.events import EventRecorder
from plimsoll_operator.controller.reporting.status import status_of, with_bug
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.facts import Bypass, Facts
from plimsoll_operator.names import BYPASS_ANNOTATION, REPLAN_ANNOTATION
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Key, Kube, Manifest, key_of
from plimsoll_operator.reasons import Why
from plimsoll_operator.render import selector_text
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

_MILESTONES: Final = {("Ready", "True", Why.READY), ("CapacityAvailable", "False", Why.WAITING_FOR_GPUS)}
"""Conditions whose coming is an event of its own: type, status and reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftChild:
    """What an object that cannot be read any more has left running: its child, the plan of it, replicas on nodes, and whether GPUs for
    the others are booked."""

    child: ChildState | None
    runs: Applied | None
    bound: int
    booked: bool


class Reporter:
    """Status and Events of every key. `now` is the wall clock for transition times, `copies` gets what is answered."""

    def __init__(self, kube: Kube, events: EventRecorder, now: Callable[[], datetime], copies: Copies) -> None:
        self._kube = kube
        self._copies = copies
        self._events = events
        self._now = now

    def report(
        self, raw: Manifest, facts: Facts, situation: Situation, course: Course, *, observed: ObservedStatus | None, applied: bool
    ) -> bool:
        """Post what is new and write status when it differs; `applied` unless the plan has not reached its children.

        Returns whether status was written.
        """
        status = self._status(facts, situation, course, observed)
        if not isinstance(situation.verdict, Invalid):
            self._tell(raw, facts, situation, course, applied=applied, status=status)
        return self._write_status(key_of(raw), raw, status)

    def report_known(
        self, raw: Manifest, facts: Facts, situation: Situation, course: Course, *, observed: ObservedStatus | None
    ) -> bool | None:
        """The same where nothing was looked at and nothing had to be applied. None, and nothing said, where status would differ and the
        object has moved since `raw` or is gone, or has no child: only a look tells whether somebody else's is in the way.
        """
        status = self._status(facts, situation, course, observed)
        differs = raw.get("status") != status
        if differs and situation.child is None:
            return None
        try:
            written = self._write_status(key_of(raw), raw, status, version=raw["metadata"]["resourceVersion"])
        except ApiFailure as failure:
            if failure.status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                return None
            raise
        self._tell(raw, facts, situation, course, applied=True, status=status)
        return written

    def _status(self, facts: Facts, situation: Situation, course: Course, observed: ObservedStatus | None) -> Manifest:
        return status_of(
            situation,
            plan=course.run.plan if course.run is not None else None,
            proposed=course.proposed,
            selector=selector_text(facts.deployment),
            previous=facts.deployment.status,
            observed=observed,
            now=self._stamp(),
        )

    def refuse(self, key: Key, raw: Manifest, message: str, left: LeftChild) -> None:
        """Say in status what is wrong with the object itself, and what runs of it all the same."""
        metadata, runs = raw["metadata"], left.runs
        situation = Situation(
            generation=int(metadata.get("generation") or 0),
            verdict=Invalid(message=message),
            adopting=True,
            model=UNREAD,
            applied_generation=runs.origin.generation if runs is not None else None,
            replicas=left.child.desired if left.child is not None else 0,
            bound=left.bound,
            capacity_for_missing=left.booked,
            child=left.child,
        )
        previous = _readable(raw)
        status = status_of(
            situation,
            plan=runs.plan if runs is not None else None,
            proposed=None,
            selector=(previous.selector if previous is not None else None) or "",
            previous=previous,
            observed=previous.observed if previous is not None else None,
            now=self._stamp(),
        )
        self._events.post(key, str(metadata.get("uid")), kind="Warning", reason=Why.INVALID, action="Read", note=message)
        self._write_status(key, raw, status)

    def report_bug(self, key: Key, raw: Manifest, message: str) -> None:
        """Say that the controller itself failed at this object. The rest of its status stays: it speaks of the last good look."""
        self._events.post(key, str(raw["metadata"].get("uid")), kind="Warning", reason=INTERNAL_ERROR, action="Reconcile", note=message)
        self._write_status(key, raw, with_bug(raw, message, self._stamp()))

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._events.forget(key)

    def _tell(self, raw: Manifest, facts: Facts, situation: Situation, course: Course, *, applied: bool, status: Manifest) -> None:
        key, verdict = key_of(raw), situation.verdict
        for reason, message in _reached(raw.get("status") or {}, status):
            self._events.post(key, facts.deployment.metadata.uid, kind="Normal", reason=reason, action="Run", note=message)
        for row in situation.dispute.mended if situation.dispute is not None else ():
            self._events.happened(key, facts.deployment.metadata.uid, reason=row.reason, note=row.message, occasion=row.occasion)
        old = raw.get("status") == status and not course.adopts and situation.dispute is None
        post = partial(self._events.post, key, facts.deployment.metadata.uid, old=old)
        what_stops = _what_stops(situation, adopts=course.adopts)
        if what_stops is not None:
            reason, action, note = what_stops
            post(kind="Warning", reason=reason, action=action, note=note)
        elif course.adopts and course.run is not None:
            if applied:
                _tell_of_the_plan(post, facts, verdict, course.run.plan)
        elif situation.capped:
            post(kind="Warning", reason=situation.capped_reason, action="Scale", note=situation.capped)
        elif isinstance(verdict, Reject | Undecided):
            post(kind="Warning", reason=str(verdict.reason), action="Plan", note=verdict.message)
        elif course.proposed is not None:
            name = raw["metadata"]["name"]
            note = f"Would be planned differently now: {_plan_sentence(course.proposed)}. The pods stay as they are. To adopt it: "
            note += f'kubectl annotate infd {name} {REPLAN_ANNOTATION}="$(date +%s)" --overwrite'
            post(kind="Normal", reason=Why.PLAN_PROPOSED, action="Judge", note=note)

    def _write_status(self, key: Key, raw: Manifest, status: Manifest, *, version: str = "") -> bool:
        """`version`: only while the object is at that one."""
        if raw.get("status") == status:
            return False
        namespace, name = key
        at = {"resourceVersion": version} if version else {}
        manifest = {
            "apiVersion": INFERENCE_DEPLOYMENTS.api_version,
            "kind": INFERENCE_DEPLOYMENTS.kind,
            "metadata": {"namespace": namespace, "name": name, "uid": raw["metadata"]["uid"], **at},
            "status": status,
        }
        self._copies.keep(self._kube.apply(INFERENCE_DEPLOYMENTS, manifest, subresource="status"))
        return True

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _what_stops(situation: Situation, *, adopts: bool) -> tuple[str, str, str] | None:
    """Reason, action and note of what keeps the plan from running, the nearest first."""
    if situation.blocked is not None:
        return situation.blocked.reason, "Apply", situation.blocked.message
    if situation.apply_problem:
        return Why.APPLY_REFUSED, "Apply", situation.apply_problem
    if situation.child is not None and situation.child.pods_refused is not None and not adopts:
        return Why.PODS_REFUSED, "Run", f"The API server refuses the pods: {situation.child.pods_refused.message}"
    if situation.pods_fail is not None and situation.obstacle is not None and not adopts:
        return situation.obstacle[0], "Run", situation.obstacle[1]
    if situation.dispute is not None and situation.dispute.waiting:
        return Why.CHANGED_BY_OTHERS, "Apply", situation.dispute.message
    return None


def _tell_of_the_plan(post: Callable[..., object], facts: Facts, verdict: Verdict | Invalid, plan: Plan) -> None:
    note = _plan_sentence(plan)
    if isinstance(verdict, Admit | Resize) and verdict.overridden is not None:
        post(kind="Warning", reason=Why.OVERRIDDEN, action="Plan", note=_override_note(facts, verdict.overridden))
    if isinstance(verdict, Resize):
        note += "; moved " + ", ".join(f"{change.field} from {change.old} to {change.new}" for change in verdict.changes)
    post(kind="Normal", reason=Why.PLAN_APPLIED, action="Plan", note=note)


def _reached(before: Manifest, status: Manifest) -> list[tuple[str, str]]:
    """Reason and message of milestones that stand in status now and did not before."""
    had = {(row.get("type"), row.get("status"), row.get("reason")) for row in before.get("conditions") or ()}
    rows = [(row, (row["type"], row["status"], row["reason"])) for row in status["conditions"]]
    return [(row["reason"], row["message"]) for row, said in rows if said in _MILESTONES - had]


def _override_note(facts: Facts, reject: Reject) -> str:
    """On whose word pods are made that are predicted not to start: kept for whoever asks later."""
    reason = facts.deployment.metadata.annotations.get(BYPASS_ANNOTATION, "")[:256]
    word = f"the bypass annotation ({reason})" if facts.bypass is Bypass.HONOURED else "the FitPolicy's mode Warn"
    return f"Pods are made by {word} against {reject.reason}: {reject.message}"


def _plan_sentence(plan: Plan) -> str:
    return (
        f"{plan.gpus_per_replica} x {plan.product} per replica, tensor parallel size {plan.tensor_parallel_size}, "
        f"gpu-memory-utilization {plan.gpu_memory_utilization}, context {plan.max_model_len} tokens"
    )


def _readable(raw: Manifest) -> InferenceDeploymentStatus | None:
    """The status of an object whose spec cannot be read; None where it cannot either."""
    try:
        return parse_part(InferenceDeploymentStatus, raw.get("status") or {}, newer=True)
    except ApiError:
        return None
