"""Where one group of a node is counted: which pool it is of, and what of it is free beside the node's pods.

Worked out by the index for each node that changes. Pure; knows one node and the GPUPools that select it, no other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.capacity.corrections import Correction, corrected
from plimsoll_operator.capacity.derived import PoolKey
from plimsoll_operator.capacity.groups import GpuGroup
from plimsoll_operator.capacity.nodes import NodeFacts
from plimsoll_operator.capacity.pods import BoundPod
from plimsoll_operator.capacity.problems import Finding, Problem
from plimsoll_operator.capacity.tally import Free, bump, free_steps
from plimsoll_operator.names import MIG_RESOURCE_PREFIX

_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one group of a node is, whatever its pods hold: worked out when the node changes, and good for every pod event after that.

    `counts`: what is free of it is free for pods. `selected_by` names GPUPools.
    """

    key: PoolKey
    counts: bool
    findings: tuple[Finding, ...]
    selected_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where one group of a node is counted, so that it can be taken back exactly."""

    place: Place
    free: Free
    foreign: int
    findings: tuple[Finding, ...]


class Used:
    """What the pods of one node hold."""

    __slots__ = ("cpu_millis", "foreign", "gpus", "memory_bytes", "pods", "storage_bytes")

    def __init__(self) -> None:
        self.gpus: Counter[str] = Counter()
        self.foreign: Counter[str] = Counter()
        self.pods = self.memory_bytes = self.cpu_millis = self.storage_bytes = 0

    def add(self, pod: BoundPod, sign: int) -> None:
        """Count one pod, or with sign -1 take it back."""
        for resource, units in pod.gpus:
            bump(self.gpus, resource, sign * units)
            if not pod.planned:
                bump(self.foreign, resource, sign * units)
        self.pods += sign
        self.memory_bytes += sign * pod.host_memory_bytes
        self.cpu_millis += sign * pod.host_cpu_millis
        self.storage_bytes += sign * pod.ephemeral_storage_bytes

    def without(self, pods: Iterable[BoundPod]) -> Used:
        """What the others of its pods hold."""
        rest = copy(self)
        rest.gpus, rest.foreign = self.gpus.copy(), self.foreign.copy()
        for pod in pods:
            rest.add(pod, -1)
        return rest


NOTHING: Final = Used()


def place_of(node: NodeFacts, group: GpuGroup, label_keys: tuple[str, ...], selecting: tuple[Correction, ...]) -> Place:
    """A group of a node as these GPUPools correct it, in a pool of its like."""
    by = selecting[0] if len(selecting) == 1 and not selecting[0].unreadable and _is_meant(node, group) else None
    if by is not None:
        group = corrected(group, by)
    findings = list(group.findings)
    if len(selecting) > 1:
        names = ", ".join(row.name for row in selecting[:4])
        findings.append(Finding(problem=Problem.SEVERAL_GPU_POOLS, detail=f"selected by GPUPools {names}: none of them is followed"))
    findings += [Finding(problem=Problem.GPU_POOL_UNREADABLE, detail=row.unreadable) for row in selecting if row.unreadable]
    if node.condition is not None:
        findings.append(Finding(problem=node.condition))
    excluded = tuple(sorted({finding.problem for finding in findings if finding.problem.excludes}))
    key = PoolKey(
        resource=group.resource,
        product=group.product,
        usable_memory_bytes=group.usable_memory_bytes,
        memory_is_exact=group.memory_is_exact,
        gpus_per_node=group.schedulable,
        sharing=group.sharing,
        sharing_replicas=group.sharing_replicas,
        compute_capability=group.compute_capability,
        source=group.source,
        selects=group.selects,
        corrected_by=by.name if by is not None else "",
        cost=by.cost if by is not None else None,
        taints=node.taints,
        labels=tuple((label, node.labels[label]) for label in label_keys if _VALUE.fullmatch(node.labels.get(label, "-"))),
        host_memory_bytes=_step_down(node.host_memory_bytes),
        host_cpu_millis=_step_down(node.host_cpu_millis),
        ephemeral_storage_bytes=_step_down(node.ephemeral_storage_bytes),
        excluded_for=excluded,
    )
    return Place(
        key=key,
        # GPUs that only lack an engine's rules are shown as free; what is not believed is not.
        counts=node.condition is None and set(excluded) <= {Problem.VENDOR_UNSUPPORTED},
        findings=tuple(findings),
        selected_by=tuple(row.name for row in selecting),
    )


def seat_of(node: NodeFacts, place: Place, used: Used) -> Seat:
    """What is free of the group beside what the pods of its node hold."""
    key, findings = place.key, place.findings
    held = used.gpus.get(key.resource, 0)
    if not key.excluded_for and (held > key.gpus_per_node or _overcommitted(node, used)):
        findings = (*findings, Finding(problem=Problem.OVERCOMMITTED))
    full = node.max_pods > 0 and used.pods >= node.max_pods
    free = Free(
        gpus=max(0, key.gpus_per_node - held) if place.counts and not full else 0,
        memory_steps=free_steps(key.host_memory_bytes, node.host_memory_bytes - used.memory_bytes),
        cpu_steps=free_steps(key.host_cpu_millis, node.host_cpu_millis - used.cpu_millis),
        storage_steps=free_steps(key.ephemeral_storage_bytes, node.ephemeral_storage_bytes - used.storage_bytes),
    )
    # Whoever may bind a pod by hand may ask for any number in it; of a node it holds at most what the node has.
    foreign = min(used.foreign.get(key.resource, 0), key.gpus_per_node)
    return Seat(place=place, free=free, foreign=foreign, findings=findings)


def _is_meant(node: NodeFacts, group: GpuGroup) -> bool:
    """A GPUPool speaks of the whole GPUs, or of the only group there is."""
    return len(node.groups) == 1 or not group.resource.startswith(MIG_RESOURCE_PREFIX)


def _overcommitted(node: NodeFacts, used: Used) -> bool:
    pairs = (
        (node.host_memory_bytes, used.memory_bytes),
        (node.host_cpu_millis, used.cpu_millis),
        (node.ephemeral_storage_bytes, used.storage_bytes),
    )
    return any(0 < whole < held for whole, held in pairs)


def _step_down(value: int) -> int:
    """Rounded down by at most 1/16, so that nodes of one machine type, which differ by some MiB, share a pool."""
    step = 1 << max(0, value.bit_length() - 5)
    return value // step * step
