"""One key at a time: gather, decide, apply, report. Level-triggered: everything is read again, nothing depends on the event.

Called by the one worker of the leader, which is also what makes booking serial: a plan is booked before the next key is
decided. Raises ApiFailure where the API server refuses; the worker retries the key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from plimsoll_operator.api import ApiError, InferenceDeployment, parse_inference_deployment
from plimsoll_operator.capacity import fits_now
from plimsoll_operator.conditions import Invalid, Situation
from plimsoll_operator.controller.course import Applied, Course, applied_from_child, can_start, chart, must_adopt, must_start_over
from plimsoll_operator.controller.events import EventRecorder
from plimsoll_operator.controller.ledger import Ledger, Promise
from plimsoll_operator.controller.records import Record, Records
from plimsoll_operator.controller.status import child_state, plan_from_status, status_of
from plimsoll_operator.controller.store import ParsedObjects, StoreView
from plimsoll_operator.facts import Bypass, Facts, ModelUnknown
from plimsoll_operator.gather import BYPASS_ANNOTATION, facts_for
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    INFERENCE_DEPLOYMENTS,
    SERVICES,
    Key,
    Kube,
    Manifest,
    Resource,
)
from plimsoll_operator.render import (
    REPLAN_ANNOTATION,
    TEMPLATE_DIGEST_ANNOTATION,
    Origin,
    render_deployment,
    render_service,
    selector_text,
    spec_digest,
)
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

_log = logging.getLogger(__name__)
Decide = Callable[[Facts], Verdict]
# How long until we look again whether a name that somebody else had taken is free.
RETAKE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """One deployment as read, with everything the decision needs."""

    key: Key
    raw: Manifest
    deployment: InferenceDeployment
    origin: Origin
    child: Manifest | None
    applied: Applied | None
    facts: Facts
    live_pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The verdict and what follows from it."""

    verdict: Verdict
    course: Course


