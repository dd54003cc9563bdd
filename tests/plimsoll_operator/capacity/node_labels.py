"""Nodes and pods as Kubernetes shows them, and an index of them."""

from plimsoll_operator.capacity.index import CapacityIndex


def node(name="n1", *, product="NVIDIA-L4", count=4, memory=23034, units=None, ready="True", labels=None, taints=(), **spec):
    own = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": str(count), "nvidia.com/gpu.memory": str(memory)}
    own |= {"nvidia.com/gpu.replicas": "1", "nvidia.com/gpu.sharing-strategy": "none"} | (labels or {})
    allocatable = {"cpu": "47810m", "memory": "192Gi", "ephemeral-storage": "400Gi", "pods": "110"}
    allocatable["nvidia.com/gpu"] = str(count if units is None else units)
    return {
        "metadata": {"name": name, "labels": {key: value for key, value in own.items() if value is not None}},
        "spec": {"taints": list(taints), **spec},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(uid, node_name, gpus, phase="Running", **metadata):
    return {
        "metadata": {"uid": uid, "name": uid, **metadata},
        "spec": {"nodeName": node_name, "containers": [{"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}]},
        "status": {"phase": phase},
    }


def index_of(*nodes, pods=(), keys=()):
    index = CapacityIndex(keys)
    for item in nodes:
        index.node_event("ADDED", item)
    for item in pods:
        index.pod_event("ADDED", item)
    return index
