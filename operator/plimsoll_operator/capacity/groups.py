"""Values that all label readers produce: a statement of one source about a node's GPUs, and groups of alike GPUs with their doubts.

Made by `nvidia`, `amd` and `clouds`, chosen between by `sources`. Holds the written order of trust. Knows no labels and no pods.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from plimsoll_operator.capacity.problems import Finding

Sharing = Literal["none", "time-slicing", "mps", "mig"]
Labels = tuple[tuple[str, str], ...]

MAX_GPUS_PER_NODE: Final = 128
MAX_REPLICAS: Final = 256
MAX_MEMORY_MIB: Final = 2 << 20
MIN_MEMORY_MIB: Final = 1 << 10


class Source(StrEnum):
    """Who says what a node's GPUs are. The order of the members is the order of trust, the most trusted first.

    A GPUPool is an administrator's word. Feature discovery and AMD's labeller ask the driver on the node. Clouds label what was
    ordered, by names and nominal sizes of their own; an instance type says it only by way of a shipped table. The two after it have
    types that no table has, and on other clouds people write labels of the same names by hand.
    """

    GPU_POOL = "GPUPool"
    FEATURE_DISCOVERY = "GpuFeatureDiscovery"
    AMD_LABELLER = "AmdNodeLabeller"
    GKE = "GkeLabels"
    KARPENTER = "KarpenterLabels"
    EKS_AUTO_MODE = "EksAutoModeLabels"
    AZURE_KARPENTER = "AzureKarpenterLabels"
    AKS = "AksLabels"
    INSTANCE_TYPE = "InstanceType"
    ALIBABA = "AlibabaLabels"
    COREWEAVE = "CoreWeaveLabels"
    NONE = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one source says of a node's whole GPUs.

    `products` are the labels the GPU may have, the usual one first; empty when the source names only a vendor or an unknown card
    (`unknown` holds its name). `count` is of physical GPUs. `nominal_mib` is the card's advertised memory, which CUDA never has.
    `partition` is a MIG profile that all GPUs are cut into. `selects` are the labels by which a pod finds such nodes.
    """

    source: Source
    vendor: str
    products: tuple[str, ...] = ()
    unknown: str = ""
    count: int | None = None
    nominal_mib: int | None = None
    sharing: Sharing = "none"
    replicas: int = 1
    partition: str = ""
    selects: Labels = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuGroup:
    """Alike GPUs of one node. `usable_memory_bytes` is of one unit of `resource` (0 = not known).

    `units` is what the node calls allocatable, `schedulable` what of it is believed. `selects` are the node labels by which pods are
    steered to such GPUs.
    """

    resource: str
    product: str
    usable_memory_bytes: int
    memory_is_exact: bool
    units: int
    schedulable: int
    sharing: Sharing
    sharing_replicas: int
    compute_capability: tuple[int, int] | None
    source: Source
    selects: Labels
    findings: tuple[Finding, ...]

    @property
    def trusted(self) -> bool:
        """False when any problem excludes the group."""
        return not any(finding.problem.excludes for finding in self.findings)
