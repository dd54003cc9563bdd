"""How an InferenceDeployment stands, in one word and the reason of the moment: what `kubectl get` shows. Pure.

Worked out of the conditions and of nothing else, so that it cannot contradict them. Called where status is written. Knows no
verdict, no child and no pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.api import Condition
from plimsoll_operator.reasons import NOT_READY, PodsFailReason, Why
from plimsoll_operator.reasons.explained import Explained


class Phase(Explained):
    """The word, what it means, and what to do about it; a word that is a reason too has the reason's sentences.

    Only `Running` and `ScaledToZero` are said of what is Ready.
    """

    RUNNING = ("Running", "All replicas of the current spec serve.", "Nothing to do.")
    SCALED_TO_ZERO = ("ScaledToZero", "spec.replicas is 0: the plan is kept, and nothing runs or is booked.", "Scale up when it is wanted.")
    STARTING = (
        "Starting",
        "The pods are made or load weights, and none serves yet.",
        "Wait; status.plan.startupSeconds is how long it may be.",
    )
    ROLLING_OUT = Why.ROLLING_OUT.said
    WAITING_FOR_GPUS = Why.WAITING_FOR_GPUS.said
    WAITING_FOR_TURN = Why.WAITING_FOR_TURN.said
    NOT_SCHEDULED = Why.NOT_SCHEDULED.said
    PODS_ABSENT = Why.PODS_ABSENT.said
    PENDING = (
        "Pending",
        "Pods are on no node, and it is not known what is free: pods of other namespaces may not be listed.",
        "`kubectl describe pod` says what they wait for.",
    )
    CRASH_LOOP = (
        "CrashLoop",
        "A container ends again and again before it serves.",
        "Stalled says how it ended and what to do; `plimsoll status` shows its last words.",
    )
    IMAGE_NOT_PULLED = PodsFailReason.IMAGE_NOT_PULLED.said
    CONTAINER_NOT_STARTED = PodsFailReason.CONTAINER_NOT_STARTED.said
    NODE_NOT_READY = PodsFailReason.NODE_NOT_READY.said
    PODS_REFUSED = Why.PODS_REFUSED.said
    BLOCKED = (
        "Blocked",
        "The objects of the plan cannot be made or changed: a name is taken, another owner has them, or the API server refuses them.",
        "Stalled says which object and what to do.",
    )
    OVERDUE = ("Overdue", "The rollout made no progress within its deadline.", "Read the pods' events and logs.")
    CHANGED_BY_OTHERS = Why.CHANGED_BY_OTHERS.said
    REJECTED = (
        "Rejected",
        "The spec as it stands is refused, or a policy holds replicas of it. What ran before runs on.",
        "Feasible says why; status.offers has changes that would be admitted.",
    )
    UNDECIDED = ("Undecided", "It is not known whether the spec fits. What ran before runs on.", "Feasible says what is missing.")
    INVALID = Why.INVALID.said
    FAILED = (
        "Failed",
        "An error of the controller itself stopped the work on this object, and it is tried again.",
        "Look for the digest of the message in the controller's log.",
    )
    STALLED = ("Stalled", "Somebody must change something.", "Stalled says what.")


_BY_NAME: Final = {str(phase): phase for phase in Phase}
_WORDS: Final[Mapping[str, Phase]] = {reason: _BY_NAME[goes.status] for reason, goes in NOT_READY.items()}
"""The word that goes with a reason of Stalled, or of a lack of GPUs; each reason names its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The word, and the reason of the condition that it is taken from."""

    phase: Phase
    reason: str


def summary_of(conditions: Iterable[Condition]) -> Summary | None:
    """What the conditions come to; None where they do not say whether it is ready."""
    rows = {row.type: row for row in conditions}
    ready, stalled = rows.get("Ready"), rows.get("Stalled")
    if ready is None:
        return None
    if stalled is not None and stalled.status == "True":
        return Summary(phase=_of_stalled(stalled.reason, rows.get("Feasible")), reason=stalled.reason)
    capacity = rows.get("CapacityAvailable")
    if ready.status == "True":
        return _of_ready(ready, capacity, rows.get("Feasible"))
    progressing = rows.get("Progressing")
    if progressing is not None and progressing.reason == Why.CHANGED_BY_OTHERS:
        return Summary(phase=Phase.CHANGED_BY_OTHERS, reason=progressing.reason)
    if capacity is not None and capacity.reason in _WORDS:
        return Summary(phase=_WORDS[capacity.reason], reason=capacity.reason)
    serves = rows["Available"].status == "True" if "Available" in rows else False
    reason = progressing.reason if progressing is not None else ready.reason
    return Summary(phase=Phase.ROLLING_OUT if serves else Phase.STARTING, reason=reason)


def _of_ready(ready: Condition, capacity: Condition | None, feasible: Condition | None) -> Summary:
    """What serves may be doubted all the same: then the doubt is the reason."""
    if capacity is not None and capacity.reason == Why.NONE_WANTED:
        return Summary(phase=Phase.SCALED_TO_ZERO, reason=capacity.reason)
    doubted = feasible is not None and feasible.status != "True"
    return Summary(phase=Phase.RUNNING, reason=feasible.reason if doubted and feasible is not None else ready.reason)


def _of_stalled(reason: str, feasible: Condition | None) -> Phase:
    if reason == Why.INVALID:
        return Phase.INVALID
    if feasible is not None and feasible.status != "True" and feasible.reason == reason:
        return Phase.REJECTED if feasible.status == "False" else Phase.UNDECIDED
    return _WORDS.get(reason, Phase.STALLED)