class Reconciler:
    """Holds the collaborators. `now` is the wall clock for transition times; owned by one worker."""

    def __init__(
        self,
        *,
        kube: Kube,
        objects: ParsedObjects,
        ledger: Ledger,
        records: Records,
        events: EventRecorder,
        decide: Decide,
        now: Callable[[], datetime],
        again: Callable[[Key, float], None],
        bypass_is_protected: Callable[[], bool] = lambda: False,
    ) -> None:
        self._kube = kube
        self._objects = objects
        self._ledger = ledger
        self._records = records
        self._events = events
        self._decide_facts = decide
        self._now = now
        self._again = again
        self._bypass_is_protected = bypass_is_protected
        self._judged: dict[Key, tuple[object, Verdict]] = {}

    def reconcile(self, key: Key) -> str:
        """Bring one key to where it should be. Returns the outcome, a label of the metric."""
        raw = self._kube.get(INFERENCE_DEPLOYMENTS, *key)
        if raw is None or raw["metadata"].get("deletionTimestamp") or self._objects.is_going(key[0]):
            self._forget(key)
            return "deleted"
        try:
            deployment = parse_inference_deployment(raw)
        except ApiError as error:
            return self._refuse_unreadable(key, raw, str(error))
        child = self._own_or_foreign(DEPLOYMENTS, key, deployment.metadata.uid)
        foreign = self._foreign(key, child, deployment.metadata.uid)
        if foreign is not None:
            self._again(key, RETAKE_SECONDS)
            return self._refuse_unreadable(key, raw, foreign)
        gathered = self._gather(key, raw, deployment, child)
        decided = self._decide(gathered)
        child, applied_now = self._apply(gathered, decided)
        written = self._report(gathered, decided, child)
        return _outcome(decided, applied_now or written)

    def _gather(self, key: Key, raw: Manifest, deployment: InferenceDeployment, child: Manifest | None) -> Gathered:
        metadata = deployment.metadata
        origin = Origin(
            generation=metadata.generation,
            spec_digest=spec_digest(raw["spec"]),
            replan=metadata.annotations.get(REPLAN_ANNOTATION, "")[:256],
        )
        applied = applied_from_child(child) or _applied_from_status(deployment, origin)
        self._ledger.use_label_keys(deployment.spec.placement.node_selector)
        view = StoreView(
            self._objects,
            self._ledger.pools_without(key),
            uses=self._ledger.uses,
            bypass_is_protected=self._bypass_is_protected(),
        )
        facts = facts_for(deployment, view, applied_plan=applied.plan if applied is not None else None)
        return Gathered(
            key=key,
            raw=raw,
            deployment=deployment,
            origin=origin,
            child=child,
            applied=applied,
            facts=facts,
            live_pods=self._ledger.bound(key),
        )

    def _decide(self, gathered: Gathered) -> Decided:
        applied = gathered.applied
        adopting, facts = True, gathered.facts
        if applied is not None:
            startable = can_start(applied.plan, facts.pools)
            adopting = must_adopt(applied, gathered.origin, live_pods=gathered.live_pods, can_start=startable)
            if must_start_over(applied, gathered.origin, live_pods=gathered.live_pods, can_start=startable):
                facts = replace(facts, applied_plan=None)
        verdict = self._judge(gathered, facts, adopting=adopting)
        return Decided(verdict=verdict, course=chart(applied, gathered.origin, verdict, adopting=adopting))

    def rejudge(self) -> None:
        """Forget what was answered before, so that the next look at each key decides again."""
        self._judged.clear()

    def _judge(self, gathered: Gathered, facts: Facts, *, adopting: bool) -> Verdict:
        """decide(facts), or its last answer for this key when nothing it may look at differs: most wake-ups are the child's.

        Where an applied plan is only re-judged, GPUs that come and go are no reason either: proposals would flap with them.
        """
        model = (
            facts.model.problem if isinstance(facts.model, ModelUnknown) else (facts.model.source, facts.model.digest, facts.model.revision)
        )
        pools = facts.pools if adopting else tuple(replace(pool, nodes=0, nodes_by_free_gpus=()) for pool in facts.pools)
        looked_at = (adopting, facts.deployment.spec, model, pools, facts.policy, facts.applied_plan, facts.beside, facts.bypass)
        before = self._judged.get(gathered.key)
        if before is not None and before[0] == looked_at:
            return before[1]
        verdict = self._decide_facts(facts)
        self._judged[gathered.key] = (looked_at, verdict)
        return verdict

    def _apply(self, gathered: Gathered, decided: Decided) -> tuple[Manifest | None, bool]:
        """Book and bring the children to the course. Returns the Deployment as it is then and whether anything was written."""
        run = decided.course.run
        wanted = gathered.deployment.spec.replicas
        promise = Promise(plan=run.plan, replicas=wanted) if run is not None else None
        self._ledger.promise(gathered.key, promise)
        if run is None:
            return gathered.child, False
        if decided.course.adopting and not decided.course.adopts:
            return self._keep(gathered, wanted)
        return self._bring(gathered, run, adopts=decided.course.adopts)

    def _keep(self, gathered: Gathered, wanted: int) -> tuple[Manifest | None, bool]:
        """The new spec is refused: the pods run on as they are, and only fewer of them is something it may still ask for."""
        child = gathered.child
        if child is None or wanted >= int(child["spec"].get("replicas") or 0):
            return child, False
        return self._kube.merge_patch(DEPLOYMENTS, *gathered.key, {"spec": {"replicas": wanted}}), True

    def _bring(self, gathered: Gathered, run: Applied, *, adopts: bool) -> tuple[Manifest | None, bool]:
        child = gathered.child
        wanted = gathered.deployment.spec.replicas
        manifest = render_deployment(gathered.deployment, run.plan, run.origin)
        record = self._records.get(gathered.key)
        wrote = False
        if child is not None and not adopts:
            recorded = (child["metadata"].get("annotations") or {}).get(TEMPLATE_DIGEST_ANNOTATION)
            if recorded != manifest["metadata"]["annotations"][TEMPLATE_DIGEST_ANNOTATION]:
                # This release renders the same plan differently: an upgrade of the operator never restarts pods.
                if child["spec"].get("replicas") != wanted:
                    child, wrote = self._kube.merge_patch(DEPLOYMENTS, *gathered.key, {"spec": {"replicas": wanted}}), True
            elif record is None or record.child_generation != child["metadata"]["generation"] or child["spec"].get("replicas") != wanted:
                child, wrote = self._kube.apply(DEPLOYMENTS, manifest), True
        else:
            child, wrote = self._kube.apply(DEPLOYMENTS, manifest), True
        if not self._records.has_service(gathered.key, gathered.deployment.metadata.uid):
            self._kube.apply(SERVICES, render_service(gathered.deployment))
            wrote = True
        return child, wrote

    def _report(self, gathered: Gathered, decided: Decided, child: Manifest | None) -> bool:
        """Remember, tell, and write status when it differs. Returns whether it was written."""
        deployment = gathered.deployment
        course = decided.course
        situation = Situation(
            generation=deployment.metadata.generation,
            verdict=decided.verdict,
            adopting=course.adopting,
            model_problem=_model_problem(gathered.facts),
            applied_generation=course.run.origin.generation if course.run is not None else None,
            replicas=deployment.spec.replicas,
            bound=gathered.live_pods,
            capacity_for_missing=course.run is not None and _fits(course.run.plan, gathered.facts, deployment.spec.replicas),
            child=child_state(child),
        )
        self._records.put(
            gathered.key,
            Record(
                plan=course.run.plan if course.run is not None else None,
                model=deployment.spec.model.name,
                waiting=situation.refused or gathered.live_pods < deployment.spec.replicas,
                child_generation=int(child["metadata"]["generation"]) if child is not None else 0,
            ),
        )
        self._tell(gathered, decided)
        status = status_of(
            situation,
            plan=course.run.plan if course.run is not None else None,
            proposed=course.proposed,
            selector=selector_text(deployment),
            previous=deployment.status,
            now=self._stamp(),
        )
        return self._write_status(gathered.key, gathered.raw, status)

    def _tell(self, gathered: Gathered, decided: Decided) -> None:
        verdict, course = decided.verdict, decided.course
        uid = gathered.deployment.metadata.uid
        if course.adopts and course.run is not None:
            note = _plan_sentence(course.run.plan)
            if isinstance(verdict, Admit | Resize) and verdict.overridden is not None:
                self._events.post(
                    gathered.key, uid, kind="Warning", reason="Overridden", action="Plan", note=_override_note(gathered, verdict.overridden)
                )
            if isinstance(verdict, Resize):
                note += "; moved " + ", ".join(f"{change.field} from {change.old} to {change.new}" for change in verdict.changes)
            self._events.post(gathered.key, uid, kind="Normal", reason="PlanApplied", action="Plan", note=note)
        elif isinstance(verdict, Reject | Undecided):
            self._events.post(gathered.key, uid, kind="Warning", reason=str(verdict.reason), action="Plan", note=verdict.message)
        elif course.proposed is not None:
            note = "Would be planned differently now: " + _plan_sentence(course.proposed)
            self._events.post(gathered.key, uid, kind="Normal", reason="PlanProposed", action="Judge", note=note)

    def _refuse_unreadable(self, key: Key, raw: Manifest, message: str) -> str:
        """Say in status what is wrong with the object itself; its children are left as they are."""
        _log.warning("%s/%s: %s", *key, message)
        metadata = raw["metadata"]
        situation = Situation(
            generation=int(metadata.get("generation") or 0),
            verdict=Invalid(message=message),
            adopting=True,
            model_problem=None,
            applied_generation=None,
            replicas=0,
            bound=0,
            capacity_for_missing=False,
            child=None,
        )
        self._records.put(key, Record(plan=None, model="", waiting=False, child_generation=0))
        self._ledger.promise(key, None)
        status = status_of(situation, plan=None, proposed=None, selector="", previous=None, now=self._stamp())
        self._events.post(key, str(metadata.get("uid")), kind="Warning", reason="Invalid", action="Read", note=message)
        previous = (raw.get("status") or {}).get("conditions") or []
        if [_without_time(row) for row in previous] != [_without_time(row) for row in status["conditions"]]:
            self._write_status(key, raw, status)
        return "invalid"

    def _write_status(self, key: Key, raw: Manifest, status: Manifest) -> bool:
        if raw.get("status") == status:
            return False
        namespace, name = key
        manifest = {
            "apiVersion": INFERENCE_DEPLOYMENTS.api_version,
            "kind": INFERENCE_DEPLOYMENTS.kind,
            "metadata": {"namespace": namespace, "name": name, "uid": raw["metadata"]["uid"]},
            "status": status,
        }
        self._kube.apply(INFERENCE_DEPLOYMENTS, manifest, subresource="status")
        return True

    def _foreign(self, key: Key, child: Manifest | None, uid: str) -> str | None:
        """A sentence when a child's name is taken by an object that is not this deployment's: it is never taken over."""
        if child is not None and not _owned(child, uid):
            return _taken(DEPLOYMENTS, key)
        if not self._records.has_service(key, uid):
            service = self._own_or_foreign(SERVICES, key, uid)
            if service is not None and not _owned(service, uid):
                return _taken(SERVICES, key)
        return None

    def _own_or_foreign(self, resource: Resource, key: Key, uid: str) -> Manifest | None:
        """The child. What an earlier object of the same name has left behind is deleted: its owner is gone for certain."""
        child = self._kube.get(resource, *key)
        if child is None or not _left_behind(child, key, uid):
            return child
        self._kube.delete(resource, *key)
        return None

    def _forget(self, key: Key) -> None:
        self._ledger.promise(key, None)
        self._records.forget(key)
        self._events.forget(key)
        self._judged.pop(key, None)

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _override_note(gathered: Gathered, reject: Reject) -> str:
    """On whose word pods are made that are predicted not to start: kept for whoever asks later."""
    reason = gathered.deployment.metadata.annotations.get(BYPASS_ANNOTATION, "")[:256]
    word = f"the bypass annotation ({reason})" if gathered.facts.bypass is Bypass.HONOURED else "the FitPolicy's mode Warn"
    return f"Pods are made by {word} against {reject.reason}: {reject.message}"


