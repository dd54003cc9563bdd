"""InferenceDeployment: the user's request. A model, an engine, a workload, and limits on what may change.

Read by decision, rendering, webhook, controller and CLI; `crdgen` makes the CRD from it. Knows no defaults of vLLM:
an absent engine field means "computed".
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import Field

from plimsoll_estimator import EngineVersion
from plimsoll_operator.api.base import (
    ApiModel,
    ByteQuantity,
    ImageReference,
    LabelMap,
    ModelName,
    Name,
    ObjectMeta,
    ProductName,
    Rule,
    Toleration,
    keys_rule,
)
from plimsoll_operator.api.budget import PodDisruptionBudget
from plimsoll_operator.api.model_source import ModelSpec
from plimsoll_operator.api.status import InferenceDeploymentStatus
from plimsoll_operator.api.template import TemplateSpec
from plimsoll_operator.names import API_VERSION

_SUFFIX: Final = r"([.]?(post|rc|dev)[0-9]{1,6})?([+_-][A-Za-z0-9_.-]{0,64})?(@sha256:[0-9a-f]{64})?$"
_RELEASED: Final = r"(^|/)vllm/vllm-openai(-[a-z0-9]{1,16}){0,3}"
"""Repositories whose tag is vLLM's release: its own, for every platform, and copies that keep its path in another registry."""
_VERSION_TAG: Final = _RELEASED + r":v?([0-9]{1,4}[.][0-9]{1,4}([.][0-9]{1,4}){0,2})" + _SUFFIX
_RELEASE: Final = "^[0-9]{1,4}[.][0-9]{1,4}([.][0-9]{1,4}){1,2}$"
_NUMBER, _AFTER = 3, 7
"""Groups of it: the release number, and what follows it but for post, rc and dev."""

NAME_PATTERN: Final = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A Service's name (RFC 1035 label): the Service of an InferenceDeployment carries its name."""

MovableField = Literal[
    "tensorParallelSize",
    "pipelineParallelSize",
    "dataParallelSize",
    "gpuMemoryUtilization",
    "maxModelLen",
    "maxNumSeqs",
    "maxNumBatchedTokens",
    "kvCacheDtype",
]
MOVABLE_FIELDS: Final[tuple[str, ...]] = get_args(MovableField)


class SpeculativeSpec(ApiModel):
    """Speculative decoding."""

    method: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """vLLM's method name, for example eagle or mtp."""
    model: ModelName | None = None
    """Draft model."""
    num_speculative_tokens: Annotated[int, Field(ge=1, le=64)]
    """Tokens proposed per step."""

    @property
    def resolved_method(self) -> str:
        """The method as the pods are told it: where it is left out, by the draft's name as vLLM would, or the model's own modules."""
        if self.method is not None:
            return self.method
        if self.model is None:
            return "mtp"
        name = self.model.lower()
        return "eagle3" if "eagle3" in name else "eagle" if "eagle" in name else "draft_model"


class LoraSpec(ApiModel):
    """LoRA adapter slots."""

    max_loras: Annotated[int, Field(ge=1, le=1024)] = 1
    """Adapters in one batch."""
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = 16
    """Largest rank, one of vLLM's steps."""


def image_tag_version(image: str) -> str | None:
    """The release number in the tag of vLLM's own image ("vllm/vllm-openai:v0.19.0-cu128" -> "0.19.0"), or None.

    What others build has a number of its own: `ghcr.io/llm-d/llm-d-cuda:v0.8.0` holds vLLM 0.23.0, `nvcr.io/nvidia/vllm:25.09-py3` 0.10.
    """
    match = re.search(_VERSION_TAG, image)
    return match[_NUMBER] if match else None


def image_of_release(image: str, release: str) -> str | None:
    """The image with another release in its tag ("vllm/vllm-openai:v0.19.0-cu128" -> "vllm/vllm-openai:v0.26.0-cu128"), or None.

    What follows the number is kept but for post, rc and dev, and a digest, which are the old release's own.
    """
    match = re.search(_VERSION_TAG, image)
    return None if match is None else f"{image[: match.start(_NUMBER)]}{release}{match[_AFTER] or ''}"


def _image_agrees(engine: EngineSpec) -> bool:
    tag = image_tag_version(engine.image)
    return engine.version is None or tag is None or tag == engine.version


