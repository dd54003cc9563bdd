"""An InferenceDeployment's conditions, from what was decided and what its child reports. Pure.

Called by the controller before each status write. kstatus reads them as written: Stalled=True is Failed, Ready=True is
Current, anything else is InProgress (kubernetes-sigs/cli-utils, kstatus). Knows no API client; time is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from plimsoll_operator.api import Condition
from plimsoll_operator.dispute import Dispute
from plimsoll_operator.facts import ModelFacts, ModelUnknown
from plimsoll_operator.names import COMMIT, REPLAN_ANNOTATION
from plimsoll_operator.observation import NO_START, StartsSeen
from plimsoll_operator.reasons import NOT_READY, NoShape, PodsFailReason, Reason, Why
from plimsoll_operator.reasons.engine_ends import NEXT_STEPS
from plimsoll_operator.text import one_line
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

ConditionStatus = Literal["True", "False", "Unknown"]
Lack = Literal["gpus", "turn", "scheduler", "pods", "unknown"]
MAX_MESSAGE: Final = 2048
INTERNAL_ERROR: Final = str(Why.INTERNAL_ERROR)
PLAN_STANDS: Final = frozenset(reason for reason, goes in NOT_READY.items() if goes.plan_stands)
"""Reasons of Stalled with which the plan in status is the one that was applied for the spec as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsRefused:
    """What the API server says to pods that the child wants to make. `final`: it will say so until somebody changes something."""

    message: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsFail:
    """What so many pods, which exist, say of why they do not come to serve; and of one of them the container whose log says more.

    `cause` is the FailureCause that an engine's own words name, empty where they name none.
    """

    reason: PodsFailReason
    message: str
    pods: int
    pod: str = ""
    container: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A child of the plan that is not the controller's to change: its name is somebody else's, or it has another owner now."""

    reason: Literal[Why.NAME_TAKEN, Why.NOT_CONTROLLED]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildState:
    """What the Deployment says of itself. `current` means that its controller has seen its newest spec, `made_by` who makes its pods."""

    current: bool
    desired: int
    replicas: int
    updated: int
    ready: int
    available: int
    deadline_exceeded: bool
    pods_refused: PodsRefused | None = None
    made_by: str = "ReplicaSets of the Deployment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """The object could not be read as an InferenceDeployment: old storage, or written past admission."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSeen:
    """What ModelResolved says."""

    status: ConditionStatus
    reason: str
    message: str


UNREAD: Final = ModelSeen(status="Unknown", reason=Why.INVALID, message="the object could not be read")


