"""Nodes whose hosts are taken by pods, as pools that a decision is made on."""

from tests.plimsoll_operator.decision_world import Files

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.capacity import CapacityIndex, pool_manifest

CPU, MEM, DISK, GPU = "cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"


def pod(uid, where, phase="Running", **amounts):
    asked = {key.replace("gpus", GPU): str(value) for key, value in amounts.items()}
    return {"metadata": {"uid": uid, "name": uid}, "spec": {"nodeName": where, "containers": [{"resources": {"requests": asked}}]},
            "status": {"phase": phase}}  # fmt: skip


def index_of(*nodes, pods=()):
    index = CapacityIndex()
    for item in nodes:
        index.node_event("ADDED", item)
    for item in pods:
        index.pod_event("ADDED", item)
    return index


def store_of(*nodes, pods=()):
    store = Files()
    store.pools = [parse_object(GPUPool, pool_manifest(pool)) for pool in index_of(*nodes, pods=pods).pools()]
    return store
