"""What the decision answers: Admit, Resize, Reject or Undecided, and the plan they carry.

Made by `decision.decide`, read by webhook, controller, CLI, rendering and metrics. Only values; knows no Kubernetes
client, no HTTP, no clock. `canonical_json` is the byte-for-byte form that all doors print and compare.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, TypeAlias, get_type_hints

from annotated_types import Le, MaxLen
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_operator.api.base import Bytes, Count, ShortText, Tokens

MAX_PLAN_TEXT: Final = 256 << 10
"""Characters: all annotations of one object together may have no more (Kubernetes, apimachinery validation TotalAnnotationSizeLimitB)."""
MAX_POOLS: Final = 64
"""So many pools a plan names, as its status does; of more, those with most nodes."""
_AtLeastOne = Annotated[int, Field(ge=1, le=1 << 31)]
_Label = tuple[Annotated[str, Field(min_length=1, max_length=317)], Annotated[str, Field(max_length=63)]]
_READ_STRICTLY: Final = ConfigDict(strict=True, extra="forbid")
_LabelSet = Annotated[tuple[_Label, ...], Field(max_length=64)]


class Reason(StrEnum):
    """Every reason a verdict, condition, event or metric label may carry."""

    FITS = "Fits"
    RESIZED = "Resized"
    # Rejections
    INSUFFICIENT_GPU_MEMORY = "InsufficientGpuMemory"
    INSUFFICIENT_KV_CACHE = "InsufficientKvCache"
    INSUFFICIENT_GPUS_PER_NODE = "InsufficientGpusPerNode"
    WORKLOAD_NOT_SERVED = "WorkloadNotServed"
    ENGINE_REFUSES = "EngineRefuses"
    NO_MATCHING_POOL = "NoMatchingPool"
    HOST_MEMORY = "HostMemory"
    HOST_CPU = "HostCpu"
    EPHEMERAL_STORAGE = "EphemeralStorage"
    SHARING_UNSAFE = "SharingUnsafe"
    LEADER_WORKER_SET_MISSING = "LeaderWorkerSetMissing"
    POLICY_CAP = "PolicyCap"
    POLICY_FORBIDS = "PolicyForbids"
    POLICY_UNREADABLE = "PolicyUnreadable"
    NOT_SUPPORTED_YET = "NotSupportedYet"
    MODEL_MISMATCH = "ModelMismatch"
    INVALID_SPEC = "InvalidSpec"
    # Undecided
    UNKNOWN_MODEL = "UnknownModel"
    UNSUPPORTED_MODEL = "UnsupportedModel"
    UNKNOWN_ENGINE = "UnknownEngine"
    VENDOR_UNSUPPORTED = "VendorUnsupported"
    NO_CAPACITY_KNOWN = "NoCapacityKnown"
    NO_KNOWN_POOL = "NoKnownPool"
    LABEL_NOT_INDEXED = "LabelNotIndexed"
    TOO_COMPLEX = "TooComplex"
    OUT_OF_TIME = "OutOfTime"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedMemory:
    """Bytes of the fullest rank of one replica, by component."""

    __pydantic_config__: ClassVar[ConfigDict] = _READ_STRICTLY

    weights_bytes: Bytes
    activation_bytes: Bytes
    cuda_graph_bytes: Bytes
    non_torch_bytes: Bytes
    kv_cache_bytes: Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Estimate and placement of one replica. Everything the pod template is rendered from; floats only where vLLM has them.

    `allocated_bytes` is utilisation x CUDA total of one GPU, rounded down. `kv_cache_needed_bytes` is what one request of
    `max_model_len` (or the worksheet) needs per rank, `kv_cache_needed_tokens` the same in tokens of one engine's cache.
    `replicas_needed` are those of this plan that hold the worksheet's requests; 0 without a worksheet.
    `gpu_resource` is what a pod asks for, by the unit of which GPUs count. KV tokens and concurrency are of the whole replica: a
    request has those of one of its `data_parallel_size` engines; `max_num_seqs` and `max_num_batched_tokens` are of each engine, as
    vLLM takes them. `host_memory_bytes` is of one pod, of which a replica has `nodes_per_replica`. `may_surge` says whether a rolling
    update may start a replica before it stops one: decided when the plan was, as GPUs were free then, and no part of the digest.
    `node_selectors` are the node labels that steer the pods, one set for each way the pools' nodes are labelled; empty where feature
    discovery's product label tells all. `ephemeral_storage_bytes` is what one pod writes to its node's disk; 0 in plans of
    releases that did not count it, whose pods ask for none. `template_memory_bytes` and `template_cpu_millis` are what
    spec.template adds to the pod beyond what was worked out for its engine.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _READ_STRICTLY

    product: ShortText
    gpu_products: Annotated[tuple[ShortText, ...], Field(max_length=16)]
    pools: Annotated[tuple[ShortText, ...], Field(max_length=MAX_POOLS)]
    engine_version: Annotated[str, Field(max_length=64, pattern=r"^[0-9][0-9A-Za-z.+-]*$")]
    extrapolated: bool
    model: ShortText
    model_revision: ShortText | None
    tensor_parallel_size: _AtLeastOne
    pipeline_parallel_size: _AtLeastOne
    data_parallel_size: _AtLeastOne
    enable_expert_parallel: bool
    gpu_memory_utilization: Annotated[str, Field(max_length=32, pattern=r"^[01]([.][0-9]{1,6})?$")]
    max_model_len: Tokens
    max_num_seqs: Count
    max_num_batched_tokens: Tokens
    dtype: ShortText
    quantization: ShortText | None
    kv_cache_dtype: ShortText
    gpus_per_replica: _AtLeastOne
    kv_cache_tokens: Tokens
    max_concurrency: Annotated[str, Field(max_length=32)]
    gpu_total_bytes: Bytes
    allocated_bytes: Bytes
    predicted: PredictedMemory
    kv_cache_interval_bytes: tuple[int, int]
    kv_cache_needed_bytes: Bytes
    host_memory_bytes: Bytes
    available_now: bool
    kv_cache_needed_tokens: Tokens = 0
    replicas_needed: Count = 0
    gpu_resource: Annotated[str, Field(min_length=1, max_length=256)] = "nvidia.com/gpu"
    sharing: ShortText = "none"
    decode_context_parallel_size: _AtLeastOne = 1
    nodes_per_replica: _AtLeastOne = 1
    may_surge: bool = False
    node_selectors: Annotated[tuple[_LabelSet, ...], Field(max_length=MAX_POOLS)] = ()
    ephemeral_storage_bytes: Bytes = 0
    template_memory_bytes: Bytes = 0
    template_cpu_millis: Tokens = 0

    @property
    def gpus_per_pod(self) -> int:
        """GPUs of one pod: a replica's share of one node."""
        return self.gpus_per_replica // self.nodes_per_replica

    def canonical_json(self) -> str:
        """The one textual form: sorted keys, no spaces, no floats."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Inverse of canonical_json, for the annotation on children, which anybody may edit who may edit the child.

        Raises ValueError on text that is no plan within the bounds above, and nothing else. Reads what earlier releases wrote: a
        field they did not know has its default.
        """
        if len(text) > MAX_PLAN_TEXT:
            raise ValueError(f"a plan of {len(text)} characters: at most {MAX_PLAN_TEXT} are read")
        try:
            plan = _PLAN.validate_json(text)
        except (ValidationError, UnicodeEncodeError) as error:
            raise ValueError(f"this is no plan: {str(error)[:300]}") from error
        if plan.gpus_per_replica % plan.nodes_per_replica:
            raise ValueError(f"{plan.gpus_per_replica} GPUs cannot be shared equally by {plan.nodes_per_replica} nodes")
        EngineVersion.parse(plan.engine_version)
        return plan

    def within_bounds(self) -> Plan:
        """The same plan with every figure and list cut to what status and annotation can hold.

        What lies beyond (a PiB of host memory, a billion cores, 65 pools) exists nowhere: a need that is cut is still one that no node
        meets, and pods steered to the first 64 pools find fewer nodes, never wrong ones.
        """
        predicted = replace(self.predicted, **_cut(self.predicted, PredictedMemory))
        return replace(self, **(_cut(self, Plan) | {"predicted": predicted}))

    @property
    def digest(self) -> str:
        """Short stable digest of what the pods would run: neither where they may land, availability nor a worksheet's need is part of it.

        A field that is younger than some plans out there counts only where it says something: their digests still hold.
        """
        data = asdict(self)
        for shown in ("pools", "available_now", "may_surge", "kv_cache_needed_bytes", "kv_cache_needed_tokens", "replicas_needed"):
            del data[shown]
        for name in ("decode_context_parallel_size", "nodes_per_replica"):
            if data[name] == 1:
                del data[name]
        for name in ("node_selectors", "ephemeral_storage_bytes", "template_memory_bytes", "template_cpu_millis"):
            if not data[name]:
                del data[name]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_PLAN: Final = TypeAdapter(Plan)


