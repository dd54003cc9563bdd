"""What the decision answers: Admit, Resize, Reject or Undecided, and the plan they carry.

Made by `decision.decide`, read by webhook, controller, CLI, rendering and metrics. Only values; knows no Kubernetes
client, no HTTP, no clock. `canonical_json` is the byte-for-byte form that all doors print and compare.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeAlias


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

    weights_bytes: int
    activation_bytes: int
    cuda_graph_bytes: int
    non_torch_bytes: int
    kv_cache_bytes: int


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

    product: str
    gpu_products: tuple[str, ...]
    pools: tuple[str, ...]
    engine_version: str
    extrapolated: bool
    model: str
    model_revision: str | None
    tensor_parallel_size: int
    pipeline_parallel_size: int
    data_parallel_size: int
    enable_expert_parallel: bool
    gpu_memory_utilization: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    dtype: str
    quantization: str | None
    kv_cache_dtype: str
    gpus_per_replica: int
    kv_cache_tokens: int
    max_concurrency: str
    gpu_total_bytes: int
    allocated_bytes: int
    predicted: PredictedMemory
    kv_cache_interval_bytes: tuple[int, int]
    kv_cache_needed_bytes: int
    host_memory_bytes: int
    available_now: bool
    kv_cache_needed_tokens: int = 0
    replicas_needed: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    sharing: str = "none"
    decode_context_parallel_size: int = 1
    nodes_per_replica: int = 1
    may_surge: bool = False
    node_selectors: tuple[tuple[tuple[str, str], ...], ...] = ()
    ephemeral_storage_bytes: int = 0
    template_memory_bytes: int = 0
    template_cpu_millis: int = 0

    @property
    def gpus_per_pod(self) -> int:
        """GPUs of one pod: a replica's share of one node."""
        return self.gpus_per_replica // self.nodes_per_replica

    def canonical_json(self) -> str:
        """The one textual form: sorted keys, no spaces, no floats."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Inverse of canonical_json, for the annotation on children. Raises ValueError or TypeError on foreign text.

        Reads what earlier releases wrote: a field they did not know has its default.
        """
        data: dict[str, Any] = json.loads(text)
        data["predicted"] = PredictedMemory(**data["predicted"])
        for key in ("gpu_products", "pools", "kv_cache_interval_bytes"):
            data[key] = tuple(data[key])
        data["node_selectors"] = tuple(tuple((key, value) for key, value in pairs) for pairs in data.get("node_selectors", ()))
        return cls(**data)

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
