"""The same facts from a live cluster, through the controller's own client. Imported only when a cluster is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator import group
from plimsoll_operator.cli.world import World, take_applied_plan, take_stored
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Key, Kube, Resource, key_of
from plimsoll_operator.use import use_of

_INSTALL: Final = "needs the extra 'controller': pip install 'plimsoll-operator[controller]', or give --nodes FILE"


def read_cluster(world: World) -> None:
    """Add the cluster's profiles, pools, policies and applied plans. Raises InvalidInput when it cannot be reached or read."""
    try:
        from kubernetes.config import ConfigException

        from plimsoll_operator.kube import KubeClient
        from plimsoll_operator.ports import (
            CLUSTER_MODEL_PROFILES,
            DEPLOYMENTS,
            ENGINE_CALIBRATIONS,
            FIT_POLICIES,
            GPU_POOLS,
            LEADER_WORKER_SETS,
            MODEL_PROFILES,
            NAMESPACES,
        )
    except ModuleNotFoundError as error:
        raise InvalidInput("--cluster", error.name, _INSTALL) from error
    try:
        kube = KubeClient.from_environment()
    except ConfigException as error:
        raise InvalidInput(
            "KUBECONFIG", None, f"leads to no cluster ({str(error)[:120].rstrip('.')}): set it, or plan with --nodes FILE"
        ) from error
    try:
        for resource in (MODEL_PROFILES, CLUSTER_MODEL_PROFILES, GPU_POOLS, FIT_POLICIES, ENGINE_CALIBRATIONS, NAMESPACES):
            token = ""
            while True:
                page = kube.list_page(resource, continue_token=token)
                for item in page.items:
                    take_stored(world, {"apiVersion": resource.api_version, "kind": resource.kind, **item})
                token = page.continue_token
                if not token:
                    break
        world.leader_worker_sets = world.leader_worker_sets or _is_served(kube, LEADER_WORKER_SETS)
        for key, use in _uses(kube):
            world.in_use[key] = use
        for deployment in world.deployments:
            namespace, name = deployment.metadata.namespace or "default", deployment.metadata.name
            take_applied_plan(world, kube.get(DEPLOYMENTS, namespace, name), namespace, name)
            if world.leader_worker_sets and deployment.spec.placement.max_nodes_per_replica > 1:
                take_applied_plan(world, kube.get(LEADER_WORKER_SETS, namespace, group.name_of(name)), namespace, name)
    except ApiFailure as error:
        why = "the API server refused or was not reached"
        if error.status == 404:
            why = "the cluster does not serve Plimsoll's kinds: install the chart"
        raise InvalidInput("cluster", None, f"cannot be read: {why} ({' '.join(str(error).split())[:200]})") from error


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


def _uses(kube: Kube) -> Iterator[tuple[Key, DeploymentUse]]:
    """What the InferenceDeployments of the cluster hold: only caps ask, and only the numbers are kept."""
    token = ""
    while True:
        page = kube.list_page(INFERENCE_DEPLOYMENTS, continue_token=token)
        for item in page.items:
            yield key_of(item), use_of(item)
        token = page.continue_token
        if not token:
            return
