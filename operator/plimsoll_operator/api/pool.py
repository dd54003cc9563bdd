"""GPUPool: nodes whose GPUs are alike for planning. Users correct or declare in spec, the controller measures in status.

Read by `gather`; written by the capacity part of the controller. Knows no labels of any vendor.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from plimsoll_operator.api.base import (
    GPU_RESOURCES,
    ApiModel,
    ByteQuantity,
    Bytes,
    Conditions,
    Count,
    CpuText,
    LabelMap,
    ObjectMeta,
    ProductName,
    Rule,
    ShortText,
    StatusModel,
    Taint,
    keys_rule,
)
from plimsoll_operator.names import API_VERSION

Sharing = Literal["none", "time-slicing", "mps", "mig"]
ResourceName = Annotated[str, Field(max_length=64, pattern=GPU_RESOURCES)]
Capability = Annotated[str, Field(max_length=8, pattern=r"^[0-9]{1,2}[.][0-9]$")]


class DeclaredNode(ApiModel):
    """One node of a declared pool: what its pods would find."""

    host_memory_bytes: ByteQuantity | None = None
    """Allocatable host memory."""
    cpu: CpuText | None = None
    """Allocatable CPU."""
    ephemeral_storage_bytes: ByteQuantity | None = None
    """Allocatable ephemeral storage."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels of the nodes."""
    taints: Annotated[tuple[Taint, ...], Field(max_length=16)] = ()
    """Taints of the nodes."""

    RULES: ClassVar[tuple[Rule, ...]] = (keys_rule("labels", lambda n: n.labels),)


class GPUPoolSpec(ApiModel):
    """What users correct, or declare where there is no node yet."""

    selector: LabelMap = Field(default_factory=dict)
    """Labels of the nodes this corrects, or that count against maxNodes; empty for the pool that the controller derived itself."""
    product: ProductName | None = None
    """GPU product, as feature discovery names it, for example NVIDIA-L4; `plimsoll gpus` lists them."""
    usable_memory_bytes: ByteQuantity | None = None
    """Memory of one GPU that may be used: of a product that is not in the shipped table, all that CUDA reports."""
    gpus_per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    """GPUs of one node; of nodes that exist never more than are allocatable."""
    resource: ResourceName | None = None
    """What pods of a declared pool ask for; absent means nvidia.com/gpu."""
    compute_capability: Capability | None = None
    """CUDA compute capability, for example 9.0."""
    sharing: Sharing | None = None
    """How the GPUs are shared. Absent: as the nodes' labels or the product's MIG profile say."""
    sharing_replicas: Annotated[int, Field(ge=1, le=256)] | None = None
    """Replicas of one shared GPU."""
    declared: bool = False
    """There may be no node now: an autoscaler brings them."""
    max_nodes: Annotated[int, Field(ge=0, le=100000)] | None = None
    """Most nodes an autoscaler brings; those that the selector finds count."""
    node: DeclaredNode | None = None
    """What one node of a declared pool looks like."""
    cost: Annotated[int, Field(ge=0, le=1 << 60)] | None = None
    """Relative cost of one GPU; absent means its usable bytes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        keys_rule("selector", lambda s: s.selector),
        Rule(
            cel="!self.declared || (has(self.product) && has(self.gpusPerNode) && has(self.maxNodes))",
            holds=lambda s: not s.declared or None not in (s.product, s.gpus_per_node, s.max_nodes),
            message="a declared pool needs product, gpusPerNode and maxNodes",
            field=".declared",
        ),
        Rule(
            cel="!has(self.resource) || self.declared",
            holds=lambda s: s.resource is None or s.declared,
            message="is what nodes have: it can only be declared, not corrected",
            field=".resource",
        ),
    )


class NodesByFreeGpus(StatusModel):
    """How many nodes have how many free GPUs, and at least so much of their host free; several rows may have the same GPUs."""

    free_gpus: Count
    """Free GPUs of a node."""
    nodes: Count
    """Nodes that have them."""
    host_memory_bytes: Bytes | None = None
    """Free host memory of each, at least."""
    host_cpu_millis: Count | None = None
    """Free CPU of each in thousandths, at least."""
    ephemeral_storage_bytes: Bytes | None = None
    """Free ephemeral storage of each, at least."""


class GPUPoolStatus(StatusModel):
    """What the nodes really offer."""

    product: ShortText | None = None
    """GPU product."""
    usable_memory_bytes: Bytes | None = None
    """Memory of one GPU as CUDA reports it, the minimum over the nodes."""
    memory_is_exact: bool = False
    """The figure was measured, not bounded from below."""
    memory: ShortText | None = None
    """usableMemoryBytes, for people."""
    gpus_per_node: Count | None = None
    """GPUs of one node."""
    compute_capability: Capability | None = None
    """CUDA compute capability."""
    sharing: Sharing = "none"
    """How the GPUs are shared."""
    sharing_replicas: Count = 1
    """Replicas of one shared GPU."""
    resource: ShortText | None = None
    """What pods ask for to get one of the GPUs."""
    source: ShortText | None = None
    """Who says what the GPUs are: GPUPool, GpuFeatureDiscovery, AmdNodeLabeller, a cloud's labels or InstanceType."""
    corrected_by: ShortText | None = None
    """The GPUPool whose selector corrects these nodes."""
    cost: Annotated[int, Field(ge=0, le=1 << 60)] | None = None
    """Relative cost of one GPU, from the GPUPool that corrects these nodes."""
    nodes: Count = 0
    """Nodes."""
    nodes_by_free_gpus: Annotated[tuple[NodesByFreeGpus, ...], Field(max_length=257)] = ()
    """Nodes by number of free GPUs."""
    total_gpus: Count = 0
    """GPUs of all nodes."""
    free_is_known: bool = True
    """False where pods of other namespaces cannot be seen: then nothing is called free."""
    free_gpus: Count | None = None
    """Allocatable minus requests of live pods and bookings; absent where it is not known."""
    booked_gpus: Count = 0
    """GPUs of applied plans whose pods are not bound yet."""
    foreign_gpus: Count = 0
    """GPUs that pods of no InferenceDeployment hold."""
    host_memory_bytes: Bytes | None = None
    """Allocatable host memory, the minimum over the nodes."""
    host_cpu_millis: Count | None = None
    """Allocatable CPU in thousandths, the minimum over the nodes."""
    ephemeral_storage_bytes: Bytes | None = None
    """Allocatable ephemeral storage, the minimum over the nodes."""
    node_labels: LabelMap = Field(default_factory=dict)
    """Labels that all nodes of the pool share and that placement may ask for."""
    node_selector: LabelMap = Field(default_factory=dict)
    """Labels that steer pods to nodes of these GPUs."""
    taints: Annotated[tuple[Taint, ...], Field(max_length=32)] = ()
    """Taints of the nodes."""
    trusted: bool = True
    """False keeps the pool out of every plan."""
    problems: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=16)] = ()
    """Why it is not trusted, or what was seen and set aside."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation the rest speaks of."""
    conditions: Conditions = ()
    """Trusted, FreeKnown."""


class GPUPool(ApiModel):
    """Nodes whose GPUs are alike for planning."""

    api_version: Literal["inference.plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["GPUPool"] = "GPUPool"
    metadata: ObjectMeta
    spec: GPUPoolSpec = Field(default_factory=GPUPoolSpec)
    """Corrections and declarations."""
    status: GPUPoolStatus | None = None
    """What the nodes offer."""
