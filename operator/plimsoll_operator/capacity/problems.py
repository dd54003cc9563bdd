"""Doubts about a node's GPUs, each with a name, a sentence and what it costs: left out of every plan, or only counted.

Raised by the label readers and the index, shown in a GPUPool's problems and condition and by `plimsoll capacity`. Knows no labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Problem(StrEnum):
    """Why a node's GPUs are doubted. The first block excludes them from planning, the second is shown, counted and planned with."""

    VENDOR_UNSUPPORTED = "VendorUnsupported"
    NO_PRODUCT = "NoProduct"
    UNKNOWN_PRODUCT = "UnknownProduct"
    MIXED_PRODUCTS = "MixedProducts"
    BAD_LABEL = "BadLabel"
    MIG_INVALID = "MigInvalid"
    MEMORY_ABSURD = "MemoryAbsurd"
    MEMORY_CONTRADICTS_PRODUCT = "MemoryContradictsProduct"
    MEMORY_UNKNOWN = "MemoryUnknown"
    SHARED_WITHOUT_STRATEGY = "SharedWithoutStrategy"
    NO_ALLOCATABLE = "NoAllocatableGpus"
    COUNT_ABSURD = "CountAbsurd"
    COUNT_UNKNOWN = "CountUnknown"
    SEVERAL_GPU_POOLS = "SeveralGpuPools"
    GPU_POOL_UNREADABLE = "GpuPoolUnreadable"
    # Known, counted, still planned with
    SOURCES_DISAGREE = "SourcesDisagree"
    FEWER_ALLOCATABLE = "FewerAllocatableThanLabelled"
    UNHEALTHY_GPUS = "UnhealthyGpus"
    CORDONED = "Cordoned"
    NOT_READY = "NotReady"
    UNDER_PRESSURE = "UnderPressure"
    LEAVING = "Leaving"
    OVERCOMMITTED = "Overcommitted"

    @property
    def excludes(self) -> bool:
        """True when GPUs with this problem must not be planned with."""
        return self not in _TOLERATED

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return _SENTENCES[self]

    @property
    def to_do(self) -> str:
        """What to do about it, in whole sentences."""
        return _TO_DO[self]


_TOLERATED: Final = frozenset({
    Problem.SOURCES_DISAGREE, Problem.FEWER_ALLOCATABLE, Problem.UNHEALTHY_GPUS, Problem.CORDONED, Problem.NOT_READY,
    Problem.UNDER_PRESSURE, Problem.LEAVING, Problem.OVERCOMMITTED,
})  # fmt: skip

_SENTENCES: Final = {
    Problem.VENDOR_UNSUPPORTED: "GPUs of a vendor whose engine has no memory rules here: shown, never planned with",
    Problem.NO_PRODUCT: "GPUs without a product label",
    Problem.UNKNOWN_PRODUCT: "a cloud's name for a GPU that is not in the shipped table",
    Problem.MIXED_PRODUCTS: "more GPUs than the product label counts: several products on one node, or sharing no label names",
    Problem.BAD_LABEL: "a GPU label that cannot be read",
    Problem.MIG_INVALID: "an invalid mix of MIG slices",
    Problem.MEMORY_ABSURD: "a memory label outside 1 GiB to 2 TiB of MiB: zero, or bytes or GiB taken for MiB",
    Problem.MEMORY_CONTRADICTS_PRODUCT: "a memory label of another card than the product label names",
    Problem.MEMORY_UNKNOWN: "an unknown product without a memory label",
    Problem.SHARED_WITHOUT_STRATEGY: "shared GPUs whose sharing strategy no label names",
    Problem.NO_ALLOCATABLE: "GPU labels without allocatable GPUs: stale labels, no device plugin, or GPUs that DRA hands out by claims",
    Problem.COUNT_ABSURD: "more GPUs than a node can have",
    Problem.COUNT_UNKNOWN: "a name for the GPUs without their number, so that sharing would go unnoticed",
    Problem.SEVERAL_GPU_POOLS: "several GPUPools select one node: none of them is followed",
    Problem.GPU_POOL_UNREADABLE: "a GPUPool that this release cannot read selects the node: it may say that there is less",
    Problem.SOURCES_DISAGREE: "two sources say different things; the more trusted one is followed",
    Problem.FEWER_ALLOCATABLE: "fewer allocatable GPUs than labelled: devices are missing",
    Problem.UNHEALTHY_GPUS: "fewer allocatable GPUs than the node's capacity: devices are unhealthy",
    Problem.CORDONED: "cordoned: nothing is free there",
    Problem.NOT_READY: "not ready: nothing is free there",
    Problem.UNDER_PRESSURE: "under memory, disk or process pressure: nothing is free there",
    Problem.LEAVING: "about to be removed by an autoscaler: nothing is free there",
    Problem.OVERCOMMITTED: "pods hold more than the node offers",
}  # fmt: skip