def _most(kind: type[Plan] | type[PredictedMemory]) -> dict[str, tuple[int | None, int | None]]:
    """By field: the largest number and the most entries that its annotation allows; None where it says nothing."""
    found: dict[str, tuple[int | None, int | None]] = {}
    hints = get_type_hints(kind, include_extras=True)
    for name, hint in ((field.name, hints[field.name]) for field in fields(kind)):
        rules = [rule for part in getattr(hint, "__metadata__", ()) for rule in getattr(part, "metadata", ())]
        number = next((int(str(rule.le)) for rule in rules if isinstance(rule, Le)), None)
        found[name] = (number, next((rule.max_length for rule in rules if isinstance(rule, MaxLen)), None))
    return found


_MOST: Final = {kind: _most(kind) for kind in (Plan, PredictedMemory)}


def _cut(value: Plan | PredictedMemory, kind: type[Plan] | type[PredictedMemory]) -> dict[str, Any]:
    """The fields of `value` that are beyond their bounds, cut to them."""
    cut: dict[str, Any] = {}
    for name, (number, entries) in _MOST[kind].items():
        field = getattr(value, name)
        if number is not None and isinstance(field, int) and field > number:
            cut[name] = number
        elif entries is not None and isinstance(field, tuple) and len(field) > entries:
            cut[name] = field[:entries]
    return cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One pinned value that Resize moved: API field (camelCase path), from, to, why."""

    field: str
    old: str
    new: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A change that would be admitted, verified by decide: a sentence and a JSON merge patch on the InferenceDeployment."""

    summary: str
    patch_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Cannot start or serve. Bytes are per GPU; `component` names what broke it; `message` is one sentence."""

    reason: Reason
    message: str
    field: str
    needed_bytes: int | None = None
    available_bytes: int | None = None
    component: str | None = None
    offers: tuple[Offer, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def short_by_bytes(self) -> int | None:
        """needed - available where both are known."""
        if self.needed_bytes is None or self.available_bytes is None:
            return None
        return self.needed_bytes - self.available_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """Not known. Makes no pods and never means "fits". `next_step` says what happens next."""

    reason: Reason
    message: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Fits as asked. `warnings` are one line each, at most 256 characters.

    `overridden` is the rejection that a FitPolicy in Warn mode or an authorised bypass has turned into a warning: then it
    does not fit by our figures, and the plan consists of what the user has pinned.
    """

    plan: Plan
    warnings: tuple[str, ...] = ()
    overridden: Reject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Fits after moving pinned values that the user allowed to move. `overridden` as in Admit."""

    plan: Plan
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    overridden: Reject | None = None


Verdict: TypeAlias = Admit | Resize | Reject | Undecided
