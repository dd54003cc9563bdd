"""GPUPool objects: written from derived pools, read back as the facts that every decision is made from.

`pool_manifest` is what the controller applies and the CLI prints; `pool_facts` is its inverse and the only reader of pools
for webhook, controller and CLI. Knows no nodes.
"""

from __future__ import annotations

from typing import Any, Final

from plimsoll_estimator.units import format_gib
from plimsoll_operator.api import API_VERSION, GPUPool
from plimsoll_operator.capacity.index import DerivedPool
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.quantity import parse_millis

INDEXED_ANNOTATION: Final = "inference.plimsoll.dev/indexed-label-keys"
RESOURCE_ANNOTATION: Final = "inference.plimsoll.dev/resource"
_DEFAULT_RESOURCE: Final = "nvidia.com/gpu"
_EXPLAINED: Final = {
    "VendorUnsupported": "GPUs of a vendor without memory rules here",
    "NoProduct": "GPUs without a product label",
    "MixedProducts": "more allocatable GPUs than the product label counts: several products on one node",
    "BadLabel": "a GPU label that cannot be read",
    "MigInvalid": "an invalid mix of MIG slices",
    "MemoryAbsurd": "a memory label outside 1 GiB to 2 TiB",
    "MemoryContradictsProduct": "a memory label of another card than the product label names",
    "MemoryUnknown": "an unknown product without a memory label",
    "SharedWithoutStrategy": "shared GPUs whose sharing strategy no label names",
    "NoAllocatableGpus": "GPU labels without allocatable GPUs",
    "CountAbsurd": "more GPUs than a node can have",
    "FewerAllocatableThanLabelled": "fewer allocatable GPUs than labelled: devices are missing",
    "Cordoned": "cordoned: nothing is free there",
    "NotReady": "not ready: nothing is free there",
    "Overcommitted": "pods hold more GPUs than the node offers",
}


def pool_manifest(pool: DerivedPool) -> dict[str, Any]:
    """The GPUPool object of a derived pool, with its status; deterministic, and free of time."""
    key = pool.key
    annotations = {INDEXED_ANNOTATION: ",".join(pool.indexed_label_keys), RESOURCE_ANNOTATION: key.resource}
    status: dict[str, Any] = {
        "product": key.product or None,
        "usableMemoryBytes": key.usable_memory_bytes,
        "memoryIsExact": key.memory_is_exact,
        "memory": format_gib(key.usable_memory_bytes),
        "gpusPerNode": key.gpus_per_node,
        "computeCapability": ".".join(map(str, key.compute_capability)) if key.compute_capability else None,
        "sharing": key.sharing,
        "sharingReplicas": key.sharing_replicas,
        "nodes": pool.nodes,
        "nodesByFreeGpus": [{"freeGpus": free, "nodes": nodes} for free, nodes in pool.nodes_by_free_gpus],
        "totalGpus": pool.gpus,
        "freeGpus": pool.free_gpus,
        "bookedGpus": pool.booked_gpus,
        "foreignGpus": pool.foreign_gpus,
        "hostMemoryBytes": key.host_memory_bytes,
        "hostCpuMillis": key.host_cpu_millis,
        "ephemeralStorageBytes": key.ephemeral_storage_bytes,
        "nodeLabels": dict(key.labels),
        "taints": [{"key": name, "value": value, "effect": effect} for name, value, effect in key.taints],
        "trusted": not key.excluded_for,
        "problems": [f"{name}: {_EXPLAINED[name]} ({nodes} of {pool.nodes} nodes)" for name, nodes in pool.problems],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "GPUPool",
        "metadata": {"name": pool.name, "annotations": annotations},
        "status": {name: value for name, value in status.items() if value is not None},
    }


def pool_facts(pool: GPUPool) -> PoolFacts:
    """A GPUPool as the decision sees it: spec corrects status; a declared pool counts on the nodes its autoscaler may bring.

    A figure that neither gives is 0 (no memory: nothing fits; no host figure: not checked).
    """
    spec, status = pool.spec, pool.status
    declared = spec.node
    product = spec.product or (status.product if status else None) or ""
    memory = spec.usable_memory_bytes or (status.usable_memory_bytes if status else None) or 0
    gpus_per_node = spec.gpus_per_node or (status.gpus_per_node if status else None) or 0
    labels = dict(status.node_labels) if status else {}
    taints = status.taints if status else ()
    host_memory = (status.host_memory_bytes if status else None) or 0
    host_cpu = (status.host_cpu_millis if status else None) or 0
    storage = (status.ephemeral_storage_bytes if status else None) or 0
    nodes = status.nodes if status else 0
    from_declaration = spec.declared and nodes == 0
    if declared is not None and from_declaration:
        labels, taints = dict(declared.labels), declared.taints
        host_memory = declared.host_memory_bytes or 0
        host_cpu = parse_millis(declared.cpu, round_down=True) if declared.cpu is not None else 0
        storage = declared.ephemeral_storage_bytes or 0
    corrected = spec.product is not None and spec.usable_memory_bytes is not None
    indexed = tuple(key for key in pool.metadata.annotations.get(INDEXED_ANNOTATION, "").split(",") if key)
    return PoolFacts(
        name=pool.metadata.name,
        product=product,
        usable_memory_bytes=memory,
        memory_is_exact=spec.usable_memory_bytes is not None or bool(status and status.memory_is_exact),
        gpus_per_node=gpus_per_node,
        nodes=nodes,
        nodes_by_free_gpus=tuple(sorted((row.free_gpus, row.nodes) for row in status.nodes_by_free_gpus)) if status else (),
        host_memory_bytes=host_memory,
        host_cpu_millis=host_cpu,
        ephemeral_storage_bytes=storage,
        labels=tuple(sorted(labels.items())),
        taints=tuple(sorted((taint.key, taint.value, taint.effect) for taint in taints)),
        sharing=spec.sharing or (status.sharing if status else "none"),
        sharing_replicas=spec.sharing_replicas or (status.sharing_replicas if status else 1),
        compute_capability=_capability(spec.compute_capability or (status.compute_capability if status else None)),
        cost=spec.cost,
        declared=spec.declared and spec.max_nodes != 0,
        trusted=corrected or spec.declared or bool(status and status.trusted),
        problems=tuple(status.problems) if status else (),
        indexed_label_keys=tuple(sorted({*indexed, *labels})),
        foreign_gpus=status.foreign_gpus if status else 0,
        resource=pool.metadata.annotations.get(RESOURCE_ANNOTATION, _DEFAULT_RESOURCE),
    )


def _capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    major, _, minor = text.partition(".")
    return int(major), int(minor)
