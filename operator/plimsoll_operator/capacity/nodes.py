"""A Kubernetes Node as planning sees it: parsed once from the API's mapping into a frozen value.

Called by the index on every node event. Accepts any mapping: what cannot be read is absent or a named problem, never an
exception. Knows no pods and no pools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from plimsoll_operator.api import is_key
from plimsoll_operator.capacity.groups import GpuGroup
from plimsoll_operator.capacity.labels import GPU_RESOURCE_PREFIXES, READ_PREFIXES
from plimsoll_operator.capacity.problems import Problem
from plimsoll_operator.capacity.quantities import floor_quantity
from plimsoll_operator.capacity.sources import gpu_groups

MAX_LABELS: Final = 512
MAX_TAINTS: Final = 32
# What a GPUPool's status can say: a node that says more counts for this much.
MAX_HOST_BYTES: Final = 1 << 50
MAX_CPU_MILLIS: Final = 1 << 31
_NOT_A_VALUE: Final = re.compile(r"[^-A-Za-z0-9_.]")
# Set and lifted by Kubernetes and autoscalers with a node's state: they say nothing about which pods the node is meant for, only
# whether it takes any now. The first match says why.
_TRANSIENT_TAINTS: Final[tuple[tuple[str, Problem], ...]] = (
    ("node.kubernetes.io/unschedulable", Problem.CORDONED),
    ("node.kubernetes.io/memory-pressure", Problem.UNDER_PRESSURE),
    ("node.kubernetes.io/disk-pressure", Problem.UNDER_PRESSURE),
    ("node.kubernetes.io/pid-pressure", Problem.UNDER_PRESSURE),
    ("node.kubernetes.io/", Problem.NOT_READY),
    ("node.cloudprovider.kubernetes.io/shutdown", Problem.LEAVING),
    ("node.cloudprovider.kubernetes.io/", Problem.NOT_READY),
    ("ToBeDeletedByClusterAutoscaler", Problem.LEAVING),
    ("karpenter.sh/disrupted", Problem.LEAVING),
    ("karpenter.sh/disruption", Problem.LEAVING),
    ("karpenter.sh/unregistered", Problem.NOT_READY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One node. Host figures are allocatable, 0 where the node does not say. `condition` is why it takes no pod now, None where it does.

    `max_pods` is how many pods its kubelet runs.
    """

    name: str
    groups: tuple[GpuGroup, ...]
    labels: Mapping[str, str]
    taints: tuple[tuple[str, str, str], ...]
    condition: Problem | None
    host_memory_bytes: int
    host_cpu_millis: int
    ephemeral_storage_bytes: int
    max_pods: int


def parse_node(node: Mapping[str, Any]) -> NodeFacts | None:
    """The node's facts; None when it has no usable name. Never raises on hostile content."""
    metadata, spec, status = (_mapping(node.get(key)) for key in ("metadata", "spec", "status"))
    name = metadata.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 253:
        return None
    labels = _labels(metadata.get("labels"))
    allocatable = _mapping(status.get("allocatable"))
    units, whole = _gpu_counts(allocatable), _gpu_counts(_mapping(status.get("capacity")))
    taints, transient = _taints(spec.get("taints"))
    return NodeFacts(
        name=name,
        groups=_groups(_gpu_labels(labels), units, whole),
        labels=labels,
        taints=taints,
        condition=_condition(metadata, spec, status) or transient,
        host_memory_bytes=min(floor_quantity(allocatable.get("memory")), MAX_HOST_BYTES),
        host_cpu_millis=min(floor_quantity(allocatable.get("cpu"), scale=1000), MAX_CPU_MILLIS),
        ephemeral_storage_bytes=min(floor_quantity(allocatable.get("ephemeral-storage")), MAX_HOST_BYTES),
        max_pods=floor_quantity(allocatable.get("pods")),
    )


def _gpu_counts(resources: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    counts = {
        key: floor_quantity(value)
        for key, value in resources.items()
        if isinstance(key, str) and len(key) <= 128 and key.startswith(GPU_RESOURCE_PREFIXES)
    }
    return tuple(sorted((key, count) for key, count in counts.items() if count > 0))


@lru_cache(maxsize=1024)
def _groups(
    labels: tuple[tuple[str, str], ...], units: tuple[tuple[str, int], ...], whole: tuple[tuple[str, int], ...]
) -> tuple[GpuGroup, ...]:
    """Nodes of one kind share their GPU labels, so a heartbeat of any of them costs a look-up."""
    return gpu_groups(dict(labels), dict(units), dict(whole))


def _gpu_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in labels.items() if key.startswith(READ_PREFIXES)))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {
        key: text
        for key, text in islice(value.items(), MAX_LABELS)
        if isinstance(key, str) and isinstance(text, str) and len(key) <= 317 and len(text) <= 253
    }


def _taints(value: object) -> tuple[tuple[tuple[str, str, str], ...], Problem | None]:
    """Taints that say which pods the node is meant for, and the first transient one that keeps every pod away now."""
    if not isinstance(value, list):
        return (), None
    taints = set()
    transient: Problem | None = None
    for taint in value[:64]:
        entry = _mapping(taint)
        key, text, effect = entry.get("key"), entry.get("value") or "", entry.get("effect")
        if not (isinstance(key, str) and isinstance(text, str) and isinstance(effect, str)) or effect not in ("NoSchedule", "NoExecute"):
            continue
        passing = next((problem for prefix, problem in _TRANSIENT_TAINTS if key.startswith(prefix)), None)
        if passing is None:
            taints.add((_key(key), _NOT_A_VALUE.sub("_", text[:63]).strip("-_."), effect))
        else:
            transient = transient or passing
    return tuple(sorted(taints)[:MAX_TAINTS]), transient


def _key(key: str) -> str:
    """As written where it is a label key; otherwise mended, so that a hostile file still makes a readable pool."""
    return key if len(key) <= 317 and is_key(key) else "invalid/" + (_NOT_A_VALUE.sub("_", key[:60]).strip("-_.") or "taint")


def _condition(metadata: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]) -> Problem | None:
    """Cordoned, going or not ready, as the scheduler would see it; a node without a Ready condition is not ready."""
    if spec.get("unschedulable") is True:
        return Problem.CORDONED
    if metadata.get("deletionTimestamp") is not None:
        return Problem.LEAVING
    conditions = status.get("conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        entry = _mapping(condition)
        if entry.get("type") == "Ready":
            return None if entry.get("status") == "True" else Problem.NOT_READY
    return Problem.NOT_READY
