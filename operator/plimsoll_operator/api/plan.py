"""The plan of one replica, written once: as the decision makes it, as status shows it, and as the child's annotation keeps it.

Made by `decision.plan`, rendered into pods by `render`, shown and read back by the controller. A field is declared here and nowhere
else: `api.recorded` says what follows from its line. Only values; knows no Kubernetes client and decides nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from typing import Annotated, Any, ClassVar, Final, Self, get_type_hints

from annotated_types import Le, MaxLen
from pydantic import ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from plimsoll_estimator import EngineVersion, format_gib
from plimsoll_operator.api.base import (
    LABEL_KEY,
    LABEL_VALUE,
    MAX_BYTES,
    MAX_LABEL_VALUE,
    Bytes,
    Count,
    Decimal,
    LabelMap,
    ShortText,
    StatusModel,
    Tokens,
)
from plimsoll_operator.api.recorded import As, Recorded, adapter, digested, marked, read_back, shown, status_of
from plimsoll_operator.names import GPU_RESOURCE
from plimsoll_operator.pod import PodRequests, cpu_millis

MAX_PLAN_TEXT: Final = 256 << 10
"""Characters: all annotations of one object together may have no more (Kubernetes, apimachinery validation TotalAnnotationSizeLimitB)."""
MAX_POOLS: Final = 64
"""So many pools a plan names, as its status does; of more, those with most nodes."""
_READ_STRICTLY: Final = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)

_AtLeastOne = Annotated[int, Field(ge=1, le=1 << 31), As(Count)]
_Release = Annotated[str, Field(max_length=64, pattern=r"^[0-9][0-9A-Za-z.+-]*$"), As(ShortText)]
_Share = Annotated[str, Field(max_length=32, pattern=r"^[01]([.][0-9]{1,6})?$"), As(Decimal)]
# What pods ask for and are steered by is text that the API server takes there: a plan edited into anything else is none.
_Resource = Annotated[str, Field(min_length=1, max_length=64, pattern=LABEL_KEY), As(ShortText)]
_Product = Annotated[str, Field(max_length=MAX_LABEL_VALUE, pattern=LABEL_VALUE), As(ShortText)]
_Products = Annotated[tuple[_Product, ...], Field(max_length=16), As(Annotated[tuple[ShortText, ...], Field(max_length=16)])]
_Moved = Annotated[int, Field(ge=-MAX_BYTES, le=MAX_BYTES)]
_Interval = Annotated[tuple[int, int], As(Annotated[tuple[int, ...], Field(max_length=2)])]
_Label = tuple[
    Annotated[str, Field(min_length=1, max_length=317, pattern=LABEL_KEY)],
    Annotated[str, Field(max_length=MAX_LABEL_VALUE, pattern=LABEL_VALUE)],
]
_LabelSet = Annotated[tuple[_Label, ...], Field(max_length=64)]
_LabelSets = Annotated[
    tuple[_LabelSet, ...],
    Field(max_length=MAX_POOLS),
    As(
        Annotated[tuple[LabelMap, ...], Field(max_length=MAX_POOLS)],
        show=lambda sets: tuple(dict(pairs) for pairs in sets),
        read=lambda maps: [sorted(pairs.items()) for pairs in maps],
    ),
]
_REQUIRED: Final = Recorded(required=True)
POD_FORM: Final = 3
"""Of plans made now. 1: the engine hears a signal while it loads, and the end of its log is its last words. 2: what it has compiled
outlives its container (render.py). 3: an engine that its probe takes for dead is not waited for as one that answers (life.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedMemory:
    """Bytes of the fullest rank of one replica, by component."""

    __pydantic_config__: ClassVar[ConfigDict] = _READ_STRICTLY

    weights_bytes: Bytes
    """Model weights."""
    activation_bytes: Bytes
    """Peak of activations during profiling."""
    cuda_graph_bytes: Bytes
    """CUDA graphs."""
    non_torch_bytes: Bytes
    """What is allocated outside PyTorch: context, collectives."""
    kv_cache_bytes: Bytes
    """The KV cache."""

    @property
    def total_bytes(self) -> int:
        """The sum of all components."""
        return sum(getattr(self, field.name) for field in fields(self))


@status_of(PredictedMemory)
class MemoryByComponent(StatusModel):
    """Bytes of the fullest rank of one replica, by component."""

    total_bytes: Bytes | None = None
    """The sum."""
    total: ShortText | None = None
    """The sum, for people."""

    @classmethod
    def of(cls, memory: PredictedMemory) -> Self:
        """Predicted memory as status shows it."""
        total = memory.total_bytes
        return cls.model_validate(shown(memory) | {"total_bytes": min(total, MAX_BYTES), "total": format_gib(total)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Estimate and placement of one replica. Everything the pod template is rendered from; floats only where vLLM has them.

    The sentence below each field is what `kubectl explain` says of it. `allocated_bytes` is rounded down. `kv_cache_needed_bytes` is what
    one request of `max_model_len` (or the worksheet) needs per rank, `kv_cache_needed_tokens` the same in tokens of one engine's cache.
    `replicas_needed` are those of this plan that hold the worksheet's requests; 0 without a worksheet.
    `gpu_resource` is what a pod asks for, by the unit of which GPUs count. KV tokens and concurrency are of the whole replica: a
    request has those of one of its `data_parallel_size` engines; `max_num_seqs` and `max_num_batched_tokens` are of each engine, as
    vLLM takes them. `host_memory_bytes` is of one pod, of which a replica has `nodes_per_replica`. `may_surge` is decided when the plan
    is, as GPUs were free then, and no part of the digest: neither is where the pods may land, nor a worksheet's need.
    `node_selectors` has one set for each way the pools' nodes are labelled. `ephemeral_storage_bytes` is what one pod writes to its node's
    disk; 0 in plans of releases that did not count it, whose pods ask for none. `template_memory_bytes` and `template_cpu_millis` are
    what spec.template adds to the pod beyond what was worked out for its engine.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _READ_STRICTLY

    product: Annotated[_Product, _REQUIRED]
    """GPU product."""
    gpu_products: Annotated[_Products, Recorded(absent=())]
    """All products the plan runs on."""
    pools: Annotated[tuple[ShortText, ...], Field(max_length=MAX_POOLS), Recorded(absent=(), in_digest=False)]
    """GPU pools the pods may land on."""
    model: ShortText
    """Model name."""
    model_revision: ShortText | None
    """Revision the pods load."""
    engine_version: Annotated[_Release, _REQUIRED]
    """vLLM release."""
    extrapolated: Annotated[bool, Recorded(absent=False)]
    """The engine is newer than the newest known one."""
    tensor_parallel_size: Annotated[_AtLeastOne, _REQUIRED]
    """GPUs that share each layer."""
    pipeline_parallel_size: Annotated[_AtLeastOne, Recorded(absent=1)]
    """Stages of layers."""
    data_parallel_size: Annotated[_AtLeastOne, Recorded(absent=1)]
    """Engine copies in one replica."""
    enable_expert_parallel: Annotated[bool, Recorded(name="expert_parallel", absent=False)]
    """Whole experts on ranks."""
    decode_context_parallel_size: Annotated[_AtLeastOne, Recorded(absent=1)] = 1
    """Ranks that share one sequence's KV cache."""
    nodes_per_replica: Annotated[_AtLeastOne, Recorded(absent=1)] = 1
    """Nodes that one replica spans."""
    may_surge: Annotated[bool, Recorded(absent=False, in_digest=False)] = False
    """A rolling update starts a new replica before it stops an old one."""
    gpus_per_replica: _AtLeastOne
    """GPUs of one replica."""
    gpu_resource: Annotated[_Resource, Recorded(always=True, in_digest=True)] = GPU_RESOURCE
    """Resource the pods ask for."""
    sharing: Annotated[ShortText, Recorded(always=True, in_digest=True)] = "none"
    """How the GPUs are shared: none, time-slicing, mps or mig."""
    gpu_memory_utilization: Annotated[_Share, _REQUIRED]
    """Computed share of each GPU, three decimals."""
    max_model_len: Annotated[Tokens, _REQUIRED]
    """Longest sequence in tokens."""
    max_num_seqs: Annotated[Count, _REQUIRED]
    """Sequences in one step."""
    max_num_batched_tokens: Annotated[Tokens, _REQUIRED]
    """Tokens in one step."""
    dtype: ShortText
    """Type of weights and activations."""
    quantization: ShortText | None
    """Quantization method."""
    kv_cache_dtype: ShortText
    """Type of the KV cache."""
    kv_cache_tokens: Annotated[Tokens, _REQUIRED]
    """Tokens the KV cache holds."""
    max_concurrency: Annotated[Decimal, _REQUIRED]
    """Requests of maxModelLen that the KV cache holds."""
    gpu_total_bytes: Bytes
    """CUDA total of one GPU."""
    allocated_bytes: Bytes
    """Utilisation times the CUDA total of one GPU."""
    kv_cache_needed_bytes: Annotated[Bytes, Recorded(in_digest=False)]
    """What one request of maxModelLen, or the worksheet, needs per rank."""
    kv_cache_needed_tokens: Annotated[Tokens, Recorded(always=True, in_digest=False)] = 0
    """The same in tokens, to compare with kvCacheTokens."""
    replicas_needed: Annotated[Count, Recorded(in_digest=False)] = 0
    """Replicas of this plan that hold the worksheet's requests."""
    kv_cache_interval_bytes: Annotated[_Interval, Recorded(absent=())]
    """Where the KV cache of such a start ends, as logged starts did; lower and upper end."""
    host_memory_bytes: Bytes
    """Host memory of the pod."""
    template_memory_bytes: Bytes = 0
    """Host memory that spec.template adds to it."""
    template_cpu_millis: Tokens = 0
    """CPU that spec.template adds to the pod, in thousandths."""
    pod_form: Annotated[Count, Recorded(in_digest=False)] = 0
    """Form of the pods beyond their sizes, counted up by releases that change it: pods of earlier plans stay as they are."""
    startup_seconds: Annotated[Count, Recorded(in_digest=False)] = 0
    """Seconds that a pod has to start, from what it loads; 0: an hour."""
    termination_grace_seconds: Annotated[Count, Recorded(in_digest=False)] = 0
    """Seconds that a pod has to answer what is in flight and end; 0: a minute, and nothing is waited for."""
    ephemeral_storage_bytes: Bytes = 0
    """Ephemeral storage of the pod: downloaded weights, written caches and scratch volumes."""
    predicted: Annotated[
        PredictedMemory, As(MemoryByComponent, show=MemoryByComponent.of, read=partial(read_back, PredictedMemory)), _REQUIRED
    ]
    """Predicted bytes of the fullest rank."""
    node_selectors: Annotated[_LabelSets, Recorded(absent=())] = ()
    """Node labels that steer the pods, any one of the sets; empty where the product label of GPU feature discovery does."""
    learned_bytes: Annotated[Bytes, Recorded(in_digest=False)] = 0
    """What of nonTorchBytes the deployment's own engines have taught: an earlier plan's took so much more than was predicted of it."""
    calibrated_bytes: Annotated[_Moved, Recorded(in_digest=False)] = 0
    """What of predicted is neither weights nor KV cache and comes of EngineCalibrations; negative: they have lowered it."""
    cause_of_doubt: Annotated[ShortText, Recorded(in_digest=False)] = ""
    """What the prediction is most in doubt of, by which calibration is told apart."""
    available_now: Annotated[bool, Recorded(in_digest=False)]
    """The GPUs were free when this was decided."""

    @property
    def gpus_per_pod(self) -> int:
        """GPUs of one pod: a replica's share of one node."""
        return self.gpus_per_replica // self.nodes_per_replica

    @property
    def engine_cpu_millis(self) -> int:
        """CPU of the engine's container, which follows from its GPUs, beside which `host_memory_bytes` is its memory."""
        return cpu_millis(self.gpus_per_pod)

    @property
    def pod_requests(self) -> PodRequests:
        """All that one pod asks of its node: the engine's container and what spec.template adds to it."""
        return PodRequests(
            gpus=self.gpus_per_pod,
            host_memory_bytes=self.host_memory_bytes + self.template_memory_bytes,
            host_cpu_millis=self.engine_cpu_millis + self.template_cpu_millis,
            ephemeral_storage_bytes=self.ephemeral_storage_bytes,
        )

    def canonical_json(self) -> str:
        """The one textual form: sorted keys, no spaces, no floats."""
        return _text(self)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Inverse of canonical_json, for the annotation on children, which anybody may edit who may edit the child.

        Raises ValueError on text that is no plan within the bounds above, and nothing else. Reads what earlier releases wrote: a
        field they did not know has its default.
        """
        if len(text) > MAX_PLAN_TEXT:
            raise ValueError(f"a plan of {len(text)} characters: at most {MAX_PLAN_TEXT} are read")
        try:
            plan: Plan = adapter(Plan).validate_json(text)
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
        """Short stable digest of what the pods would run, 16 hexadecimal digits.

        A field that is younger than some plans out there counts only where it says something: their digests still hold.
        """
        return _digest(self)


@lru_cache(maxsize=128)
def _text(plan: Plan) -> str:
    """A plan that is answered with is answered with again: its text is several times what finding it costs."""
    return _one_form({name: getattr(plan, name) for name in _PLAN_FIELDS})


@lru_cache(maxsize=512)
def _digest(plan: Plan) -> str:
    """Asked five times for each look at a deployment, by whoever compares plans."""
    return hashlib.sha256(_one_form(digested(plan)).encode()).hexdigest()[:16]


@status_of(Plan)
class PlanStatus(StatusModel):
    """A plan: estimate and placement."""

    digest: ShortText
    """Digest of what the pods run."""

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """A plan as status shows it."""
        return cls.model_validate(shown(plan) | {"digest": plan.digest})

    def as_plan(self) -> Plan | None:
        """Inverse of `of`, for a child that somebody deleted; None when a figure is missing or out of bounds, or the digest disagrees."""
        try:
            plan = Plan.from_json(json.dumps(read_back(Plan, self)))
        except ValueError:
            return None
        return plan if plan.digest == self.digest else None


_PLAN_FIELDS: Final = tuple(field.name for field in fields(Plan))


def _one_form(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), default=asdict)


def _most(kind: type[Plan] | type[PredictedMemory]) -> dict[str, tuple[int | None, int | None]]:
    """By field: the largest number and the most entries that its annotation allows; None where it says nothing."""
    found: dict[str, tuple[int | None, int | None]] = {}
    hints = get_type_hints(kind, include_extras=True)
    for name, hint in ((field.name, hints[field.name]) for field in fields(kind)):
        rules = [rule for part in marked(hint, FieldInfo) for rule in part.metadata]
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