class EngineSpec(ApiModel):
    """The engine. A field that is set is pinned; an absent one is computed."""

    image: ImageReference
    """Container image of vLLM. The tag of vllm/vllm-openai tells the version, of any other image `version` must."""
    version: Annotated[str, Field(max_length=19)] | None = None
    """vLLM release in the image, for example 0.19.0, where the image is not vllm/vllm-openai with its release in the tag."""
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """GPUs that share each layer (--tensor-parallel-size). Absent: chosen, fewest GPUs first."""
    pipeline_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """Stages of layers (--pipeline-parallel-size). Absent: 1, more only where nothing else serves."""
    data_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """Engine copies in one replica, each on GPUs of its own (--data-parallel-size). Absent: 1."""
    expert_parallel: bool | None = None
    """Place whole experts on ranks instead of slicing them (--enable-expert-parallel). Absent: only where slices do not serve."""
    decode_context_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """Ranks that share one sequence's KV cache (--decode-context-parallel-size). Absent: 1."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of each GPU's memory that the engine may use (--gpu-memory-utilization). Absent: the largest that leaves room for the rest."""
    max_model_len: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    """Longest sequence, prompt and output, in tokens (--max-model-len). Absent: the model's own, or the longest that surely fits."""
    max_num_seqs: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """Sequences in one step (--max-num-seqs). Absent: vLLM's default, lowered where that makes room."""
    max_num_batched_tokens: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    """Tokens in one step (--max-num-batched-tokens). Absent: vLLM's default, lowered where that makes room."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = None
    """Type of weights and activations (--dtype). Absent: the checkpoint's, as vLLM reads it."""
    quantization: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_-]+$")] | None = None
    """vLLM's quantization method (--quantization). Absent: the checkpoint's; fp8 quantizes 16-bit weights as they are loaded."""
    kv_cache_dtype: Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_ds_mla", "fp8_inc"] | None = None
    """Type of the KV cache (--kv-cache-dtype). Absent: auto, which is that of the activations; fp8 holds twice the tokens."""
    block_size: Literal[1, 8, 16, 32, 64, 128, 256] | None = None
    """Tokens in one KV block (--block-size). Absent: vLLM's choice, mostly 16."""
    enforce_eager: bool | None = None
    """Run without CUDA graphs (--enforce-eager): less memory, slower. Absent: false."""
    enable_prefix_caching: bool | None = None
    """Keep KV blocks of shared prefixes (--enable-prefix-caching). Absent: as the release does for the model."""
    enable_chunked_prefill: bool | None = None
    """Split long prompts over steps (--enable-chunked-prefill). Absent: as the release does for the model."""
    speculative: SpeculativeSpec | None = None
    """Speculative decoding."""
    lora: LoraSpec | None = None
    """LoRA adapter slots."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port that the server listens on, and that of the Service; 8000 when absent."""
    extra_args: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], Field(max_length=64)] = ()
    """Further vLLM arguments. What moves memory counts; a duplicate or contradiction is refused."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!has(self.version) || self.version.matches('{_RELEASE}')",
            holds=lambda e: e.version is None or re.fullmatch(_RELEASE, e.version) is not None,
            message="must be the whole number of a vLLM release, such as 0.19.0, which this is not",
            field=".version",
            shows=lambda e: e.version,
            cel_shows="self.version",
        ),
        Rule(
            cel=f"has(self.version) || self.image.matches('{_VERSION_TAG}')",
            holds=lambda e: e.version is not None or image_tag_version(e.image) is not None,
            message=(
                "only a tag of vllm/vllm-openai tells the vLLM release, and version is not set: "
                "set version to the release in the image, for example 0.19.0"
            ),
            field=".version",
        ),
        Rule(
            cel=(
                f"!has(self.version) || !self.image.matches('{_VERSION_TAG}')"
                f" || self.image.matches(':v?' + self.version.replace('.', '[.]') + '{_SUFFIX}')"
            ),
            holds=_image_agrees,
            message="version and the image's tag tell different vLLM releases: remove version or correct it",
            field=".version",
        ),
    )

    @property
    def engine_version(self) -> EngineVersion:
        """The vLLM release that the pods would run. One of tag and version is there, and both agree, by the rules above."""
        text = self.version if self.version is not None else image_tag_version(self.image)
        return EngineVersion.parse(text or "")


class RequestClass(ApiModel):
    """One class of requests of the capacity worksheet."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """What it is called."""
    prompt_tokens: Annotated[int, Field(ge=1, le=1 << 31)]
    """Prompt length at the percentile, in tokens."""
    output_tokens: Annotated[int, Field(ge=1, le=1 << 31)]
    """Output length at the percentile, in tokens."""
    percentile: Annotated[int, Field(ge=50, le=100)] = 95
    """Of which percentile the two lengths are."""
    concurrency: Annotated[int, Field(ge=1, le=1 << 20)]
    """Requests in flight over all replicas."""
    burst: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Peak over average concurrency."""
    prefix_cache_hit_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the prompt that all requests of the class have in common (instructions, tools) and find in the prefix cache: held once
    per engine. A conversation's own history is not common to others and stays out of it."""


