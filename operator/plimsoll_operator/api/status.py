"""Status of an InferenceDeployment: the applied plan, the proposed one, offers, and what the engine reported.

Written by the controller, read by people, kubectl columns and the CLI. Numbers that have a fixed textual form
(utilisation, concurrency, ratios) are strings, so that no client rounds them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import Bytes, Conditions, Count, LabelMap, LongText, ShortText, StatusModel, Tokens

Decimal = Annotated[str, Field(max_length=32)]


class MemoryByComponent(StatusModel):
    """Bytes of the fullest rank of one replica, by component."""

    weights_bytes: Bytes | None = None
    """Model weights."""
    activation_bytes: Bytes | None = None
    """Peak of activations during profiling."""
    cuda_graph_bytes: Bytes | None = None
    """CUDA graphs."""
    non_torch_bytes: Bytes | None = None
    """What is allocated outside PyTorch: context, collectives."""
    kv_cache_bytes: Bytes | None = None
    """The KV cache."""
    total_bytes: Bytes | None = None
    """The sum."""
    total: ShortText | None = None
    """The sum, for people."""


class PlanStatus(StatusModel):
    """A plan: estimate and placement."""

    product: ShortText
    """GPU product."""
    gpu_products: Annotated[tuple[ShortText, ...], Field(max_length=16)] = ()
    """All products the plan runs on."""
    pools: Annotated[tuple[ShortText, ...], Field(max_length=64)] = ()
    """GPU pools the pods may land on."""
    model: ShortText | None = None
    """Model name."""
    model_revision: ShortText | None = None
    """Revision the pods load."""
    engine_version: ShortText
    """vLLM release."""
    extrapolated: bool = False
    """The engine is newer than the newest known one."""
    tensor_parallel_size: Count
    """GPUs that share each layer."""
    pipeline_parallel_size: Count = 1
    """Stages of layers."""
    data_parallel_size: Count = 1
    """Engine copies in one replica."""
    expert_parallel: bool = False
    """Whole experts on ranks."""
    decode_context_parallel_size: Count = 1
    """Ranks that share one sequence's KV cache."""
    nodes_per_replica: Count = 1
    """Nodes that one replica spans."""
    may_surge: bool = False
    """A rolling update starts a new replica before it stops an old one."""
    gpus_per_replica: Count | None = None
    """GPUs of one replica."""
    gpu_resource: ShortText | None = None
    """Resource the pods ask for."""
    sharing: ShortText | None = None
    """How the GPUs are shared: none, time-slicing, mps or mig."""
    gpu_memory_utilization: Decimal
    """Computed share of each GPU, three decimals."""
    max_model_len: Tokens
    """Longest sequence in tokens."""
    max_num_seqs: Count
    """Sequences in one step."""
    max_num_batched_tokens: Tokens
    """Tokens in one step."""
    dtype: ShortText | None = None
    """Type of weights and activations."""
    quantization: ShortText | None = None
    """Quantization method."""
    kv_cache_dtype: ShortText | None = None
    """Type of the KV cache."""
    kv_cache_tokens: Tokens
    """Tokens the KV cache holds."""
    max_concurrency: Decimal
    """Requests of maxModelLen that the KV cache holds."""
    gpu_total_bytes: Bytes | None = None
    """CUDA total of one GPU."""
    allocated_bytes: Bytes | None = None
    """Utilisation times the CUDA total of one GPU."""
    kv_cache_needed_bytes: Bytes | None = None
    """What one request of maxModelLen, or the worksheet, needs per rank."""
    kv_cache_needed_tokens: Tokens | None = None
    """The same in tokens, to compare with kvCacheTokens."""
    replicas_needed: Count | None = None
    """Replicas of this plan that hold the worksheet's requests."""
    kv_cache_interval_bytes: Annotated[tuple[int, ...], Field(max_length=2)] = ()
    """90 % interval of the KV cache, lower and upper end."""
    host_memory_bytes: Bytes | None = None
    """Host memory of the pod."""
    template_memory_bytes: Bytes | None = None
    """Host memory that spec.template adds to it."""
    template_cpu_millis: Tokens | None = None
    """CPU that spec.template adds to the pod, in thousandths."""
    ephemeral_storage_bytes: Bytes | None = None
    """Ephemeral storage of the pod: downloaded weights, written caches and scratch volumes."""
    predicted: MemoryByComponent
    """Predicted bytes of the fullest rank."""
    node_selectors: Annotated[tuple[LabelMap, ...], Field(max_length=64)] = ()
    """Node labels that steer the pods, any one of the sets; empty where the product label of GPU feature discovery does."""
    available_now: bool | None = None
    """The GPUs were free when this was decided."""
    digest: ShortText
    """Digest of what the pods run."""


class ChangeStatus(StatusModel):
    """A pinned value that Resize moved."""

    field: ShortText
    """Field, as in the spec."""
    old: ShortText
    """Value asked for."""
    new: ShortText
    """Value used."""
    why: LongText
    """Why it was moved."""


class OfferStatus(StatusModel):
    """A change that would be admitted."""

    summary: LongText
    """The change in a sentence."""
    patch: LongText
    """The same as a JSON merge patch on this object."""


class ObservedStatus(StatusModel):
    """What the running engine reported, in the components of the prediction."""

    memory: MemoryByComponent | None = None
    """Observed bytes of the fullest rank."""
    kv_cache_tokens: Tokens | None = None
    """Tokens the KV cache really holds."""
    max_concurrency: Decimal | None = None
    """Concurrency the engine logged."""
    engine_version: ShortText | None = None
    """Release the engine reports."""
    source: ShortText | None = None
    """Where the figures come from."""
    error_ratio: Decimal | None = None
    """(predicted - observed) / observed of what is not KV cache."""


class InferenceDeploymentStatus(StatusModel):
    """What was decided and what was seen."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation the rest of status speaks of."""
    replicas: Count | None = None
    """Pods that exist, for the scale subresource."""
    ready_replicas: Count | None = None
    """Pods that are ready."""
    ready: Annotated[str, Field(max_length=32)] | None = None
    """Ready of wanted, for people."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for the scale subresource."""
    conditions: Conditions = ()
    """ModelResolved, Feasible, CapacityAvailable, Progressing, Available, Ready, Stalled."""
    plan: PlanStatus | None = None
    """The plan in force."""
    proposed_plan: PlanStatus | None = None
    """What would be decided now, when it differs."""
    changes: Annotated[tuple[ChangeStatus, ...], Field(max_length=16)] = ()
    """Pinned values that were moved."""
    offers: Annotated[tuple[OfferStatus, ...], Field(max_length=4)] = ()
    """Changes that would be admitted."""
    observed: ObservedStatus | None = None
    """What the engine reported."""
