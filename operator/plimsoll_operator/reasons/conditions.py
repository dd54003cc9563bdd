"""The reasons of conditions and events that no list of its own has. Read by `conditions` and by what reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from plimsoll_operator.reasons.explained import Explained


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReady:
    """What goes with a reason why an InferenceDeployment is not Ready.

    `status` is the word of `kubectl get infd` (a `Phase`). `plan_stands` where Stalled gives the reason and speaks of the pods or of
    the controller, not of the spec: the plan in status is the one that was applied for the spec as it stands.
    """

    status: str
    plan_stands: bool = False


class Why(Explained):
    """What a condition or event gives as its reason, beside verdicts, `NoShape` and `PodsFailReason`. Those of Stalled and of a lack of
    GPUs say `not_ready`.
    """

    not_ready: NotReady | None

    def __new__(cls, name: str, means: str, to_do: str, not_ready: NotReady | None = None) -> Self:
        """Made of the sentences, and of what goes with it where it is why something is not Ready."""
        member = cls._of(name, means, to_do)
        member.not_ready = not_ready
        return member

    # What ModelResolved says of a shape that is known
    FOUND = ("Found", "The model's shape is known; the message says from where and at which commit.", "Nothing to do.")
    DIGEST_CHANGED = (
        "DigestChanged",
        "The branch has moved since the plan was made. The pods keep the commit of their plan.",
        "Adopt the new one by a changed spec or the annotation inference.plimsoll.dev/replan.",
    )
    # What CapacityAvailable says
    BOUND = ("Bound", "Every replica is on a node.", "Nothing to do.")
    BOOKED = (
        "Booked",
        "GPUs are set aside for every replica, wherever the scheduler puts what it sees.",
        "Nothing to do: pods follow at once.",
    )
    WAITING_FOR_GPUS = (
        "WaitingForGpus",
        "Too few GPUs are free that no earlier deployment and no other pending pod may take. The pods exist and wait.",
        "Free GPUs, add nodes, or lower replicas; `kubectl get gpool` shows what is free and booked.",
        NotReady(status="WaitingForGpus"),
    )
    WAITING_FOR_TURN = (
        "WaitingForTurn",
        "Pods whose GPUs are booked earlier are on their way to nodes; until they are there it is not certain what is left.",
        "Nothing to do: it is decided within seconds.",
        NotReady(status="WaitingForTurn"),
    )
    PODS_ABSENT = (
        "PodsAbsent",
        "Pods that the Deployment is asked for do not exist: a quota, Pod Security or an admission webhook refuses them, or it takes time.",
        "The events of its ReplicaSets or StatefulSets say why. GPUs are booked for pods that exist; these get their place when they do.",
        NotReady(status="PodsAbsent"),
    )
    NOT_SCHEDULED = (
        "NotScheduled",
        "GPUs were booked, but the scheduler has not bound the pods for ten seconds.",
        "`kubectl describe pod` says why: a volume, a taint, a quota, or another scheduler that does not run.",
        NotReady(status="NotScheduled"),
    )
    INTERNAL_ERROR = (
        "InternalError",
        "An error of the controller itself stopped the work on this object. Other objects are not touched, and it is tried again.",
        "Look for the digest of the message in the controller's log, and report the traceback there.",
        NotReady(status="Failed", plan_stands=True),
    )
    APPLY_REFUSED = (
        "ApplyRefused",
        "The API server refuses the Deployment, LeaderWorkerSet or Service: a quota, a policy or a missing right.",
        "The condition quotes it; what was booked is free for others until it is taken.",
        NotReady(status="Blocked"),
    )
    # Input
    INVALID_INPUT = ("InvalidInput", "The input itself is at fault.", "The message names the field, the value and the limit.")
    INVALID = (
        "Invalid",
        "What was read cannot be believed or understood: the object itself, a profile, a config or a log.",
        "The message names the field or file, the value and the limit.",
    )
    # How capacity, rollout and pods stand: the other conditions
    NO_PLAN = ("NoPlan", "No plan is applied, so no GPUs are wanted.", "Feasible says why.")
    NONE_WANTED = ("NoneWanted", "spec.replicas is 0: the plan is kept, nothing is booked.", "Scale up when it is wanted.")
    FREE_UNKNOWN = (
        "FreeUnknown",
        "Pods of other namespaces may not be listed, so nobody knows what is free.",
        "Empty controller.podNamespaces of the chart, or watch the pods themselves.",
        NotReady(status="Pending"),
    )
    REFUSED = ("Refused", "The spec as it stands makes no pods.", "Feasible says why.")
    APPLYING = ("Applying", "The objects of the plan are being made.", "Wait.")
    ROLLING_OUT = ("RollingOut", "The pods of the plan are starting.", "Wait; loading weights takes minutes.")
    COMPLETE = ("Complete", "All replicas carry the plan and are available.", "Nothing to do.")
    NAME_TAKEN = (
        "NameTaken",
        "An object that is not Plimsoll's has the name of the Deployment, LeaderWorkerSet or Service; it is never taken over.",
        "Rename one of the two. What runs keeps its plan and its GPUs; the rest is made within half a minute of the name being free.",
        NotReady(status="Blocked"),
    )
    NOT_CONTROLLED = (
        "NotControlled",
        "Somebody has taken the Deployment, LeaderWorkerSet or Service from its InferenceDeployment: another owner controls it, or none.",
        "The message names the entry of metadata.ownerReferences to remove or to set. What runs keeps its plan and its GPUs.",
        NotReady(status="Blocked"),
    )
    CHANGED_BY_OTHERS = (
        "ChangedByOthers",
        "Somebody else changes the Deployment, LeaderWorkerSet or Service that the plan has made; it is put back, at most every 5 minutes.",
        "The message names the other manager. Change the InferenceDeployment instead; an autoscaler is pointed at its scale.",
    )
    CHILD_RESTORED = (
        "ChildRestored",
        "Somebody has deleted the Deployment, LeaderWorkerSet or Service of the plan, and it was made again.",
        "To stop the pods, delete the InferenceDeployment or set its replicas to 0; its children follow it.",
    )
    PODS_REFUSED = (
        "PodsRefused",
        "The API server refuses the pods, and will until somebody changes something: Pod Security, a quota, limits, an admission policy.",
        "The message has its own words. Change the namespace's labels, quota or limits, or the spec; pods come by themselves then.",
        NotReady(status="PodsRefused", plan_stands=True),
    )
    PODS_NOT_MADE = (
        "PodsNotMade",
        "A pod could not be made just now; it is tried again.",
        "Wait; the message has the API server's words.",
    )
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        "The rollout made no progress within its deadline.",
        "Read the pods' events and logs.",
        NotReady(status="Overdue", plan_stands=True),
    )
    MINIMUM_REPLICAS_AVAILABLE = ("MinimumReplicasAvailable", "At least one replica is available, or none is wanted.", "Nothing to do.")
    NO_REPLICA_AVAILABLE = ("NoReplicaAvailable", "No replica is available.", "Progressing says how far they are.")
    READY = ("Ready", "All replicas of the current spec are available.", "Nothing to do.")
    PROGRESSING = (
        "Progressing",
        "Not all replicas of the current spec are available yet.",
        "Progressing and CapacityAvailable say what they wait for.",
    )
    NOT_STALLED = ("NotStalled", "Nothing stands in the way.", "Nothing to do.")
    # What AsPredicted says
    AS_PREDICTED = ("AsPredicted", "What the engines logged of their start is within the prediction's interval.", "Nothing to do.")
    NOT_OBSERVED = (
        "NotObserved",
        "No log of a start of this plan has been read: no engine has been ready yet, or its log does not say what it took.",
        "Wait until a pod is ready. Engines that log warnings only, or whose log was rotated away, tell nothing.",
    )
    LOG_UNREAD = (
        "LogUnread",
        "The log of an engine that is ready could not be read. It is tried again, more and more slowly.",
        "The message has the API server's answer: a node that does not answer, or no right to pods/log in the namespace.",
    )
    ENGINE_NOT_AS_PLANNED = (
        "EngineNotAsPlanned",
        "The engine says that it is another release than the plan was made for: the image's tag, or spec.engine.version, is not what runs.",
        "Correct spec.engine.image, or set spec.engine.version to what the engine says; the plan is then made by that release's rules.",
    )
    GPU_NOT_AS_PLANNED = (
        "GpuNotAsPlanned",
        "CUDA reports less memory for the GPU than the plan was made for: ECC, a slice, a hypervisor's share, or another card.",
        "Write a GPUPool with that usableMemoryBytes (`plimsoll nodes --doubted`), and adopt the plan that is then proposed.",
    )
    FOREIGN_GPU_MEMORY = (
        "ForeignGpuMemory",
        "More of the GPU was taken when the engine began than engines take themselves: something else uses the card.",
        "See what runs on it (nvidia-smi on the node) and stop it, or plan with less: reserveBytes, or a GPUPool's usableMemoryBytes.",
    )
    LESS_KV_CACHE = (
        "LessKvCache",
        "The engine has less KV cache than the lower end of the prediction's interval: it needs more beside it than was thought.",
        "Give it room (spec.fit.reserveBytes) or a shorter context, and report the log: every measured start is added to the estimate.",
    )
    FIGURES_LEFT_OUT = (
        "FiguresLeftOut",
        "The log has figures that cannot be on this GPU, or that contradict one another. They are left out and move nothing.",
        "Read the log: another program writes into it, or vLLM itself printed nonsense. `plimsoll observe` says which line.",
    )
    # Events
    PLAN_APPLIED = ("PlanApplied", "The pods' objects carry a new plan.", "Nothing to do.")
    PLAN_PROPOSED = (
        "PlanProposed",
        "The same spec would be planned differently today; the pods stay as they are.",
        "Compare status.proposedPlan; adopt it with the annotation inference.plimsoll.dev/replan.",
    )
    OVERRIDDEN = (
        "Overridden",
        "Pods are made against a rejection: by the FitPolicy's mode Warn or the bypass annotation.",
        "Expect the start to fail as predicted; the event has the rejection.",
    )
    # GPUPools and EngineCalibrations
    DECLARED = (
        "Declared",
        "No node is of the declared GPUPool yet. Plans count on the nodes that an autoscaler may bring, up to maxNodes.",
        "Nothing to do. Pods wait until a node is there; where none comes, the autoscaler's own log says why.",
    )
    NO_NODES = (
        "NoNodes",
        "No node is of the GPUPool, and none is declared, so nothing is planned on it.",
        "The message says what would name nodes: a selector that they have, the name of a pool, or declared with its sizes.",
    )
    NO_DOUBTS = ("NoDoubts", "Labels, counts and memory of the pool agree.", "Nothing to do.")
    PODS_SEEN = ("PodsSeen", "Pods of all namespaces are counted, so what is free is known.", "Nothing to do.")
    NOT_TRUSTED = (
        "NotTrusted",
        "A pool is left out of every plan because something is doubted of its nodes; or no FitPolicy trusts EngineCalibrations.",
        "`plimsoll nodes --doubted` says what, `plimsoll explain` of its word what to do. Calibrations: calibrationTrust.mode Apply.",
    )
    FOREIGN_PODS_HIDDEN = (
        "ForeignPodsHidden",
        "Pods of other namespaces may not be listed.",
        "Empty controller.podNamespaces of the chart.",
    )
    APPLIED = ("Applied", "Every correction of the EngineCalibration counts.", "Nothing to do.")
    PARTLY_APPLIED = ("PartlyApplied", "Some corrections of the EngineCalibration count.", "The message says why the others do not.")
    ACCEPTED = ("Accepted", "The FitPolicy is understood and holds.", "Nothing to do.")
    PARTLY_KNOWN = (
        "PartlyKnown",
        "The FitPolicy holds, without what this release does not know or what can never match: the message names it.",
        "Correct it, or run the release it was written for where that matters.",
    )
    UNREADABLE = (
        "Unreadable",
        "This release cannot read the object. Under a FitPolicy nothing new is admitted; an EngineCalibration corrects nothing.",
        "The message names the field: correct it, or run the release it was written for.",
    )
    EMPTY = ("Empty", "The EngineCalibration has no correction.", "Write one, or delete it.")
    NOT_ENOUGH_EVIDENCE = (
        "NotEnoughEvidence",
        "No correction of the EngineCalibration counts.",
        "The message says what evidence is missing.",
    )