class WorkloadSpec(ApiModel):
    """What the deployment must serve: a preset or request classes."""

    use_case: Literal["chat", "rag", "agents", "batch"] | None = None
    """A documented preset of request classes. Training is not served."""
    request_classes: Annotated[
        tuple[RequestClass, ...],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = ()
    """Request classes that are served at the same time."""
    headroom_percent: Annotated[int, Field(ge=0, le=400)] = 10
    """Added to the required KV tokens, to nothing else."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.useCase) != (has(self.requestClasses) && self.requestClasses.size() > 0)",
            holds=lambda w: (w.use_case is not None) != bool(w.request_classes),
            message="exactly one of useCase and requestClasses must be set",
        ),
        Rule(
            cel="true",
            holds=lambda w: len({c.name for c in w.request_classes}) == len(w.request_classes),
            message="two request classes have the same name",
            field=".requestClasses",
        ),
    )


class FitSpec(ApiModel):
    """What may be done when the request does not fit as written."""

    policy: Literal["Reject", "Resize"] = "Reject"
    """Reject refuses; Resize moves the pinned fields in mayChange."""
    may_change: Annotated[tuple[MovableField, ...], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """Pinned engine fields that Resize may move, in the order to try."""
    min_max_model_len: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    """The context may not be lowered below this many tokens."""
    reserve_bytes: ByteQuantity = 256 << 20
    """Bytes left free on each GPU beyond what the engine needs; 256Mi when absent."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.mayChange) || self.mayChange.size() == 0 || self.policy == 'Resize'",
            holds=lambda f: not f.may_change or f.policy == "Resize",
            message="mayChange has no effect unless policy is Resize",
            field=".mayChange",
        ),
        Rule(
            cel="true",
            holds=lambda f: len(set(f.may_change)) == len(f.may_change),
            message="a field is named twice",
            field=".mayChange",
        ),
    )


class PlacementSpec(ApiModel):
    """Where the pods may go."""

    gpu_products: Annotated[tuple[ProductName, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """GPU products to choose from, as nodes are labelled; several make one plan that runs on each of them."""
    node_selector: LabelMap = Field(default_factory=dict)
    """Node labels that are required."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Tolerations of the pods; those of GPU resources are added."""
    sharing: Literal["none", "time-slicing", "mps", "mig"] = "none"
    """How the GPUs to choose from are shared: whole ones (none), or one of the ways to share or partition them."""
    max_nodes_per_replica: Annotated[int, Field(ge=1, le=64)] = 1
    """Nodes that one replica may span."""
    wait_for_capacity: bool = False
    """Hold pods back by a scheduling gate until their GPUs are booked."""
    queue_name: Name | None = None
    """Kueue LocalQueue."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods."""
    scheduler_name: Name | None = None
    """Scheduler of the pods."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="true",
            holds=lambda p: len(set(p.gpu_products)) == len(p.gpu_products),
            message="a product is named twice",
            field=".gpuProducts",
        ),
        keys_rule("nodeSelector", lambda p: p.node_selector),
    )


def _context_holds(spec: InferenceDeploymentSpec) -> bool:
    if spec.fit.min_max_model_len is None or spec.engine.max_model_len is None:
        return True
    return spec.fit.min_max_model_len <= spec.engine.max_model_len


class InferenceDeploymentSpec(ApiModel):
    """The request. Computed values go to status and the pods, never in here."""

    model: ModelSpec
    """The model."""
    replicas: Annotated[int, Field(ge=0, le=10000)] = 1
    """Replicas; 0 keeps the plan and books nothing."""
    engine: EngineSpec
    """The engine."""
    workload: WorkloadSpec | None = None
    """What must be served, when context and sequences should follow from it."""
    fit: FitSpec = Field(default_factory=FitSpec)
    """What may be done when the request does not fit as written."""
    placement: PlacementSpec = Field(default_factory=PlacementSpec)
    """Where the pods may go."""
    template: TemplateSpec | None = None
    """A bounded overlay on the generated pod."""
    pod_disruption_budget: PodDisruptionBudget | None = None
    """How many replicas node drains may take at once; absent: all of them. Changing it plans nothing anew."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "!has(self.fit) || !has(self.fit.minMaxModelLen) || !has(self.engine.maxModelLen)"
                " || self.fit.minMaxModelLen <= self.engine.maxModelLen"
            ),
            holds=_context_holds,
            message="minMaxModelLen is above the pinned engine.maxModelLen",
            field=".fit.minMaxModelLen",
        ),
    )


class InferenceDeployment(ApiModel):
    """One model served by vLLM, sized before it starts."""

    api_version: Literal["inference.plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["InferenceDeployment"] = "InferenceDeployment"
    metadata: ObjectMeta
    spec: InferenceDeploymentSpec
    """What the user wants."""
    status: InferenceDeploymentStatus | None = None
    """What was decided and what was seen."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"self.metadata.name.matches(r'{NAME_PATTERN}')",
            holds=lambda d: not d.metadata.name or re.fullmatch(NAME_PATTERN, d.metadata.name) is not None,
            message="must be at most 63 characters of a-z, 0-9 and -, and start with a letter: its Service carries the same name",
            field=".metadata.name",
        ),
    )
