"""What `plan`, `render` and `capacity` decide about: the cluster as files or a live cluster show it, each object parsed once.

Filled by `load`, from manifests and from a cluster; hands out a Store for `gather`. Opens no file and asks no cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import (
    KINDS,
    ApiError,
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    GPUPool,
    GPUPoolStatus,
    InferenceDeployment,
    Manifest,
    ModelProfile,
    Unreadable,
    parse_object,
    read_stored,
)
from plimsoll_operator.capacity import (
    CapacityIndex,
    DerivedPool,
    Selection,
    by_name,
    check_writable,
    corrections_of,
    derived_facts,
    offered,
    selection_status,
)
from plimsoll_operator.cli.importing import Imported
from plimsoll_operator.facts import DeploymentUse, NamespaceUse, PoolFacts
from plimsoll_operator.names import API_VERSION, PLAN_ANNOTATION
from plimsoll_operator.owner import deployment_of
from plimsoll_operator.verdict import Plan

_OWN_GROUP: Final = API_VERSION.partition("/")[0] + "/"
_T = TypeVar("_T", bound=BaseModel)
_Placed = TypeVar("_Placed", InferenceDeployment, ModelProfile)


@dataclass(slots=True, kw_only=True)
class World:
    """Everything read, by kind; `raw_specs` are the deployments' specs as written, `unreadable` is what a newer release
    has left in the cluster, `imported` are deployments that were written as something else. `namespace` is where an object goes that
    names none; None: nobody has said, which is `default`. Implements gather's Store."""

    namespace: str | None = None
    deployments: list[InferenceDeployment] = field(default_factory=list)
    raw_specs: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[ModelProfile] = field(default_factory=list)
    cluster_profiles: list[ClusterModelProfile] = field(default_factory=list)
    pools: list[GPUPool] = field(default_factory=list)
    policies: list[FitPolicy] = field(default_factory=list)
    engine_calibrations: list[EngineCalibration] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    nodes: list[Manifest] = field(default_factory=list)
    pods: list[Manifest] = field(default_factory=list)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    config_maps: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    plans: dict[tuple[str, str], Plan] = field(default_factory=dict)
    derived: tuple[DerivedPool, ...] = ()
    selections: tuple[Selection, ...] = ()
    leader_worker_sets: bool = False
    in_use: dict[tuple[str, str], DeploymentUse] = field(default_factory=dict)
    imported: list[Imported] = field(default_factory=list)

    def model_profile(self, namespace: str, name: str) -> ModelProfile | Unreadable | None:
        """The ModelProfile of this name, or None."""
        readable = (p for p in self.profiles if _namespace(p) == namespace and p.metadata.name == name)
        return next(readable, None) or self._unread("ModelProfile", namespace, name)

    def cluster_model_profile(self, name: str) -> ClusterModelProfile | Unreadable | None:
        """The ClusterModelProfile of this name, or None."""
        readable = (p for p in self.cluster_profiles if p.metadata.name == name)
        return next(readable, None) or self._unread("ClusterModelProfile", "", name)

    def model_profiles(self, namespace: str, model: str) -> Iterable[ModelProfile | Unreadable]:
        """All ModelProfiles of the namespace that speak of the model."""
        unread = [row for row in self.unreadable if (row.kind, row.namespace, row.model) == ("ModelProfile", namespace, model)]
        return [*(p for p in self.profiles if _namespace(p) == namespace and p.spec.model == model), *unread]

    def cluster_model_profiles(self, model: str) -> Iterable[ClusterModelProfile | Unreadable]:
        """All ClusterModelProfiles that speak of the model."""
        unread = [row for row in self.unreadable if (row.kind, row.model) == ("ClusterModelProfile", model)]
        return [*(p for p in self.cluster_profiles if p.spec.model == model), *unread]

    def _unread(self, kind: str, namespace: str, name: str) -> Unreadable | None:
        return next((row for row in self.unreadable if (row.kind, row.namespace, row.name) == (kind, namespace, name)), None)

    def pool_facts(self) -> tuple[PoolFacts, ...]:
        """Facts of the pools: those derived from files of nodes, corrected by the GPUPool of their name, and of all others given."""
        given = {pool.metadata.name: pool for pool in self.pools}
        derived = {pool.name: pool for pool in self.derived}
        facts = [derived_facts(pool, given[name].spec) if name in given else derived_facts(pool) for name, pool in derived.items()]
        return by_name([*facts, *offered(pool for name, pool in given.items() if name not in derived)])

    def fit_policies(self) -> Iterable[FitPolicy | Unreadable]:
        """All FitPolicies, also those of the cluster that cannot be read."""
        return [*self.policies, *(row for row in self.unreadable if row.kind == "FitPolicy")]

    def calibrations(self) -> Iterable[EngineCalibration]:
        """All EngineCalibrations."""
        return self.engine_calibrations

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Labels of the namespace; empty when they were not given."""
        return self.namespaces.get(namespace, {})

    def use_beside(self, namespace: str, name: str) -> NamespaceUse:
        """What the cluster's InferenceDeployments hold together, but for the one of this name; files hold nothing."""
        return NamespaceUse.of(use for (where, which), use in self.in_use.items() if where == namespace and which != name)

    def serves_leader_worker_sets(self) -> bool:
        """As the cluster says, or the one who gave files."""
        return self.leader_worker_sets

    def bypass_is_protected(self) -> bool:
        """Taken on trust: who plans here has no cluster's admission before them, and the pods are the controller's to make."""
        return True

    def placed(self, item: _Placed) -> _Placed:
        """The object in the namespace that it is in once it is applied, as kubectl would."""
        if self.namespace is None or item.metadata.namespace:
            return item
        return item.model_copy(update={"metadata": item.metadata.model_copy(update={"namespace": self.namespace})})

    def derive_pools(self) -> None:
        """Derive pools from the nodes and pods read, split by the label keys that the deployments select by, and keep them.

        Raises ApiError for one that no GPUPool can hold.
        """
        keys = {key for item in self.deployments for key in item.spec.placement.node_selector}
        index = CapacityIndex(keys, corrections=corrections_of(self.pools))
        for node in self.nodes:
            index.node_event("ADDED", node)
        for pod in self.pods:
            index.pod_event("ADDED", pod, planned=deployment_of(pod.get("metadata")) is not None)
        self.derived = index.pools()
        self.selections = index.selections()
        given = {pool.metadata.name: pool for pool in self.pools}
        for row in self.selections:
            status = GPUPoolStatus.model_validate(selection_status(row, given[row.name].spec))
            given[row.name] = given[row.name].model_copy(update={"status": status})
        for derived in self.derived:
            check_writable(derived)
        self.pools = list(given.values())


