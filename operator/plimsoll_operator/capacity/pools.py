"""GPUPool objects: written from derived pools, read back as the facts that every decision is made from.

`pool_manifest` is what the controller applies and the CLI prints; `pool_facts` is its inverse and the only reader of pools
for webhook, controller and CLI. Knows no nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from plimsoll_estimator import format_gib
from plimsoll_operator.api import GPUPool
from plimsoll_operator.api.base import saturated
from plimsoll_operator.api.pool import GPUPoolSpec, GPUPoolStatus, NodesByFreeGpus
from plimsoll_operator.capacity.clouds import steering
from plimsoll_operator.capacity.derived import DerivedPool, Selection
from plimsoll_operator.capacity.groups import Labels, Source
from plimsoll_operator.capacity.labels import MIG_PRODUCT
from plimsoll_operator.capacity.memory import usable_by_product
from plimsoll_operator.capacity.problems import CountedFinding
from plimsoll_operator.facts import FreeNodes, PoolFacts
from plimsoll_operator.names import API_VERSION, GPU_RESOURCE, INDEXED_ANNOTATION, PRODUCT_LABEL, RESOURCE_ANNOTATION
from plimsoll_operator.quantity import parse_millis

MAX_PROBLEMS: Final = 16
MAX_LABEL_KEYS: Final = 16
"""By which pools are split at most, with the product's, which is always one of them."""
_MAX_PROBLEM: Final = 1024


def pool_manifest(pool: DerivedPool) -> dict[str, Any]:
    """The GPUPool object of a derived pool, with its status; deterministic, and free of time."""
    key = pool.key
    annotations = {INDEXED_ANNOTATION: ",".join(pool.indexed_label_keys), RESOURCE_ANNOTATION: key.resource}
    status: dict[str, Any] = {
        "product": key.product or None,
        "usableMemoryBytes": key.usable_memory_bytes,
        "memoryIsExact": key.memory_is_exact,
        "memory": format_gib(key.usable_memory_bytes) if key.usable_memory_bytes else None,
        "gpusPerNode": key.gpus_per_node,
        "computeCapability": ".".join(map(str, key.compute_capability)) if key.compute_capability else None,
        "sharing": key.sharing,
        "sharingReplicas": key.sharing_replicas,
        "resource": key.resource,
        "source": key.source.value,
        "correctedBy": key.corrected_by or None,
        "cost": key.cost,
        "nodes": pool.nodes,
        "totalGpus": pool.gpus,
        **_free(pool),
        "bookedGpus": pool.booked_gpus,
        "foreignGpus": min(pool.foreign_gpus, pool.gpus),  # a pod may ask for more than its node has
        "hostMemoryBytes": key.host_memory_bytes,
        "hostCpuMillis": key.host_cpu_millis,
        "ephemeralStorageBytes": key.ephemeral_storage_bytes,
        "nodeLabels": dict(key.labels),
        "nodeSelector": dict(key.selects),
        "taints": [{"key": name, "value": value, "effect": effect} for name, value, effect in key.taints],
        "trusted": not key.excluded_for,
        "problems": problem_lines(pool.problems, pool.nodes),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "GPUPool",
        "metadata": {"name": pool.name, "annotations": annotations},
        "status": saturated(GPUPoolStatus, {name: value for name, value in status.items() if value is not None}),
    }


def selection_status(selection: Selection, spec: GPUPoolSpec) -> dict[str, Any]:
    """The status of a GPUPool whose selector selects these nodes: what it speaks for, and what was seen and overruled."""
    memory = spec.usable_memory_bytes
    status: dict[str, Any] = {
        "product": spec.product,
        "memory": format_gib(memory) if memory is not None else None,
        "source": Source.GPU_POOL.value,
        "nodes": selection.nodes,
        "totalGpus": selection.gpus,
        "freeGpus": selection.free_gpus if selection.free_is_known else None,
        "freeIsKnown": selection.free_is_known,
        "trusted": selection.trusted,
        "problems": problem_lines(selection.problems, selection.nodes),
    }
    return saturated(GPUPoolStatus, {name: value for name, value in status.items() if value is not None})


def problem_lines(problems: Iterable[CountedFinding], of: int) -> list[str]:
    """One bounded line for each; what does not fit is counted in the last one."""
    lines = [row.text(of)[:_MAX_PROBLEM] for row in problems]
    if len(lines) <= MAX_PROBLEMS:
        return lines
    return [*lines[: MAX_PROBLEMS - 1], f"MoreProblems: {len(lines) - MAX_PROBLEMS + 1} further ones are not shown"]


def _free(pool: DerivedPool) -> dict[str, Any]:
    if not pool.free_is_known:
        return {"freeIsKnown": False}
    rows = [
        {
            "freeGpus": row.gpus,
            "nodes": row.nodes,
            "hostMemoryBytes": row.host_memory_bytes,
            "hostCpuMillis": row.host_cpu_millis,
            "ephemeralStorageBytes": row.ephemeral_storage_bytes,
        }
        for row in pool.free_nodes
    ]
    shown = [saturated(NodesByFreeGpus, {name: value for name, value in row.items() if value is not None}) for row in rows]
    return {"nodesByFreeGpus": shown, "freeGpus": pool.free_gpus, "freeIsKnown": True}


