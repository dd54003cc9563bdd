"""The same facts from a live cluster, through the controller's own client. Imported only when a cluster is asked for.

Reads with the rights of whoever runs the command: what may not be listed in all namespaces is read in the one that is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator import group
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.world import World, take_applied_plan, take_stored
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.names import SERVICE_ACCOUNT_FOLDER
from plimsoll_operator.ports import (
    CLUSTER_MODEL_PROFILES,
    DEPLOYMENTS,
    ENGINE_CALIBRATIONS,
    FIT_POLICIES,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    LEADER_WORKER_SETS,
    MODEL_PROFILES,
    NAMESPACES,
    NODES,
    Key,
    Kube,
    Resource,
    key_of,
)
from plimsoll_operator.use import use_of

_INSTALL: Final = "needs the extra 'controller': pip install 'plimsoll-operator[controller]', or give --nodes FILE"
_IN_POD: Final = Path(SERVICE_ACCOUNT_FOLDER) / "namespace"
DECIDED_BY: Final = (MODEL_PROFILES, CLUSTER_MODEL_PROFILES, GPU_POOLS, FIT_POLICIES, ENGINE_CALIBRATIONS)
_LONGEST_NAMESPACE: Final = 63


def current_namespace() -> str | None:
    """The namespace of the kubeconfig's context, as kubectl takes it, or of the pod that this runs in. None: nothing says one."""
    try:
        from kubernetes.config import ConfigException, list_kube_config_contexts
    except ModuleNotFoundError:
        return None
    contexts: Callable[[], tuple[Any, Any]] = list_kube_config_contexts  # which carries no types
    try:
        _, active = contexts()
    except (ConfigException, OSError):
        return _IN_POD.read_text("utf-8")[:_LONGEST_NAMESPACE].strip() or None if _IN_POD.is_file() else None
    context = active.get("context") if isinstance(active, dict) else None
    named: Any = context.get("namespace") if isinstance(context, dict) else None
    return named if isinstance(named, str) and named else None


def open_cluster() -> Kube:
    """A client of the kubeconfig's cluster. Raises InvalidInput where there is none, or no library to read one with."""
    try:
        from kubernetes.config import ConfigException

        from plimsoll_operator.kube import KubeClient
    except ModuleNotFoundError as error:
        raise InvalidInput("--cluster", error.name, _INSTALL) from error
    try:
        return KubeClient.from_environment()
    except ConfigException as error:
        raise InvalidInput(
            "KUBECONFIG", None, f"leads to no cluster ({str(error)[:120].rstrip('.')}): set it, or give --nodes FILE"
        ) from error


def read_cluster(world: World) -> None:
    """Add the cluster's profiles, pools, policies and applied plans. Raises InvalidInput when it cannot be reached or read."""
    read_from(open_cluster(), world)


def read_from(kube: Kube, world: World) -> None:
    """The same through a client. Raises InvalidInput that says what could not be read and why."""
    try:
        for resource in DECIDED_BY:
            for item in of_all_or_one(kube, resource, world.namespace):
                take_stored(world, {"apiVersion": resource.api_version, "kind": resource.kind, **item})
        for item in _namespaces(kube, world.namespace):
            take_stored(world, {"apiVersion": "v1", "kind": "Namespace", **item})
        world.leader_worker_sets = world.leader_worker_sets or _is_served(kube, LEADER_WORKER_SETS)
        for item in of_all_or_one(kube, INFERENCE_DEPLOYMENTS, world.namespace):
            _take_use(world, key_of(item), use_of(item))
        for deployment in world.deployments:
            namespace, name = deployment.metadata.namespace or "default", deployment.metadata.name
            take_applied_plan(world, kube.get(DEPLOYMENTS, namespace, name), namespace, name)
            if world.leader_worker_sets and deployment.spec.placement.max_nodes_per_replica > 1:
                take_applied_plan(world, kube.get(LEADER_WORKER_SETS, namespace, group.name_of(name)), namespace, name)
    except ApiFailure as error:
        why = "the API server refused or was not reached"
        if error.status == 404:
            why = "the cluster does not serve Plimsoll's kinds: install the chart"
        elif error.status == 403:
            why = "you may not read what is decided by: ask for the ClusterRole plimsoll-cluster-view of the chart"
        raise InvalidInput("cluster", None, f"cannot be read: {why} ({' '.join(str(error).split())[:400]})") from error


