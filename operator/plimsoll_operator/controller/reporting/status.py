"""An InferenceDeployment's status from what was decided and what the child reports. Pure; time is handed in.

Called by the reconciler before its one status write. Numbers are copied from plans, never computed.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.api import MAX_OFFERS, ChangeStatus, InferenceDeploymentStatus, ObservedStatus, OfferStatus, PlanStatus
from plimsoll_operator.conditions import INTERNAL_ERROR, ChildState, Invalid, Situation, conditions_of, see
from plimsoll_operator.controller.children.refusals import pods_refused
from plimsoll_operator.phase import Phase, summary_of
from plimsoll_operator.ports import LEADER_WORKER_SETS, Manifest
from plimsoll_operator.verdict import Plan, Reject, Resize, Verdict

_MAX_TEXT: Final = 4096


def status_of(
    situation: Situation,
    *,
    plan: Plan | None,
    proposed: Plan | None,
    selector: str,
    previous: InferenceDeploymentStatus | None,
    observed: ObservedStatus | None,
    now: str,
) -> Manifest:
    """The whole status as JSON. Deterministic but for `now`, which only a changed condition shows."""
    child = situation.child
    conditions = conditions_of(situation, previous.conditions if previous is not None else (), now)
    summary = summary_of(conditions)
    status = InferenceDeploymentStatus(
        observed_generation=situation.generation,
        replicas=child.replicas if child is not None else 0,
        ready_replicas=child.ready if child is not None else 0,
        ready=f"{child.ready if child is not None else 0}/{situation.replicas + situation.beyond}",
        selector=selector,
        phase=summary.phase if summary is not None else None,
        reason=summary.reason if summary is not None else None,
        conditions=conditions,
        plan=PlanStatus.of(plan) if plan is not None else None,
        proposed_plan=PlanStatus.of(proposed) if proposed is not None else None,
        changes=_changes(situation, plan, previous),
        offers=_offers(situation.verdict),
        observed=observed,
    )
    out: Manifest = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: value for key, value in out.items() if value != []}


def with_bug(raw: Manifest, message: str, now: str) -> Manifest:
    """The status as it is, but not ready and stalled by an error of the controller itself. Knows only what every status has."""
    generation, status = int(raw["metadata"].get("generation") or 0), raw.get("status") or {}
    before = {row.get("type"): row for row in status.get("conditions") or ()}
    for kind, value, said in (("Ready", "False", see("Stalled")), ("Stalled", "True", message)):
        since = before[kind].get("lastTransitionTime") if kind in before and before[kind].get("status") == value else now
        row = {"type": kind, "status": value, "reason": INTERNAL_ERROR, "message": said, "observedGeneration": generation}
        before[kind] = row | {"lastTransitionTime": since}
    return {**status, "phase": str(Phase.FAILED), "reason": INTERNAL_ERROR, "conditions": list(before.values())}


def child_state(child: Manifest | None) -> ChildState | None:
    """What a Deployment or LeaderWorkerSet says of itself. Of the latter a ready group is available: it knows no other availability."""
    if child is None:
        return None
    status = child.get("status") or {}
    metadata = child["metadata"]
    rows = {row.get("type"): row for row in status.get("conditions") or ()}
    spans = child.get("kind") == LEADER_WORKER_SETS.kind
    return ChildState(
        current=int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0),
        desired=int((child.get("spec") or {}).get("replicas") or 0),
        replicas=int(status.get("replicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        available=int(status.get("readyReplicas" if spans else "availableReplicas") or 0),
        deadline_exceeded=(rows.get("Progressing") or {}).get("reason") == "ProgressDeadlineExceeded",
        pods_refused=pods_refused(child),
        made_by="StatefulSets of the LeaderWorkerSet" if spans else "ReplicaSets of the Deployment",
    )


def _changes(situation: Situation, plan: Plan | None, previous: InferenceDeploymentStatus | None) -> tuple[ChangeStatus, ...]:
    """What was moved for the plan in force. A later look may move nothing, or something else: that is about the proposed plan."""
    verdict = situation.verdict
    known = previous.plan if previous is not None else None
    if previous is not None and plan is not None and known is not None and known.digest == plan.digest and not situation.adopting:
        return previous.changes
    if not isinstance(verdict, Resize) or (plan is not None and verdict.plan.digest != plan.digest):
        return ()
    return tuple(
        ChangeStatus(field=row.field[:256], old=row.old[:256], new=row.new[:256], why=row.why[:_MAX_TEXT]) for row in verdict.changes
    )


def _offers(verdict: Verdict | Invalid) -> tuple[OfferStatus, ...]:
    if not isinstance(verdict, Reject):
        return ()
    short = [offer for offer in verdict.offers if len(offer.patch_json) <= _MAX_TEXT]
    return tuple(OfferStatus(summary=offer.summary[:_MAX_TEXT], patch=offer.patch_json) for offer in short[:MAX_OFFERS])
