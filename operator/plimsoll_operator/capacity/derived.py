"""Values the index hands out: pools of alike GPUs and what GPUPools' selectors select, at one moment; and how a pool gets its name.

Read by `pools`, which writes them as GPUPool objects, and by the controller's ledger. Knows no nodes and no API objects.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from typing import Final

from plimsoll_operator.capacity.booking import by_gpus
from plimsoll_operator.capacity.groups import Labels, Sharing, Source
from plimsoll_operator.capacity.problems import CountedFinding, Finding, Problem
from plimsoll_operator.capacity.tally import Host
from plimsoll_operator.facts import FreeNodes


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    """What makes GPUs alike for planning. Host figures are rounded down to steps, so a node joins or founds a pool, never shrinks one."""

    resource: str
    product: str
    usable_memory_bytes: int
    memory_is_exact: bool
    gpus_per_node: int
    sharing: Sharing
    sharing_replicas: int
    compute_capability: tuple[int, int] | None
    source: Source
    selects: Labels
    corrected_by: str
    cost: int | None
    taints: tuple[tuple[str, str, str], ...]
    labels: Labels
    host_memory_bytes: int
    host_cpu_millis: int
    ephemeral_storage_bytes: int
    excluded_for: tuple[Problem, ...]

    @property
    def host(self) -> Host:
        """The host figures together."""
        return Host(memory_bytes=self.host_memory_bytes, cpu_millis=self.host_cpu_millis, storage_bytes=self.ephemeral_storage_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedPool:
    """One pool at one moment. What is free is net of pods and bookings, and empty where it is not known; `problems` counts nodes.

    `foreign_gpus` are held by pods that no InferenceDeployment has planned.
    """

    name: str
    key: PoolKey
    nodes: int
    gpus: int
    free_gpus: int
    booked_gpus: int
    foreign_gpus: int
    free_nodes: tuple[FreeNodes, ...]
    problems: tuple[CountedFinding, ...]
    indexed_label_keys: tuple[str, ...]
    free_is_known: bool

    @property
    def nodes_by_problem(self) -> tuple[tuple[str, int], ...]:
        """Nodes by the name of a problem, whatever its particulars."""
        nodes: dict[str, int] = {}
        for row in self.problems:
            nodes[row.problem.value] = nodes.get(row.problem.value, 0) + row.nodes
        return tuple(sorted(nodes.items()))

    @property
    def nodes_by_free_gpus(self) -> tuple[tuple[int, int], ...]:
        """Nodes by free GPUs alone."""
        return by_gpus(self.free_nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the selector of one GPUPool selects at one moment: nodes, their GPUs, what is free, and what is doubted."""

    name: str
    nodes: int
    gpus: int
    free_gpus: int
    free_is_known: bool
    problems: tuple[CountedFinding, ...]

    @property
    def trusted(self) -> bool:
        """False when any selected node is kept out of every plan."""
        return not any(row.problem.excludes for row in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGpus:
    """Alike GPUs of one node, the pool that they are counted in, and everything that is doubted of them, for people."""

    node: str
    pool: str
    key: PoolKey
    findings: tuple[Finding, ...]

    @property
    def trusted(self) -> bool:
        """False when they are kept out of every plan."""
        return not any(finding.problem.excludes for finding in self.findings)


_DEFAULTS: Final = {"source": Source.FEATURE_DISCOVERY, "corrected_by": "", "cost": None}


def pool_name(key: PoolKey) -> str:
    """A DNS label from product and GPUs per node, with a digest of the whole key so that different pools never share a name."""
    slug = re.sub(r"[^a-z0-9]+", "-", (key.product or "unknown").lower()).strip("-")[:40].rstrip("-") or "unknown"
    values = ((field.name, getattr(key, field.name)) for field in fields(key))
    # What is at its usual value is left out: a later version that tells nodes apart by one thing more renames no other pool.
    telling = [(name, value) for name, value in values if name not in _DEFAULTS or _DEFAULTS[name] != value]
    digest = hashlib.sha256(repr(telling).encode()).hexdigest()[:6]
    return f"{slug}-x{key.gpus_per_node}-{digest}"
