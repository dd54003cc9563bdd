"""The children of one InferenceDeployment on the API server: found, told apart from other people's, made and put right.

Called by the reconciler once a plan is booked, from any of its threads but never by two for the same key. Raises ApiFailure
where the API server refuses. Knows no verdicts. What runs a plan is a Deployment, or a LeaderWorkerSet where a replica spans
nodes; a new plan may need the other kind, and then the old child goes when the new one has taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from plimsoll_operator import group
from plimsoll_operator.api import InferenceDeployment
from plimsoll_operator.conditions import Blocked
from plimsoll_operator.controller.booking.seen_pods import has_gate
from plimsoll_operator.controller.children.budgets import holds_back, restored
from plimsoll_operator.controller.children.course import Applied, place_of
from plimsoll_operator.controller.children.disputes import Disputes, is_ours_alone
from plimsoll_operator.controller.children.intact import TOUCHED, as_set, as_wanted
from plimsoll_operator.controller.children.ownership import controlled, handed_over, left_behind, made_for_group, owned
from plimsoll_operator.controller.children.services import leads_to, straightened
from plimsoll_operator.controller.children.written import Written
from plimsoll_operator.controller.records import Records
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import DECIDED_ANNOTATION, NAME_LABEL, TEMPLATE_DIGEST_ANNOTATION
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    LEADER_WORKER_SETS,
    POD_DISRUPTION_BUDGETS,
    SERVICES,
    Key,
    Kube,
    Manifest,
    Resource,
)
from plimsoll_operator.reasons import Why
from plimsoll_operator.render import MANAGED_BY, render_budget, render_service, render_workload
from plimsoll_operator.verdict import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildKind:
    """One kind of child that runs plans, and how it is named after its InferenceDeployment."""

    resource: Resource
    name: Callable[[str], str]

    def place(self, key: Key) -> Key:
        """Namespace and name of the child of a deployment."""
        return key[0], self.name(key[1])


SINGLE: Final = ChildKind(resource=DEPLOYMENTS, name=lambda name: name)
GROUP: Final = ChildKind(resource=LEADER_WORKER_SETS, name=group.name_of)


def kind_for(plan: Plan) -> ChildKind:
    """The kind that runs this plan."""
    return SINGLE if plan.nodes_per_replica == 1 else GROUP


def kind_of(child: Manifest) -> ChildKind:
    """The kind that a child read from the API server is of."""
    return GROUP if child.get("kind") == LEADER_WORKER_SETS.kind else SINGLE


def is_gated(child: Manifest) -> bool:
    """Whether the pods that the child makes carry the capacity gate."""
    spec = child["spec"]
    template = spec.get("template") or (spec.get("leaderWorkerTemplate") or {}).get("workerTemplate") or {"spec": {}}
    return has_gate(template)


def newest(children: Iterable[Manifest]) -> Manifest | None:
    """Of two children, while one takes over from the other, the one that carries the later plan."""
    return max(children, key=place_of, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """What a cache has of one kind of child, trimmed, and what of our own writes it has not heard of yet."""

    get: Callable[[Key], Manifest | None]
    written: Written


class Children:
    """Workload, Service and budget of every key; `caches` has those of the workloads, by kind."""

    def __init__(self, kube: Kube, records: Records, disputes: Disputes, caches: Mapping[Resource, Cached]) -> None:
        self._kube = kube
        self._records = records
        self._disputes = disputes
        self._caches = caches

    def known(self, deployment: InferenceDeployment) -> tuple[Manifest | None, bool]:
        """The child as the caches have it, and whether that can be relied on: none that was written a moment ago, handed over or taken."""
        key, found = _key_of(deployment), []
        for kind in (SINGLE, GROUP):
            cache, place = self._caches[kind.resource], kind.place(key)
            child = cache.get(place)
            if cache.written.behind(place) or (child is not None and not controlled(child, deployment)):
                return None, False
            found += [{**child, "kind": kind.resource.kind}] if child is not None else []
        return next(iter(found), None), len(found) < 2

    def stand(self, deployment: InferenceDeployment, child: Manifest | None, run: Applied, *, kept: bool) -> bool:
        """Whether the caches have all children as `bring` would make them: then nothing of them need be asked for, nor written.

        `kept`: the workload is left as it is, whatever the deployment says of it.
        """
        key, kind = _key_of(deployment), kind_for(run.plan)
        if child is None or kind_of(child) is not kind or self._disputes.any_waits(key) or not self._has_service(deployment):
            return False
        budget = render_budget(deployment, run.plan)
        if self._records.budget_of(key, deployment.metadata.uid) != (None if budget is None else holds_back(budget)):
            return False
        labels = child["metadata"].get("labels") or {}
        if not _labels_of(key).items() <= labels.items() or child["spec"].get("replicas") != deployment.spec.replicas:
            return False
        if kept or self._is_as_left(kind, key, child):
            return True
        manifest = render_workload(deployment, run.plan, run.origin)
        return _of_another_release(child, manifest) or self._is_as_applied(key, child, manifest)

    def find(self, deployment: InferenceDeployment, *, spans: bool = False) -> tuple[Manifest | None, Blocked | None]:
        """The child that runs the plan, and what keeps a child from being made or changed: an object that is never taken over has its
        name, or somebody has handed it to another owner.

        `spans`: the deployment's replicas may span nodes here, so that the names of such a child count too.
        """
        key, uid = _key_of(deployment), deployment.metadata.uid
        own: list[Manifest] = []
        taken: list[str] = []
        lost: list[str] = []
        kinds = (SINGLE, GROUP) if spans or self._may_have_group(key) else (SINGLE,)
        workloads = [(kind.resource, kind.place(key)) for kind in kinds]
        for resource, place in [*workloads, *((one, key) for one in self._beside_to_make(deployment))]:
            there = self._own_or_foreign(resource, key, place, uid)
            if there is None:
                continue
            if not owned(there, uid):
                taken.append(_taken(resource, place))
                continue
            lost += handed_over(resource, there, deployment)
            if (resource, place) in workloads:
                own.append(there)
        if spans:
            headless = self._kube.get(SERVICES, *GROUP.place(key))
            if headless is not None and not made_for_group(headless):
                taken.append(_taken(SERVICES, GROUP.place(key)))
        if lost:
            return newest(own), Blocked(reason=Why.NOT_CONTROLLED, message=" ".join(lost))
        return newest(own), Blocked(reason=Why.NAME_TAKEN, message=" ".join(taken)) if taken else None

    def _beside_to_make(self, deployment: InferenceDeployment) -> list[Resource]:
        """What is made beside the workload and is not known to be there yet."""
        beside = [] if self._has_service(deployment) else [SERVICES]
        unknown = self._records.budget_of(_key_of(deployment), deployment.metadata.uid) is None
        return [*beside, POD_DISRUPTION_BUDGETS] if deployment.spec.pod_disruption_budget is not None and unknown else beside

    def keep(self, key: Key, child: Manifest | None, wanted: int) -> tuple[Manifest | None, bool]:
        """The new spec is refused: the pods run on as they are, and only fewer of them is something it may still ask for."""
        if child is None:
            return None, False
        child, wrote = self._relabel(kind_of(child), key, child)
        kind = kind_of(child)
        if wanted >= int(child["spec"].get("replicas") or 0) or self._yields(kind, key, child):
            return child, wrote
        return self._scale(kind, key, wanted), True

    def bring(self, deployment: InferenceDeployment, child: Manifest | None, run: Applied, *, adopts: bool) -> tuple[Manifest, bool]:
        """Make the children carry the plan. Returns the workload as it is then and whether anything was written."""
        key, kind = _key_of(deployment), kind_for(run.plan)
        own, wrote_labels = child if child is not None and kind_of(child) is kind else None, False
        if own is not None:
            own, wrote_labels = self._relabel(kind, key, own)
        child, wrote_child = self._bring_workload(kind, key, deployment, own, run, adopts=adopts)
        wrote = self._bring_service(deployment) or wrote_child or wrote_labels
        wrote = self.bring_budget(deployment, run.plan) or wrote
        return child, self._succeed(kind, key, deployment, child, run.plan) or wrote

    def _bring_workload(
        self, kind: ChildKind, key: Key, deployment: InferenceDeployment, child: Manifest | None, run: Applied, *, adopts: bool
    ) -> tuple[Manifest, bool]:
        wanted = deployment.spec.replicas
        manifest = render_workload(deployment, run.plan, run.origin)
        manifest["metadata"]["annotations"][DECIDED_ANNOTATION] = run.decided
        if child is None:
            return self._wrote(kind, key, self._make(key, kind.resource, manifest, adopts=adopts)), True
        if adopts:
            return self._wrote(kind, key, self._kube.apply(kind.resource, manifest)), True
        same_size = child["spec"].get("replicas") == wanted
        # This release may render the same plan differently: an upgrade of the operator never restarts pods.
        only_size = _of_another_release(child, manifest)
        if same_size and (only_size or self._is_as_left(kind, key, child) or self._is_as_applied(key, child, manifest)):
            return child, False
        if self._yields(kind, key, child):
            return child, False
        return (self._scale(kind, key, wanted) if only_size else self._wrote(kind, key, self._kube.apply(kind.resource, manifest))), True

    def _make(self, key: Key, resource: Resource, manifest: Manifest, *, adopts: bool = False) -> Manifest:
        """Make a child that is not there. Where one was at the last look, somebody has deleted it, and it is told."""
        made = self._kube.apply_new(resource, manifest)
        record = self._records.get(key)
        if record is not None and record.child_generation and not adopts:
            self._disputes.restored(key, {**made, "kind": resource.kind})
        return made

    def _is_as_left(self, kind: ChildKind, key: Key, child: Manifest) -> bool:
        """Whether nobody has touched the child's spec since our last look, and nothing waits to be put back."""
        record = self._records.get(key)
        same = record is not None and record.child_generation == child["metadata"]["generation"]
        return same and not self._disputes.waits(key, kind.resource.kind)

    def _is_as_applied(self, key: Key, child: Manifest, manifest: Manifest) -> bool:
        """At the first look of a new leader, who has left nothing yet: whether what this would apply was applied, and is still there."""
        return self._records.get(key) is None and as_set(child) != TOUCHED and as_set(child) == as_wanted(manifest)

    def _yields(self, kind: ChildKind, key: Key, child: Manifest) -> bool:
        """Whether somebody else has changed the child, and goes on doing so: then what the plan sets is put back later."""
        part = kind.resource.kind
        if self._records.get(key) is None or self._is_as_left(kind, key, child):
            return False
        if self._disputes.is_ours(key, part, child) and not self._disputes.waits(key, part):
            return False
        return self._disputes.yields(key, part, child)

    def _wrote(self, kind: ChildKind, key: Key, child: Manifest) -> Manifest:
        self._caches[kind.resource].written.wrote(child)
        return self._disputes.wrote(key, kind.resource.kind, child)

    def _bring_service(self, deployment: InferenceDeployment) -> bool:
        """Make the Service, or straighten it where somebody has bent it. Returns whether anything was written."""
        if self._has_service(deployment):
            self._disputes.settled(_key_of(deployment), SERVICES.kind)
            return False
        wanted = render_service(deployment)
        there = self._kube.get(SERVICES, *_key_of(deployment))
        if there is None:
            self._make(_key_of(deployment), SERVICES, wanted)
            return True
        if not owned(there, deployment.metadata.uid):
            raise ApiFailure(409, "AlreadyExists", _taken(SERVICES, _key_of(deployment)))
        labels = there["metadata"].get("labels") or {}
        if leads_to(there) == leads_to(wanted) and wanted["metadata"]["labels"].items() <= labels.items():
            return False  # the cache lags behind
        if self._disputes.yields(_key_of(deployment), SERVICES.kind, there):
            return False
        self._kube.merge_patch(SERVICES, *_key_of(deployment), straightened(there, wanted))
        return True

    def bring_budget(self, deployment: InferenceDeployment, plan: Plan) -> bool:
        """Make the budget, put it right, or take it away where it is not asked for any more. Returns whether anything was written."""
        key, wanted = _key_of(deployment), render_budget(deployment, plan)
        known = self._records.budget_of(key, deployment.metadata.uid)
        if known == (None if wanted is None else holds_back(wanted)):
            self._disputes.settled(key, POD_DISRUPTION_BUDGETS.kind)
            return False
        there = self._kube.get(POD_DISRUPTION_BUDGETS, *key)
        if there is not None and not owned(there, deployment.metadata.uid):
            if wanted is None:
                return False
            raise ApiFailure(409, "AlreadyExists", _taken(POD_DISRUPTION_BUDGETS, key))
        if wanted is None:
            if there is not None:
                self._kube.delete(POD_DISRUPTION_BUDGETS, *key)
            return there is not None
        if there is None:
            made = self._kube.apply_new(POD_DISRUPTION_BUDGETS, wanted)
            record = self._records.get(key)
            if record is not None and record.has_budget:  # else who asks for one is new, and nobody has deleted it
                self._disputes.restored(key, {**made, "kind": POD_DISRUPTION_BUDGETS.kind})
            return True
        labels = there["metadata"].get("labels") or {}
        if holds_back(there) == holds_back(wanted) and wanted["metadata"]["labels"].items() <= labels.items():
            return False  # the cache lags behind
        if not is_ours_alone(there) and self._disputes.yields(key, POD_DISRUPTION_BUDGETS.kind, there):
            return False
        self._kube.merge_patch(POD_DISRUPTION_BUDGETS, *key, restored(there, wanted))
        return True

    def _has_service(self, deployment: InferenceDeployment) -> bool:
        return self._records.has_service(_key_of(deployment), deployment.metadata.uid, leads_to(render_service(deployment)))

    def _relabel(self, kind: ChildKind, key: Key, child: Manifest) -> tuple[Manifest, bool]:
        """Put back the labels by which the caches see the child: nobody hears of it without them, and it moves no generation."""
        wanted = _labels_of(key)
        part = f"labels of the {kind.resource.kind}"
        if wanted.items() <= (child["metadata"].get("labels") or {}).items():
            self._disputes.settled(key, part)
            return child, False
        if self._disputes.yields(key, part, child):
            return child, False
        child = self._kube.merge_patch(kind.resource, *kind.place(key), {"metadata": {"labels": wanted}})
        self._caches[kind.resource].written.wrote(child)
        return child, True

    def _succeed(self, kind: ChildKind, key: Key, deployment: InferenceDeployment, child: Manifest, plan: Plan) -> bool:
        """Delete a child of the other kind: at once where its GPUs are needed, else once the new one is ready in its place.

        The new child exists by now, so a crash in between leaves both, and the one with the later plan wins.
        """
        other = GROUP if kind is SINGLE else SINGLE
        if other is GROUP and not self._may_have_group(key):
            return False
        before = self._kube.get(other.resource, *other.place(key))
        if before is None or not owned(before, deployment.metadata.uid) or "deletionTimestamp" in before["metadata"]:
            return False
        ready = int((child.get("status") or {}).get("readyReplicas") or 0)
        if plan.may_surge and ready < deployment.spec.replicas:
            return False
        self._kube.delete(other.resource, *other.place(key))
        return True

    def forget(self, key: Key) -> None:
        """The deployment is gone: no cache is waited for any more."""
        for kind in (SINGLE, GROUP):
            self._caches[kind.resource].written.told(kind.place(key), None)

    def left(self, key: Key, uid: str) -> Manifest | None:
        """The child of an object that cannot be read any more: it is looked at and left as it is."""
        kinds = (SINGLE, GROUP) if self._may_have_group(key) else (SINGLE,)
        found = (self._kube.get(kind.resource, *kind.place(key)) for kind in kinds)
        return newest(child for child in found if child is not None and owned(child, uid))

    def _may_have_group(self, key: Key) -> bool:
        """By the cache, or by what was applied last: a cache lags behind its own writes."""
        record = self._records.get(key)
        cached = self._caches[GROUP.resource].get(GROUP.place(key))
        return cached is not None or (record is not None and record.plan is not None and record.plan.nodes_per_replica > 1)

    def _scale(self, kind: ChildKind, key: Key, wanted: int) -> Manifest:
        return self._wrote(kind, key, self._kube.merge_patch(kind.resource, *kind.place(key), {"spec": {"replicas": wanted}}))

    def _own_or_foreign(self, resource: Resource, key: Key, place: Key, uid: str) -> Manifest | None:
        """The child. What an earlier object of the same name has left behind is deleted: its owner is gone for certain."""
        child = self._kube.get(resource, *place)
        if child is None or not left_behind(child, key, uid):
            return child
        self._kube.delete(resource, *place)
        return None


def _key_of(deployment: InferenceDeployment) -> Key:
    return deployment.metadata.namespace, deployment.metadata.name


def _labels_of(key: Key) -> dict[str, str]:
    """By which the caches see a child, and whose it is."""
    return {**MANAGED_BY, NAME_LABEL: key[1]}


def _of_another_release(child: Manifest, manifest: Manifest) -> bool:
    """Whether the child's template was rendered otherwise than this one of the same plan."""
    recorded = (child["metadata"].get("annotations") or {}).get(TEMPLATE_DIGEST_ANNOTATION)
    return bool(recorded != manifest["metadata"]["annotations"][TEMPLATE_DIGEST_ANNOTATION])


def _taken(resource: Resource, key: Key) -> str:
    return f"A {resource.kind} {key[0]}/{key[1]} exists that does not belong to this InferenceDeployment; rename one of them."