def read_deployments(kube: Kube, world: World, name: str | None, *, everywhere: bool) -> None:
    """Add InferenceDeployments: the one of this name in the world's namespace, or all of it, or `everywhere` all that may be listed.

    Their plans are those of their status: no child is asked for. Raises InvalidInput when they cannot be read.
    """
    namespace = world.namespace or "default"
    try:
        if name is not None:
            one = kube.get(INFERENCE_DEPLOYMENTS, namespace, name)
            found: Iterable[Manifest] = () if one is None else (one,)
        else:
            found = of_all_or_one(kube, INFERENCE_DEPLOYMENTS, namespace) if everywhere else pages(kube, INFERENCE_DEPLOYMENTS, namespace)
        for item in found:
            take_stored(world, {"apiVersion": INFERENCE_DEPLOYMENTS.api_version, "kind": INFERENCE_DEPLOYMENTS.kind, **item})
    except ApiFailure as error:
        why = "you may not list InferenceDeployments there" if error.status == 403 else "the API server refused or was not reached"
        raise InvalidInput("cluster", None, f"cannot be read: {why} ({' '.join(str(error).split())[:400]})") from error


def read_nodes(world: World) -> None:
    """Add the cluster's nodes, and the GPUPools that correct them. Raises InvalidInput when they cannot be read."""
    kube = open_cluster()
    try:
        for resource in (GPU_POOLS, NODES):
            for item in pages(kube, resource, ""):
                take_stored(world, {"apiVersion": resource.api_version, "kind": resource.kind, **item})
    except ApiFailure as error:
        words = " ".join(str(error).split())[:400]
        why = "you may not list nodes: `plimsoll capacity` counts them by pool" if error.status == 403 else "the API server refused"
        raise InvalidInput("cluster", None, f"cannot be read: {why} ({words})") from error


def _take_use(world: World, key: Key, use: DeploymentUse) -> None:
    """What an InferenceDeployment holds: only caps ask, and only the numbers are kept."""
    world.in_use[key] = use


def of_all_or_one(kube: Kube, resource: Resource, namespace: str | None) -> Iterator[Manifest]:
    """Everything of the kind; of one that may not be listed everywhere what is in the namespace, which is all that is decided by."""
    try:
        yield from pages(kube, resource, "")
    except ApiFailure as failure:
        if failure.status != 403 or not resource.namespaced:
            raise
        yield from pages(kube, resource, namespace or "default")


def _namespaces(kube: Kube, namespace: str | None) -> Iterator[Manifest]:
    """All namespaces, for the labels that policies select by; or the one, for who may see no others."""
    try:
        yield from pages(kube, NAMESPACES, "")
    except ApiFailure as failure:
        if failure.status != 403:
            raise
        found = kube.get(NAMESPACES, "", namespace or "default")
        if found is not None:
            yield found


def pages(kube: Kube, resource: Resource, namespace: str) -> Iterator[Manifest]:
    """All objects of a kind in a namespace, or with an empty one in all, page by page."""
    token = ""
    while True:
        page = kube.list_page(resource, namespace=namespace, continue_token=token)
        yield from page.items
        token = page.continue_token
        if not token:
            return


def _is_served(kube: Kube, resource: Resource) -> bool:
    """Whether the API server knows the resource: one that it may not show us is one."""
    try:
        kube.list_page(resource, limit=1)
    except ApiFailure as failure:
        if failure.status == 404:
            return False
        if failure.status != 403:
            raise
    return True