_TO_DO: Final = {
    Problem.VENDOR_UNSUPPORTED: "Plan on NVIDIA GPUs; nothing is to be corrected here.",
    Problem.NO_PRODUCT: "Run GPU feature discovery, or name the product in a GPUPool that selects the nodes.",
    Problem.UNKNOWN_PRODUCT: "Run GPU feature discovery, or write a GPUPool with product and usableMemoryBytes for these nodes.",
    Problem.MIXED_PRODUCTS: "Keep one product and one kind of sharing on a node, or name both in a GPUPool.",
    Problem.BAD_LABEL: "Correct the label that the problem names, or write a GPUPool for these nodes, which is believed before labels.",
    Problem.MIG_INVALID: "Use one MIG profile for all GPUs of a node (nvidia.com/mig.config), and see what mig-manager logs.",
    Problem.MEMORY_ABSURD: "Write the label nvidia.com/gpu.memory in MiB, or set usableMemoryBytes in a GPUPool.",
    Problem.MEMORY_CONTRADICTS_PRODUCT: "Correct the label that is wrong; `plimsoll nodes --doubted` shows both figures.",
    Problem.MEMORY_UNKNOWN: "Set usableMemoryBytes in a GPUPool: what torch.cuda.mem_get_info reports as total on one GPU.",
    Problem.SHARED_WITHOUT_STRATEGY: "Set sharing and sharingReplicas in a GPUPool, or update GPU feature discovery.",
    Problem.NO_ALLOCATABLE: "See whether the device plugin runs on these nodes, or take their stale labels away.",
    Problem.COUNT_ABSURD: "Correct the count in the device plugin's configuration: time-slicing multiplies what it offers.",
    Problem.COUNT_UNKNOWN: "Run GPU feature discovery, or set gpusPerNode in a GPUPool.",
    Problem.SEVERAL_GPU_POOLS: "Narrow the selectors, so that one GPUPool selects the node.",
    Problem.GPU_POOL_UNREADABLE: "Correct the GPUPool that the problem names, or run the release it was written for.",
    Problem.SOURCES_DISAGREE: "Correct what is less trusted, where it is wrong: docs/capacity.md has the order.",
    Problem.FEWER_ALLOCATABLE: "See which is missing by `nvidia-smi` on the node. The others are planned with.",
    Problem.UNHEALTHY_GPUS: "See the device plugin's log for the Xid of the GPU. The others are planned with.",
    Problem.CORDONED: "Uncordon the node when it may be used again.",
    Problem.NOT_READY: "See why with `kubectl describe node`. It counts again when it is ready.",
    Problem.UNDER_PRESSURE: "Free memory, disk or processes on the node. It counts again when the pressure is gone.",
    Problem.LEAVING: "Wait: an autoscaler takes the node away, and brings another where pods need one.",
    Problem.OVERCOMMITTED: "See the pods on the node: one is bound by hand, or the node has lost GPUs since.",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem and, where a sentence alone does not tell it, the particulars: who says what."""

    problem: Problem
    detail: str = ""


_CLOSED: Final = frozenset({Problem.CORDONED, Problem.NOT_READY, Problem.UNDER_PRESSURE, Problem.LEAVING})


def closed_lines(lines: Iterable[str]) -> Iterator[str]:
    """Of a pool's problems as `CountedFinding.text` writes them those for which nothing is free on a node, without their word."""
    for line in lines:
        word, _, said = line.partition(": ")
        if word in _CLOSED:
            yield said


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedFinding:
    """A finding and the number of a pool's nodes that have it."""

    problem: Problem
    detail: str
    nodes: int

    def text(self, of: int) -> str:
        """One line: name, sentence or particulars, and how many of the pool's `of` nodes."""
        return f"{self.problem}: {self.detail or self.problem.sentence} ({self.nodes} of {of} node{'s' * (of != 1)})"