def _outcome(decided: Decided, wrote: bool) -> str:
    if isinstance(decided.verdict, Reject):
        return "rejected"
    if isinstance(decided.verdict, Undecided):
        return "undecided"
    return "applied" if wrote else "unchanged"


def _applied_from_status(deployment: InferenceDeployment, origin: Origin) -> Applied | None:
    """The plan of a child that somebody deleted, as long as it was reported for the spec as it stands."""
    status = deployment.status
    if status is None or status.plan is None or status.observed_generation != origin.generation:
        return None
    if any(row.type == "Stalled" and row.status == "True" for row in status.conditions):
        return None  # The spec was refused: what is reported is the plan of an earlier one.
    plan = plan_from_status(status.plan)
    return Applied(plan=plan, origin=origin) if plan is not None else None


def _model_problem(facts: Facts) -> tuple[str, str] | None:
    return (facts.model.kind, facts.model.problem) if isinstance(facts.model, ModelUnknown) else None


def _fits(plan: Plan, facts: Facts, replicas: int) -> bool:
    """Whether all replicas find GPUs on the plan's products at this moment, this deployment's own pods set aside."""
    products = plan.gpu_products or (plan.product,)
    nodes = [row for pool in facts.pools if pool.product in products and pool.trusted for row in pool.nodes_by_free_gpus]
    free: dict[int, int] = {}
    for gpus, count in nodes:
        free[gpus] = free.get(gpus, 0) + count
    return fits_now(free.items(), plan.gpus_per_replica, replicas)


def _plan_sentence(plan: Plan) -> str:
    return (
        f"{plan.gpus_per_replica} x {plan.product} per replica, tensor parallel size {plan.tensor_parallel_size}, "
        f"gpu-memory-utilization {plan.gpu_memory_utilization}, context {plan.max_model_len} tokens"
    )


def _owned(child: Manifest, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in child["metadata"].get("ownerReferences") or ())


def _left_behind(child: Manifest, key: Key, uid: str) -> bool:
    """Whether its controller was an InferenceDeployment of this name with another uid. Names are unique, so that one is deleted."""
    return any(
        owner.get("controller")
        and owner.get("kind") == INFERENCE_DEPLOYMENTS.kind
        and str(owner.get("apiVersion", "")).startswith(f"{INFERENCE_DEPLOYMENTS.group}/")
        and owner.get("name") == key[1]
        and owner.get("uid") != uid
        for owner in child["metadata"].get("ownerReferences") or ()
    )


def _taken(resource: Resource, key: Key) -> str:
    return f"A {resource.kind} {key[0]}/{key[1]} exists that does not belong to this InferenceDeployment; rename one of them."


def _without_time(row: Manifest) -> Manifest:
    return {key: value for key, value in row.items() if key != "lastTransitionTime"}
