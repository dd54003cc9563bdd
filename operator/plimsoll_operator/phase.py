"""How an InferenceDeployment stands, in one word and the reason of the moment: what `kubectl get` shows. Pure.

Worked out of the conditions and of nothing else, so that it cannot contradict them. Called where status is written. Knows no
verdict, no child and no pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.api import Condition
from plimsoll_operator.reasons import Why
from plimsoll_operator.reasons.explained import Explained


class Phase(Explained):
    """The word, what it means, and what to do about it. Only `Running` and `ScaledToZero` are said of what is Ready."""

    RUNNING = ("Running", "All replicas of the current spec serve.", "Nothing to do.")
    SCALED_TO_ZERO = ("ScaledToZero", "spec.replicas is 0: the plan is kept, and nothing runs or is booked.", "Scale up when it is wanted.")
    STARTING = (
        "Starting",
        "The pods are made or load weights, and none serves yet.",
        "Wait; status.plan.startupSeconds is how long it may be.",
    )
    ROLLING_OUT = ("RollingOut", "Some replicas serve, and the others are made, replaced or starting.", "Wait; READY says how many serve.")
    WAITING_FOR_GPUS = (
        "WaitingForGpus",
        "Too few GPUs are free for all replicas: the other pods exist and wait.",
        "Free GPUs, add nodes, or lower replicas; `kubectl get gpool` shows what is free and booked.",
    )
    WAITING_FOR_TURN = (
        "WaitingForTurn",
        "Pods whose GPUs were booked earlier are on their way to nodes.",
        "Nothing to do: it takes seconds.",
    )
    NOT_SCHEDULED = (
        "NotScheduled",
        "GPUs are booked, and the scheduler does not bind the pods.",
        "`kubectl describe pod` says why: a volume, a taint, a quota, or another scheduler that does not run.",
    )
    PODS_ABSENT = (
        "PodsAbsent",
        "Pods that were asked for do not exist.",
        "The events of the ReplicaSets or StatefulSets say why: a quota, Pod Security or an admission webhook.",
    )
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
    IMAGE_NOT_PULLED = (
        "ImageNotPulled",
        "The image of a container is not pulled.",
        "Stalled has the registry's words: correct spec.engine.image, or give a pull secret in spec.template.imagePullSecrets.",
    )
    CONTAINER_NOT_STARTED = (
        "ContainerNotStarted",
        "A container cannot be made or started.",
        "Stalled names the Secret, ConfigMap or command that is not there.",
    )
    NODE_NOT_READY = ("NodeNotReady", "Pods are on a node that does not answer.", "`kubectl describe node` says why.")
    PODS_REFUSED = (
        "PodsRefused",
        "The API server refuses the pods.",
        "Stalled has its words: change the namespace's labels, quota or limits, or the spec.",
    )
    BLOCKED = (
        "Blocked",
        "The objects of the plan cannot be made or changed: a name is taken, another owner has them, or the API server refuses them.",
        "Stalled says which object and what to do.",
    )
    OVERDUE = ("Overdue", "The rollout made no progress within its deadline.", "Read the pods' events and logs.")
    CHANGED_BY_OTHERS = (
        "ChangedByOthers",
        "Somebody else goes on changing what the plan sets.",
        "Progressing names the other manager: change the InferenceDeployment instead.",
    )
    REJECTED = (
        "Rejected",
        "The spec as it stands is refused, or a policy holds replicas of it. What ran before runs on.",
        "Feasible says why; status.offers has changes that would be admitted.",
    )
    UNDECIDED = ("Undecided", "It is not known whether the spec fits. What ran before runs on.", "Feasible says what is missing.")
    INVALID = ("Invalid", "The object itself cannot be read by this release. What ran before runs on.", "Feasible names the field.")
    FAILED = (
        "Failed",
        "An error of the controller itself stopped the work on this object, and it is tried again.",
        "Look for the digest of the message in the controller's log.",
    )
    STALLED = ("Stalled", "Somebody must change something.", "Stalled says what.")


_STALLED: Final[Mapping[str, Phase]] = {
    Why.ENGINE_ENDS: Phase.CRASH_LOOP,
    Why.IMAGE_NOT_PULLED: Phase.IMAGE_NOT_PULLED,
    Why.CONTAINER_NOT_STARTED: Phase.CONTAINER_NOT_STARTED,
    Why.NODE_NOT_READY: Phase.NODE_NOT_READY,
    Why.PODS_REFUSED: Phase.PODS_REFUSED,
    Why.NAME_TAKEN: Phase.BLOCKED,
    Why.NOT_CONTROLLED: Phase.BLOCKED,
    Why.APPLY_REFUSED: Phase.BLOCKED,
    Why.PROGRESS_DEADLINE_EXCEEDED: Phase.OVERDUE,
    Why.INTERNAL_ERROR: Phase.FAILED,
}
_LACKING: Final[Mapping[str, Phase]] = {
    Why.WAITING_FOR_GPUS: Phase.WAITING_FOR_GPUS,
    Why.WAITING_FOR_TURN: Phase.WAITING_FOR_TURN,
    Why.NOT_SCHEDULED: Phase.NOT_SCHEDULED,
    Why.PODS_ABSENT: Phase.PODS_ABSENT,
    Why.FREE_UNKNOWN: Phase.PENDING,
}


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
    if capacity is not None and capacity.reason in _LACKING:
        return Summary(phase=_LACKING[capacity.reason], reason=capacity.reason)
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
    return _STALLED.get(reason, Phase.STALLED)
