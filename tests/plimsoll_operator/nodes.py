"""Nodes and pods as Kubernetes shows them, and the pools that they make: the one builder of each.

Called by every test that puts GPUs into a cluster. Labels are those of GPU feature discovery, memory is what the driver reports (MiB).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from plimsoll_operator.api import GPUPool, GPUPoolStatus, parse_object
from plimsoll_operator.capacity import CapacityIndex, pool_manifest
from plimsoll_operator.capacity.groups import GpuGroup
from plimsoll_operator.capacity.nodes import parse_node
from plimsoll_operator.ports import Manifest

GPU: Final = "nvidia.com/gpu"


def gpu_node(
    name: str = "n1",
    product: str = "NVIDIA-L4",
    count: int = 4,
    memory_mib: int = 23034,
    *,
    units: int | None = None,
    host: str = "1500Gi",
    cpu: str = "190",
    disk: str = "1000Gi",
    ready: str = "True",
    labels: Mapping[str, str | None] | None = None,
    taints: Iterable[Mapping[str, str]] = (),
    **spec: Any,
) -> Manifest:
    """A node with `count` cards. `units`: what the device plugin offers, where that is another number. A label of None is not there."""
    own: dict[str, str | None] = {f"{GPU}.product": product, f"{GPU}.count": str(count), f"{GPU}.memory": str(memory_mib)}
    own |= {f"{GPU}.replicas": "1", f"{GPU}.sharing-strategy": "none"} | dict(labels or {})
    amounts = {"cpu": cpu, "memory": host, "ephemeral-storage": disk, "pods": "110", GPU: str(count if units is None else units)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {key: value for key, value in own.items() if value is not None}},
        "spec": {"taints": [dict(taint) for taint in taints], **spec},
        "status": {"allocatable": amounts, "conditions": [{"type": "Ready", "status": ready}]},
    }


H100: Final = gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559)
L4: Final = gpu_node("l4", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47")
T4: Final = gpu_node("t4", "Tesla-T4", 1, 15360, host="30Gi", cpu="7500m")


def gpu_pod(
    name: str,
    node: str = "",
    gpus: int | str = 0,
    phase: str = "",
    *,
    namespace: str = "team",
    uid: str = "",
    gates: Iterable[str] = (),
    requests: Mapping[str, object] | None = None,
    **metadata: Any,
) -> Manifest:
    """A pod of one container that takes so many GPUs and what it `requests`; bound to a node, or to none yet where that is ""."""
    resources: Manifest = {"limits": {GPU: str(gpus)}} if gpus else {}
    if requests is not None:
        resources["requests"] = {key: str(value) for key, value in requests.items()}
    spec: Manifest = {"containers": [{"name": "vllm", "resources": resources}], "schedulingGates": [{"name": gate} for gate in gates]}
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": uid or name, **metadata},
        "spec": spec,
        "status": {"phase": phase or ("Running" if node else "Pending")},
    }


def index_of(*nodes: Manifest, pods: Iterable[Manifest] = (), keys: Iterable[str] = ()) -> CapacityIndex:
    """The nodes and pods as the controller counts them, pools split by the labels `keys`."""
    index = CapacityIndex(list(keys))
    for item in nodes:
        index.node_event("ADDED", item)
    for item in pods:
        index.pod_event("ADDED", item)
    return index


def groups_of(node: Manifest) -> tuple[GpuGroup, ...]:
    """The groups of alike GPUs that are read from a node."""
    facts = parse_node(node)
    assert facts is not None, node
    return facts.groups


def status_of(pool: GPUPool) -> GPUPoolStatus:
    """What was written of a pool."""
    assert pool.status is not None, pool
    return pool.status


def pools_of(index: CapacityIndex) -> list[GPUPool]:
    """What the controller writes of them, read back."""
    return [parse_object(GPUPool, pool_manifest(pool)) for pool in index.pools()]
