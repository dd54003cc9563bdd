"""Counts of nodes that belong together: how many, how free, with which problems; each node added and taken back exactly.

Used by the index for pools and for what a GPUPool's selector selects. The rows of free nodes are kept in steps of the host's size,
so that a pool has a bounded number of them however its pods were sized. Knows no nodes, only what each counts for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from plimsoll_operator.capacity.problems import CountedFinding, Finding
from plimsoll_operator.facts import FreeNodes

STEPS: Final = 64
FEW_ROWS: Final = 64
MAX_ROWS: Final = 256
_K = TypeVar("_K")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Host memory (bytes), CPU (thousandths) and ephemeral storage (bytes) of a node; 0 is not known."""

    memory_bytes: int
    cpu_millis: int
    storage_bytes: int


class Free(NamedTuple):
    """What one node counts for: free GPUs, and of each host figure the free steps of STEPS, rounded down."""

    gpus: int
    memory_steps: int
    cpu_steps: int
    storage_steps: int

    @property
    def triple(self) -> tuple[int, int, int]:
        """The three host figures in steps."""
        return self.memory_steps, self.cpu_steps, self.storage_steps


class Tally:
    """Nodes by what is free on them, and by finding."""

    __slots__ = ("_findings", "_free", "_rows", "foreign_gpus", "nodes")

    def __init__(self) -> None:
        self.nodes = 0
        self.foreign_gpus = 0
        self._free: Counter[Free] = Counter()
        self._findings: Counter[Finding] = Counter()
        self._rows: tuple[Host, tuple[FreeNodes, ...]] | None = None

    def add(self, free: Free, findings: tuple[Finding, ...], sign: int, *, foreign: int = 0) -> None:
        """Count one node, `foreign` of whose GPUs are held by others' pods, or with sign -1 take it back."""
        self.nodes += sign
        self.foreign_gpus += sign * foreign
        bump(self._free, free, sign)
        for finding in findings:
            bump(self._findings, finding, sign)
        self._rows = None

    def copy(self) -> Tally:
        """Another one that counts the same, to be changed apart."""
        other = Tally()
        other.nodes, other.foreign_gpus, other._rows = self.nodes, self.foreign_gpus, self._rows
        other._free, other._findings = self._free.copy(), self._findings.copy()
        return other

    @property
    def free_gpus(self) -> int:
        """Free GPUs of all nodes."""
        return sum(free.gpus * nodes for free, nodes in self._free.items())

    def problems(self) -> tuple[CountedFinding, ...]:
        """Findings with the number of nodes that have them: what excludes first, then the most frequent, then by name."""
        counted = [CountedFinding(problem=row.problem, detail=row.detail, nodes=nodes) for row, nodes in self._findings.items()]
        return tuple(sorted(counted, key=lambda row: (not row.problem.excludes, -row.nodes, row.problem, row.detail)))

    def rows(self, host: Host) -> tuple[FreeNodes, ...]:
        """At most MAX_ROWS rows of free nodes with at least so much of the host; remembered until a node changes.

        Above FEW_ROWS the host's figures are made coarser, above MAX_ROWS those of the GPUs too; always downward.
        """
        if self._rows is None or self._rows[0] != host:
            self._rows = host, self._counted(host)
        return self._rows[1]

    def _counted(self, host: Host) -> tuple[FreeNodes, ...]:
        counted = self._free
        coarse = 2
        while len(counted) > FEW_ROWS and coarse <= STEPS:
            counted = self._coarser(1, coarse)
            coarse *= 2
        gpus = 1
        while len(counted) > MAX_ROWS:
            counted = self._coarser(gpus, 2 * STEPS)
            gpus *= 2
        rows = (
            FreeNodes(
                gpus=free.gpus,
                nodes=nodes,
                host_memory_bytes=_amount(free.memory_steps, host.memory_bytes),
                host_cpu_millis=_amount(free.cpu_steps, host.cpu_millis),
                ephemeral_storage_bytes=_amount(free.storage_steps, host.storage_bytes),
            )
            for free, nodes in counted.items()
        )
        return tuple(sorted(rows, key=lambda r: (r.gpus, r.host_memory_bytes or 0, r.host_cpu_millis or 0, r.ephemeral_storage_bytes or 0)))

    def _coarser(self, gpus: int, steps: int) -> Counter[Free]:
        """The same nodes with GPUs and steps rounded down to multiples of these."""
        counted: Counter[Free] = Counter()
        for free, nodes in self._free.items():
            memory, cpu, storage = (value // steps * steps for value in free.triple)
            counted[Free(gpus=free.gpus // gpus * gpus, memory_steps=memory, cpu_steps=cpu, storage_steps=storage)] += nodes
        return counted


def free_steps(whole: int, free: int) -> int:
    """Of STEPS equal parts of `whole`, how many are free, rounded down; all of them where the whole is not known."""
    return STEPS if whole <= 0 else max(0, min(STEPS, free * STEPS // whole))


def _amount(steps: int, whole: int) -> int | None:
    return None if whole <= 0 else whole * steps // STEPS


def bump(counter: Counter[_K], key: _K, by: int) -> None:
    """Add to a counter and drop what is zero."""
    value = counter[key] + by
    if value == 0:
        counter.pop(key, None)
    else:
        counter[key] = value