def is_offer(pool: GPUPool) -> bool:
    """Whether plans can be made for the pool itself: it was derived or is declared. One that only corrects nodes offers nothing more."""
    return not pool.spec.selector or pool.spec.declared or INDEXED_ANNOTATION in pool.metadata.annotations


def pool_facts(pool: GPUPool) -> PoolFacts:
    """A GPUPool as the decision sees it: spec corrects status; a declared pool counts on the nodes its autoscaler may bring.

    A figure that neither gives is 0 (no memory: nothing fits; no host figure: not checked). Memory that a declared pool leaves out is
    that of the shipped table. Nodes that a declared pool's selector selects are in pools of their own, and count against maxNodes here.
    """
    spec, status = pool.spec, pool.status or GPUPoolStatus(trusted=False)
    indexed = tuple(key for key in pool.metadata.annotations.get(INDEXED_ANNOTATION, "").split(",") if key)
    measured = not spec.selector or INDEXED_ANNOTATION in pool.metadata.annotations
    product = spec.product or status.product or ""
    nodes = status.nodes if measured else 0
    labels, taints = dict(status.node_labels), status.taints
    host_memory, host_cpu, storage = status.host_memory_bytes or 0, status.host_cpu_millis or 0, status.ephemeral_storage_bytes or 0
    if spec.node is not None and spec.declared and nodes == 0:
        labels, taints = dict(spec.node.labels), spec.node.taints
        host_memory = spec.node.host_memory_bytes or 0
        host_cpu = parse_millis(spec.node.cpu, round_down=True) if spec.node.cpu is not None else 0
        storage = spec.node.ephemeral_storage_bytes or 0
    resource = spec.resource or status.resource or pool.metadata.annotations.get(RESOURCE_ANNOTATION, GPU_RESOURCE)
    memory, exact = _memory(spec, status, product)
    corrected = spec.product is not None and spec.usable_memory_bytes is not None
    return PoolFacts(
        name=pool.metadata.name,
        product=product,
        usable_memory_bytes=memory,
        memory_is_exact=exact,
        gpus_per_node=spec.gpus_per_node or status.gpus_per_node or 0,
        nodes=nodes,
        nodes_by_free_gpus=_histogram(status) if measured else (),
        host_memory_bytes=host_memory,
        host_cpu_millis=host_cpu,
        ephemeral_storage_bytes=storage,
        labels=tuple(sorted(labels.items())),
        taints=tuple(sorted((taint.key, taint.value, taint.effect) for taint in taints)),
        sharing=spec.sharing or ("mig" if MIG_PRODUCT.search(spec.product or "") else status.sharing),
        sharing_replicas=spec.sharing_replicas or status.sharing_replicas,
        compute_capability=_capability(spec.compute_capability or status.compute_capability),
        cost=spec.cost if spec.cost is not None else status.cost,
        declared=spec.declared and (spec.max_nodes or 0) > (0 if measured else status.nodes),
        trusted=corrected or spec.declared or status.trusted,
        problems=tuple(status.problems),
        indexed_label_keys=tuple(sorted({*indexed, *labels})),
        resource=resource,
        foreign_gpus=status.foreign_gpus if measured else 0,
        selects=_selects(labels, status, product),
        source=status.source or ("" if status.nodes else Source.GPU_POOL.value),
        free_nodes=tuple(_free_nodes(row) for row in status.nodes_by_free_gpus) if measured else (),
        free_is_known=status.free_is_known or not measured,
        max_nodes=spec.max_nodes,
    )


def _memory(spec: GPUPoolSpec, status: GPUPoolStatus, product: str) -> tuple[int, bool]:
    if spec.usable_memory_bytes is not None:
        return spec.usable_memory_bytes, True
    if status.usable_memory_bytes:
        return status.usable_memory_bytes, status.memory_is_exact
    return usable_by_product(product) if spec.declared else (0, False)


def _selects(labels: dict[str, str], status: GPUPoolStatus, product: str) -> Labels:
    """The labels that steer pods to the pool's nodes: as measured, else as the declared nodes' labels tell, else the product's."""
    if status.node_selector:
        return tuple(sorted(status.node_selector.items()))
    return steering(labels) or ((PRODUCT_LABEL, product),)


def _histogram(status: GPUPoolStatus) -> tuple[tuple[int, int], ...]:
    nodes: dict[int, int] = {}
    for row in status.nodes_by_free_gpus:
        nodes[row.free_gpus] = nodes.get(row.free_gpus, 0) + row.nodes
    return tuple(sorted(nodes.items()))


def _free_nodes(row: NodesByFreeGpus) -> FreeNodes:
    return FreeNodes(
        gpus=row.free_gpus,
        nodes=row.nodes,
        host_memory_bytes=row.host_memory_bytes,
        host_cpu_millis=row.host_cpu_millis,
        ephemeral_storage_bytes=row.ephemeral_storage_bytes,
    )


def _capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    major, _, minor = text.partition(".")
    return int(major), int(minor)
