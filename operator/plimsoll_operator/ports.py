"""What the controller needs of an API server, as a protocol, and the resources it touches.

`plimsoll_operator.kube` implements it over HTTP, `fakes` in memory. Everything else of the controller speaks only this.
Objects cross as manifests (decoded JSON): they are the door to Kubernetes and are parsed into values behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from plimsoll_operator.api import Manifest as Manifest
from plimsoll_operator.names import GROUP, VERSION

Key: TypeAlias = tuple[str, str]
EventType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

FIELD_MANAGER: Final = "plimsoll-controller"
LEASE_NAME: Final = "plimsoll-controller"
"""Of the Lease that the leading controller holds."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource. `group` is empty for the core API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As manifests spell it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection (all namespaces when `namespace` is empty), the object or its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


INFERENCE_DEPLOYMENTS: Final = Resource(GROUP, VERSION, "inferencedeployments", "InferenceDeployment")
MODEL_PROFILES: Final = Resource(GROUP, VERSION, "modelprofiles", "ModelProfile")
CLUSTER_MODEL_PROFILES: Final = Resource(GROUP, VERSION, "clustermodelprofiles", "ClusterModelProfile", namespaced=False)
GPU_POOLS: Final = Resource(GROUP, VERSION, "gpupools", "GPUPool", namespaced=False)
FIT_POLICIES: Final = Resource(GROUP, VERSION, "fitpolicies", "FitPolicy", namespaced=False)
ENGINE_CALIBRATIONS: Final = Resource(GROUP, VERSION, "enginecalibrations", "EngineCalibration", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES: Final = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS: Final = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
PERSISTENT_VOLUME_CLAIMS: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
POD_DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
SERVICES: Final = Resource("", "v1", "services", "Service")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
LEADER_WORKER_SETS: Final = Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
VALIDATING_ADMISSION_POLICIES: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
VALIDATING_ADMISSION_POLICY_BINDINGS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
VALIDATING_WEBHOOK_CONFIGURATIONS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", namespaced=False
)
CUSTOM_RESOURCE_DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
SUBJECT_ACCESS_REVIEWS: Final = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A ServiceAccount, as authorisation knows it."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        """Its user name."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that it is in by being one."""
        return ("system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `continue_token` is empty on the last one."""

    items: tuple[Manifest, ...]
    resource_version: str
    continue_token: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. A BOOKMARK's object carries only its resource version."""

    type: EventType
    object: Manifest


class Kube(Protocol):
    """The API server. Every call raises ApiFailure when it is refused or not reached; a missing object is None on get."""

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """The object, or None when there is none."""
        ...

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        """One page of all objects that match the label selector, in one namespace or in all."""
        ...

    def watch(
        self, resource: Resource, *, resource_version: str, namespace: str = "", selector: str = "", timeout_seconds: int = 300
    ) -> Iterator[WatchEvent]:
        """Changes since a resource version in one namespace or all, until the server ends the stream. Raises WatchExpired on 410."""
        ...

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """Server-side apply under FIELD_MANAGER with force; creates what is missing (except through a subresource).

        Of a status, what the served kind does not declare is left out, and that is logged.
        """
        ...

    def apply_new(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Apply what was not there a moment ago, without force: 409 where somebody else has made an object of that name since."""
        ...

    def merge_patch(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        """JSON merge patch."""
        ...

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Create; 409 when it exists."""
        ...

    def dry_run_create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """What a creation would be answered with, admission included; nothing is stored."""
        ...

    def may(self, account: Account, verb: str, resource: Resource, subresource: str = "") -> bool:
        """Whether an account may do so in all namespaces, as the API server answers a SubjectAccessReview, which stores nothing."""
        ...

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Replace at the manifest's own resource version; 409 when it moved."""
        ...

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete; a missing object is no failure."""
        ...

    def pod_log(self, namespace: str, name: str, *, container: str, limit_bytes: int, lines: int = 0, previous: bool = False) -> bytes:
        """The beginning of a container's log, at most `limit_bytes` of it; with `lines` only so many from its end. `previous`: of the run
        before the one that runs."""
        ...


def key_of(manifest: Manifest) -> Key:
    """(namespace, name) of an object; the namespace is empty for cluster-scoped ones."""
    metadata = manifest["metadata"]
    return (metadata.get("namespace", ""), metadata["name"])
