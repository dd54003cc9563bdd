"""A Kubernetes Node as planning sees it: parsed once from the API's mapping into a frozen value.

Called by the index on every node event. Accepts any mapping: what cannot be read is absent or a named problem, never an
exception. Knows no pods and no pools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from plimsoll_operator.capacity.quantities import floor_quantity
from plimsoll_operator.capacity.sources import GpuGroup, Problem, gpu_groups

MAX_LABELS: Final = 512
MAX_TAINTS: Final = 32
_LABEL_KEY: Final = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_NOT_A_VALUE: Final = re.compile(r"[^-A-Za-z0-9_.]")
_GPU_PREFIXES: Final = ("nvidia.com/", "amd.com/")
# Set and lifted by Kubernetes itself with a node's health: they say nothing about which pods the node is meant for.
_TRANSIENT_TAINTS: Final = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "ToBeDeletedByClusterAutoscaler")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One node. Host figures are allocatable. `accepts_pods` is false while it is cordoned or not ready."""

    name: str
    groups: tuple[GpuGroup, ...]
    labels: Mapping[str, str]
    taints: tuple[tuple[str, str, str], ...]
    accepts_pods: bool
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
    condition = _condition(spec, status)
    counts = {
        key: floor_quantity(value)
        for key, value in allocatable.items()
        if isinstance(key, str) and len(key) <= 128 and key.startswith(_GPU_PREFIXES)
    }
    return NodeFacts(
        name=name,
        groups=_groups(_gpu_labels(labels), tuple(sorted((k, v) for k, v in counts.items() if v > 0))),
        labels=labels,
        taints=_taints(spec.get("taints")),
        accepts_pods=condition is None,
        condition=condition,
        host_memory_bytes=floor_quantity(allocatable.get("memory")),
        host_cpu_millis=floor_quantity(allocatable.get("cpu"), scale=1000),
        ephemeral_storage_bytes=floor_quantity(allocatable.get("ephemeral-storage")),
        max_pods=floor_quantity(allocatable.get("pods")),
    )


@lru_cache(maxsize=1024)
def _groups(labels: tuple[tuple[str, str], ...], counts: tuple[tuple[str, int], ...]) -> tuple[GpuGroup, ...]:
    """Nodes of one kind share their GPU labels, so a heartbeat of any of them costs a look-up."""
    return gpu_groups(dict(labels), dict(counts))


def _gpu_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in labels.items() if k.startswith(("nvidia.com/gpu", "nvidia.com/mig", "amd.com/gpu.product"))))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    kept: dict[str, str] = {}
    for key, text in value.items():
        if isinstance(key, str) and isinstance(text, str) and len(key) <= 317 and len(text) <= 253:
            kept[key] = text
            if len(kept) == MAX_LABELS:
                break
    return kept


def _taints(value: object) -> tuple[tuple[str, str, str], ...]:
    if not isinstance(value, list):
        return ()
    taints = set()
    for taint in value[:64]:
        entry = _mapping(taint)
        key, text, effect = entry.get("key"), entry.get("value") or "", entry.get("effect")
        if not (isinstance(key, str) and isinstance(text, str) and isinstance(effect, str)):
            continue
        if effect in ("NoSchedule", "NoExecute") and not key.startswith(_TRANSIENT_TAINTS):
            taints.add((_key(key), _NOT_A_VALUE.sub("_", text[:63]).strip("-_."), effect))
    return tuple(sorted(taints)[:MAX_TAINTS])


def _key(key: str) -> str:
    """As written where it is a label key; otherwise mended, so that a hostile file still makes a readable pool."""
    return key if len(key) <= 317 and _LABEL_KEY.fullmatch(key) else "invalid/" + (_NOT_A_VALUE.sub("_", key[:60]).strip("-_.") or "taint")


def _condition(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Problem | None:
    """Cordoned or not ready, as the scheduler would see it; a node without a Ready condition is not ready."""
    if spec.get("unschedulable") is True:
        return Problem.CORDONED
    conditions = status.get("conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        entry = _mapping(condition)
        if entry.get("type") == "Ready":
            return None if entry.get("status") == "True" else Problem.NOT_READY
    return Problem.NOT_READY