def model_seen(model: ModelFacts | ModelUnknown, applied: Plan | None) -> ModelSeen:
    """How a model's shape is known, or why not; and whether its branch has moved since the applied plan was made."""
    if isinstance(model, ModelUnknown):
        return ModelSeen(status="Unknown" if model.kind is NoShape.RESOLVING else "False", reason=model.kind, message=model.problem)
    planned, found = (applied.model_revision if applied is not None else None), model.revision
    if planned is not None and found is not None and planned != found and COMMIT.fullmatch(planned) and COMMIT.fullmatch(found):
        moved = f"the model has moved from commit {planned} to {found} since the plan was made; the pods keep {planned}"
        return ModelSeen(status="True", reason=Why.DIGEST_CHANGED, message=moved)
    at = f" at commit {found}" if found is not None and COMMIT.fullmatch(found) else ""
    notes = f"; {model.note}" if model.note else ""
    return ModelSeen(status="True", reason=Why.FOUND, message=f"the shape is known from {model.source}{at}{notes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything the conditions are made from.

    `applied_generation` is the generation whose plan the pods carry, None without one. `adopting` is true where the
    verdict speaks of the spec as it stands rather than re-judging an applied plan. `bound` counts live pods on nodes,
    `capacity_for_missing` says that GPUs for all the others are booked, `missing_because` what they wait for where they are not.
    `apply_problem` is what the API server says to the children, where it refuses them, `blocked` says which child is not there to be
    changed, `dispute` that somebody changes them, `pods_fail` why pods do not serve. `replicas` are those that are made; `beyond`
    as many more are wanted than a cap of the FitPolicy allows, which says `beyond_because`. `starts` is what the engines' own logs say.
    `proposed_gpus` names the GPUs of a proposed plan that have room now, empty without one.
    """

    generation: int
    verdict: Verdict | Invalid
    adopting: bool
    model: ModelSeen
    applied_generation: int | None
    replicas: int
    bound: int
    capacity_for_missing: bool
    child: ChildState | None
    missing_because: Lack = "gpus"
    apply_problem: str = ""
    blocked: Blocked | None = None
    dispute: Dispute | None = None
    pods_fail: PodsFail | None = None
    beyond: int = 0
    beyond_because: Reject | None = None
    starts: StartsSeen = NO_START
    proposed_gpus: str = ""
    closed_nodes: str = ""

    @property
    def capped(self) -> str:
        """What is said of replicas beyond a cap of the policy; empty where there are none."""
        if self.beyond_because is None:
            return ""
        return f"{self.beyond_because.message} {self.replicas} of {self.replicas + self.beyond} replicas are kept."

    @property
    def capped_reason(self) -> str:
        """The reason that goes with it."""
        return str(self.beyond_because.reason) if self.beyond_because is not None else ""

    @property
    def obstacle(self) -> tuple[str, str] | None:
        """Reason and sentence of what keeps the plan from running until somebody changes something."""
        return _obstacle(self)

    @property
    def refused(self) -> bool:
        """The spec as it stands makes no pods."""
        return self.adopting and not isinstance(self.verdict, Admit | Resize)


_LACKS: Final[dict[Lack, tuple[str, str]]] = {
    "gpus": (Why.WAITING_FOR_GPUS, "waiting for free GPUs"),
    "turn": (Why.WAITING_FOR_TURN, "waiting until the pods whose GPUs are booked before theirs are on nodes"),
    "unknown": (Why.FREE_UNKNOWN, "not seen on nodes, and pods of other namespaces may not be listed, so what is free is not known"),
    "pods": (Why.PODS_ABSENT, "their pods do not exist although they were asked for, and nothing is booked for them until they do"),
    "scheduler": (Why.NOT_SCHEDULED, "not bound by the scheduler although GPUs were booked; the events of their pods say why"),
}
_ENGINE_ENDS: Final[dict[str, str]] = {str(cause): step for cause, step in NEXT_STEPS.items()}
_Draft: TypeAlias = tuple[str, ConditionStatus, str, str]


def conditions_of(situation: Situation, previous: Iterable[Condition], now: str) -> tuple[Condition, ...]:
    """All eight conditions, in a fixed order. `now` is RFC 3339 in UTC; a transition time moves to it only with the status."""
    before = {condition.type: condition for condition in previous}
    drafts = (
        _model_resolved(situation),
        _feasible(situation),
        _capacity_available(situation),
        _progressing(situation),
        _available(situation),
        _ready(situation),
        _stalled(situation),
        ("AsPredicted", situation.starts.status, situation.starts.reason, situation.starts.message),
    )
    return tuple(_settle(draft, situation.generation, before.get(draft[0]), now) for draft in drafts)


def _settle(draft: _Draft, generation: int, before: Condition | None, now: str) -> Condition:
    kind, status, reason, message = draft
    since = before.last_transition_time if before is not None and before.status == status else now
    return Condition(
        type=kind,
        status=status,
        reason=str(reason),
        message=one_line(message, MAX_MESSAGE),
        observed_generation=generation,
        last_transition_time=since,
    )


def _model_resolved(situation: Situation) -> _Draft:
    seen = UNREAD if isinstance(situation.verdict, Invalid) else situation.model
    return ("ModelResolved", seen.status, seen.reason, seen.message)


def _feasible(situation: Situation) -> _Draft:
    verdict = situation.verdict
    if isinstance(verdict, Invalid):
        return ("Feasible", "Unknown", Why.INVALID, verdict.message)
    if situation.capped and not situation.refused:
        return ("Feasible", "False", situation.capped_reason, situation.capped)
    if isinstance(verdict, Reject):
        return ("Feasible", "False", verdict.reason, _beside_the_model(verdict.message, situation.model))
    if isinstance(verdict, Undecided):
        message = _beside_the_model(f"{verdict.message} {verdict.next_step}".strip(), situation.model)
        return ("Feasible", "Unknown", verdict.reason, message)
    if verdict.overridden is not None:
        return ("Feasible", "False", verdict.overridden.reason, f"{verdict.warnings[0]} Pods are made all the same.")
    if isinstance(verdict, Resize):
        moved = "; ".join(f"{change.field} from {change.old} to {change.new}" for change in verdict.changes)
        return ("Feasible", "True", Reason.RESIZED, f"fits after moving {moved}")
    # Which GPUs are free is CapacityAvailable's to say, as it is now: a verdict is kept, and its pods may be on nodes long since.
    lasting = [line for line in verdict.warnings if line != verdict.of_now]
    return ("Feasible", "True", Reason.FITS, " ".join(lasting) or "fits as asked")


def _beside_the_model(message: str, model: ModelSeen) -> str:
    """A verdict's sentence, without what ModelResolved says already."""
    if model.status == "True":
        return message
    return (
        see("ModelResolved") if message == f"{model.message}." else message.replace(f": {model.message}.", f": {see('ModelResolved')}.", 1)
    )


def _capacity_available(situation: Situation) -> _Draft:
    kind = "CapacityAvailable"
    if situation.applied_generation is None:
        return (kind, "Unknown", Why.NO_PLAN, "no plan is applied")
    if situation.replicas == 0 and situation.capped:
        return (kind, "False", situation.capped_reason, see("Feasible"))
    if situation.replicas == 0:
        return (kind, "True", Why.NONE_WANTED, "no replicas are wanted")
    missing = situation.replicas - situation.bound
    if missing <= 0:
        return (kind, "True", Why.BOUND, "every replica has its GPUs")
    if situation.capacity_for_missing:
        return (kind, "True", Why.BOOKED, f"{_share(missing, situation)}: on no node yet, their GPUs are booked")
    reason, message = _LACKS[situation.missing_because]
    if situation.closed_nodes and situation.missing_because == "gpus":
        message += f"; {situation.closed_nodes}"
    if situation.proposed_gpus and situation.missing_because == "gpus":
        message += f"; {situation.proposed_gpus} have room: status.proposedPlan is adopted by the annotation {REPLAN_ANNOTATION}"
    if situation.child is not None and situation.missing_because == "pods":
        message += f"; the events of the {situation.child.made_by} say why"
    status: ConditionStatus = "Unknown" if situation.missing_because == "unknown" else "False"
    return (kind, status, reason, f"{_share(missing, situation)}: {message}")


def _share(some: int, situation: Situation) -> str:
    return f"{some} of {situation.replicas} replica{'s' * (situation.replicas != 1)}"


def see(kind: str) -> str:
    """What other conditions say of what one says in full: a sentence stands once, where `kubectl describe` shows it."""
    return f"see {kind}"


def _progressing(situation: Situation) -> _Draft:
    kind = "Progressing"
    child = situation.child
    obstacle = _obstacle(situation)
    if obstacle is not None:
        # Of a refused spec Stalled speaks: then it is said here what keeps the pods of the plan before.
        return (kind, "False", obstacle[0], obstacle[1] if situation.refused else see("Stalled"))
    if child is None:
        if situation.refused:
            return (kind, "False", Why.REFUSED, see("Feasible"))
        return (kind, "True", Why.APPLYING, "the pods' Deployment is being made")
    if situation.dispute is not None and situation.dispute.waiting:
        return (kind, "True", Why.CHANGED_BY_OTHERS, situation.dispute.message)
    if _rolled_out(situation, child):
        return (kind, "False", Why.COMPLETE, f"{_share(child.available, situation)} available")
    if child.pods_refused is not None:
        return (kind, "True", Why.PODS_NOT_MADE, f"pods could not be made and are tried again: {child.pods_refused.message}")
    if _absent(situation):
        return (kind, "True", Why.PODS_ABSENT, see("CapacityAvailable"))
    return (kind, "True", Why.ROLLING_OUT, f"{_share(child.updated, situation)} with the plan, {child.available} available")


def _available(situation: Situation) -> _Draft:
    child = situation.child
    available = child.available if child is not None else 0
    text = f"{_share(available, situation)} available"
    if available > 0 or (situation.replicas == 0 and not situation.refused and not situation.capped):
        return ("Available", "True", Why.MINIMUM_REPLICAS_AVAILABLE, text)
    obstacle = _obstacle(situation)
    if obstacle is not None and not situation.refused:
        return ("Available", "False", obstacle[0], f"{text}: {see('Stalled')}")
    return ("Available", "False", Why.NO_REPLICA_AVAILABLE, text)


def _ready(situation: Situation) -> _Draft:
    kind = "Ready"
    if situation.refused:
        return (kind, "False", _refusal_reason(situation), see("Feasible"))
    obstacle = _obstacle(situation)
    if obstacle is not None:
        return (kind, "False", obstacle[0], see("Stalled"))
    if situation.capped:
        return (kind, "False", situation.capped_reason, see("Feasible"))
    if situation.dispute is not None and situation.dispute.waiting:
        return (kind, "False", Why.CHANGED_BY_OTHERS, see("Progressing"))
    child = situation.child
    if child is not None and _rolled_out(situation, child):
        return (kind, "True", Why.READY, f"{_share(child.available, situation)} available")
    return (kind, "False", Why.PROGRESSING, "the replicas are not all available yet")


def _stalled(situation: Situation) -> _Draft:
    if situation.refused:
        return ("Stalled", "True", _refusal_reason(situation), _what_stays(situation))
    obstacle = _obstacle(situation)
    if obstacle is not None:
        return ("Stalled", "True", *obstacle)
    if situation.capped:
        return ("Stalled", "True", situation.capped_reason, see("Feasible"))
    if situation.child is not None and situation.child.pods_refused is not None:
        return ("Stalled", "False", Why.PODS_NOT_MADE, see("Progressing"))
    if situation.dispute is not None and situation.dispute.waiting:
        return ("Stalled", "False", Why.CHANGED_BY_OTHERS, see("Progressing"))
    if _absent(situation):
        return ("Stalled", "False", Why.PODS_ABSENT, see("CapacityAvailable"))
    return ("Stalled", "False", Why.NOT_STALLED, "nothing stands in the way")


def _absent(situation: Situation) -> bool:
    """Whether pods that were asked for do not exist, and the child says nothing of them."""
    missing = situation.replicas - situation.bound
    lacks = missing > 0 and situation.missing_because == "pods" and not situation.capacity_for_missing
    return situation.child is not None and lacks


def _obstacle(situation: Situation) -> tuple[str, str] | None:
    """Reason and sentence of what keeps the plan from running until somebody changes something; None where nothing does."""
    child = situation.child
    if situation.blocked is not None:
        return (situation.blocked.reason, situation.blocked.message)
    if situation.apply_problem:
        return (Why.APPLY_REFUSED, f"the API server refuses the pods' objects: {situation.apply_problem}")
    if child is not None and child.pods_refused is not None and child.pods_refused.final:
        return (Why.PODS_REFUSED, f"the API server refuses the pods: {child.pods_refused.message}")
    fails = situation.pods_fail
    if fails is not None and (child is None or not _rolled_out(situation, child)):
        cause = fails.message if fails.message.endswith(".") else f"{fails.message}."
        return (fails.reason, f"{fails.pods} pod{'s' * (fails.pods != 1)}: {cause} {_next_step(fails)}")
    if child is not None and child.deadline_exceeded:
        return (Why.PROGRESS_DEADLINE_EXCEEDED, "the rollout made no progress within its deadline")
    return None


def _next_step(fails: PodsFail) -> str:
    """What the engine's own cause asks for, where its log names one."""
    known = _ENGINE_ENDS.get(fails.cause) if fails.reason is PodsFailReason.ENGINE_ENDS else None
    return known if known is not None else fails.reason.next_step


def _refusal_reason(situation: Situation) -> str:
    verdict = situation.verdict
    return str(verdict.reason) if isinstance(verdict, Reject | Undecided) else str(Why.INVALID)


def _what_stays(situation: Situation) -> str:
    """What a refusal means for pods; the refusal itself stands in Feasible."""
    if situation.applied_generation is None:
        return f"{see('Feasible')}; no pods are made"
    return f"{see('Feasible')}; the existing pods keep running on the plan of generation {situation.applied_generation}"


def _rolled_out(situation: Situation, child: ChildState) -> bool:
    wanted = situation.replicas
    return child.current and child.desired == wanted and child.updated == wanted and child.replicas == wanted and child.available == wanted
