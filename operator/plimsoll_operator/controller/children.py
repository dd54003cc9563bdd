"""The children of one InferenceDeployment on the API server: found, told apart from other people's, made and put right.

Called by the reconciler once a plan is booked, from any of its threads but never by two for the same key. Raises ApiFailure
where the API server refuses. Knows no verdicts.
"""

from __future__ import annotations

from plimsoll_operator.api import InferenceDeployment
from plimsoll_operator.controller.course import Applied
from plimsoll_operator.controller.records import Records
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, SERVICES, Key, Kube, Manifest, Resource
from plimsoll_operator.render import DECIDED_ANNOTATION, TEMPLATE_DIGEST_ANNOTATION, render_deployment, render_service


class Children:
    """Deployment and Service of every key."""

    def __init__(self, kube: Kube, records: Records) -> None:
        self._kube = kube
        self._records = records

    def find(self, key: Key, uid: str) -> tuple[Manifest | None, str | None]:
        """The Deployment under the key's name, and a sentence when a child's name is taken by an object that is never taken over."""
        child = self._own_or_foreign(DEPLOYMENTS, key, uid)
        if child is not None and not _owned(child, uid):
            return child, _taken(DEPLOYMENTS, key)
        if not self._records.has_service(key, uid):
            service = self._own_or_foreign(SERVICES, key, uid)
            if service is not None and not _owned(service, uid):
                return child, _taken(SERVICES, key)
        return child, None

    def keep(self, key: Key, child: Manifest | None, wanted: int) -> tuple[Manifest | None, bool]:
        """The new spec is refused: the pods run on as they are, and only fewer of them is something it may still ask for."""
        if child is None or wanted >= int(child["spec"].get("replicas") or 0):
            return child, False
        return self._scale(key, wanted), True

    def bring(self, deployment: InferenceDeployment, child: Manifest | None, run: Applied, *, adopts: bool) -> tuple[Manifest, bool]:
        """Make the children carry the plan. Returns the Deployment as it is then and whether anything was written."""
        key = (deployment.metadata.namespace, deployment.metadata.name)
        child, wrote = self._bring_deployment(key, deployment, child, run, adopts=adopts)
        if not self._records.has_service(key, deployment.metadata.uid):
            self._kube.apply(SERVICES, render_service(deployment))
            wrote = True
        return child, wrote

    def _bring_deployment(
        self, key: Key, deployment: InferenceDeployment, child: Manifest | None, run: Applied, *, adopts: bool
    ) -> tuple[Manifest, bool]:
        wanted = deployment.spec.replicas
        manifest = render_deployment(deployment, run.plan, run.origin)
        manifest["metadata"]["annotations"][DECIDED_ANNOTATION] = run.decided
        if child is None or adopts:
            return self._kube.apply(DEPLOYMENTS, manifest), True
        record = self._records.get(key)
        same_size = child["spec"].get("replicas") == wanted
        recorded = (child["metadata"].get("annotations") or {}).get(TEMPLATE_DIGEST_ANNOTATION)
        if recorded != manifest["metadata"]["annotations"][TEMPLATE_DIGEST_ANNOTATION]:
            # This release renders the same plan differently: an upgrade of the operator never restarts pods.
            return (child, False) if same_size else (self._scale(key, wanted), True)
        if same_size and record is not None and record.child_generation == child["metadata"]["generation"]:
            return child, False
        return self._kube.apply(DEPLOYMENTS, manifest), True

    def _scale(self, key: Key, wanted: int) -> Manifest:
        return self._kube.merge_patch(DEPLOYMENTS, *key, {"spec": {"replicas": wanted}})

    def _own_or_foreign(self, resource: Resource, key: Key, uid: str) -> Manifest | None:
        """The child. What an earlier object of the same name has left behind is deleted: its owner is gone for certain."""
        child = self._kube.get(resource, *key)
        if child is None or not _left_behind(child, key, uid):
            return child
        self._kube.delete(resource, *key)
        return None


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
