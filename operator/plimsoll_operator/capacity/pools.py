"""GPUPool objects as they are written: of derived pools, and of what the selectors of users' own pools select.

What the controller applies and the CLI prints; `offers` reads them. Knows no nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from plimsoll_estimator import format_gib
from plimsoll_operator.api.base import saturated
from plimsoll_operator.api.pool import GPUPoolSpec, GPUPoolStatus
from plimsoll_operator.capacity.bounds import within_bounds
from plimsoll_operator.capacity.derived import DerivedPool, Selection
from plimsoll_operator.capacity.groups import Source
from plimsoll_operator.capacity.memory import usable_by_product
from plimsoll_operator.capacity.problems import CountedFinding
from plimsoll_operator.names import API_VERSION, INDEXED_ANNOTATION, RESOURCE_ANNOTATION
from plimsoll_operator.reasons import Why

MAX_PROBLEMS: Final = 16
MAX_LABEL_KEYS: Final = 16
"""By which pools are split at most, with the product's, which is always one of them."""
_MAX_PROBLEM: Final = 1024
_OR_DECLARE: Final = "or set declared: true with product, gpusPerNode and maxNodes where an autoscaler brings the nodes"
_SELECTS_NOTHING: Final = (
    f"no node with GPUs has the labels of its selector: correct spec.selector (kubectl get nodes --show-labels), {_OR_DECLARE}"
)
_NAMES_NOTHING: Final = (
    "it has no selector and no nodes are of a pool of its name, so it speaks of none: give it a spec.selector with labels of nodes, "
    f"the name of a pool that `kubectl get gpool` lists, {_OR_DECLARE}"
)


def pool_manifest(pool: DerivedPool) -> dict[str, Any]:
    """The GPUPool object of a derived pool, with its status; deterministic, and free of time."""
    pool = within_bounds(pool)
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
        "foreignGpus": pool.foreign_gpus,
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
        "status": {name: value for name, value in status.items() if value is not None},
    }


def selection_status(selection: Selection, spec: GPUPoolSpec) -> dict[str, Any]:
    """The status of a GPUPool whose selector selects these nodes: what it speaks for, and what was seen and overruled."""
    if not selection.nodes:
        return status_without_nodes(spec)
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


def status_without_nodes(spec: GPUPoolSpec) -> dict[str, Any]:
    """The status of a GPUPool of a user's own of which there is no node: what is declared, or why it speaks of nothing and what to do.

    It says nothing that the spec does not: whoever reads spec and status decides as who reads the spec alone.
    """
    memory = spec.usable_memory_bytes or (usable_by_product(spec.product)[0] if spec.declared and spec.product else 0)
    status: dict[str, Any] = {
        "product": spec.product,
        "memory": format_gib(memory) if memory else None,
        "source": Source.GPU_POOL.value,
        "nodes": 0,
        "totalGpus": 0,
        "freeGpus": 0,
        "trusted": spec.declared,
        "problems": [] if spec.declared else [f"{Why.NO_NODES}: {_SELECTS_NOTHING if spec.selector else _NAMES_NOTHING}"],
    }
    return {name: value for name, value in status.items() if value is not None}


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
    shown = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return {"nodesByFreeGpus": shown, "freeGpus": pool.free_gpus, "freeIsKnown": True}