def _namespace(item: ModelProfile | InferenceDeployment) -> str:
    return item.metadata.namespace or "default"


def take(world: World, manifest: Manifest, where: str) -> None:
    """Put one object where it belongs; kinds that have no part in a decision are passed over."""
    kind = manifest.get("kind")
    if kind == "Node":
        world.nodes.append(manifest)
    elif kind == "Pod":
        world.pods.append(manifest)
    elif kind == "Namespace":
        _take_namespace(world, manifest)
    elif kind == "ConfigMap":
        _take_config_map(world, manifest)
    elif manifest.get("apiVersion") == API_VERSION:
        _take_own(world, manifest, where)
    elif str(manifest.get("apiVersion", "")).startswith(_OWN_GROUP):
        raise InvalidInput(f"{where}: apiVersion", manifest["apiVersion"], f"must be {API_VERSION}")


def take_stored(world: World, manifest: Manifest) -> None:
    """Put one object of a cluster where it belongs: it may be a newer release's, and then it does not vanish but cannot be read."""
    kind = KINDS.get(str(manifest.get("kind")))
    if manifest.get("apiVersion") != API_VERSION or kind is None:
        take(world, manifest, "cluster")
        return
    found = read_stored(kind, manifest)
    if isinstance(found, Unreadable):
        world.unreadable.append(found)
    else:
        _keep(world, found, manifest)


def _keep(world: World, found: BaseModel, manifest: Manifest) -> None:
    match found:
        case InferenceDeployment():
            world.deployments.append(world.placed(found))
            world.raw_specs.append(dict(manifest["spec"]))
        case ModelProfile():
            world.profiles.append(world.placed(found))
        case ClusterModelProfile():
            world.cluster_profiles.append(found)
        case GPUPool():
            world.pools.append(found)
        case FitPolicy():
            world.policies.append(found)
        case EngineCalibration():
            world.engine_calibrations.append(found)


def _take_own(world: World, manifest: Manifest, where: str) -> None:
    kind = str(manifest.get("kind"))
    if kind not in KINDS:
        raise InvalidInput(f"{where}: kind", manifest.get("kind"), f"is not a kind of {API_VERSION}")
    try:
        _keep(world, parse_object(KINDS[kind], manifest), manifest)
    except ApiError as error:
        metadata = manifest.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        object_ = f"{kind} {name}" if isinstance(name, str) and len(name) <= 253 else kind
        raise ApiError(tuple(replace(cause, field=f"{where}: {object_}: {cause.field}") for cause in error.causes)) from error


def _take_namespace(world: World, manifest: Manifest) -> None:
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("name"), str):
        labels = metadata.get("labels")
        world.namespaces[metadata["name"]] = dict(labels) if isinstance(labels, Mapping) else {}


def _take_config_map(world: World, manifest: Manifest) -> None:
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("name"), str):
        world.config_maps[str(metadata.get("namespace") or world.namespace or "default"), metadata["name"]] = manifest


def take_applied_plan(world: World, child: Manifest | None, namespace: str, name: str) -> None:
    """The applied plan from the child's annotation; text that is no plan is as good as none."""
    annotations = ((child or {}).get("metadata") or {}).get("annotations") or {}
    text = annotations.get(PLAN_ANNOTATION)
    if isinstance(text, str):
        try:
            world.plans[namespace, name] = Plan.from_json(text)
        except (ValueError, TypeError, KeyError):
            return
