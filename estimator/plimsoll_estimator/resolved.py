"""The types the estimator's parts hand to one another: resolved arguments in, bytes per rank and KV plans out.

`resolve` makes ResolvedArgs; `weights`, `kv_cache` and `overhead` read it; `estimate` composes. Only values live here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, Literal

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion

Interconnect = Literal["nvlink", "pcie", "network"]


DeviceMemory = Literal["own", "coherent", "unified"]
"""Whose the memory is: the card's own; its own, but Linux may count it as the host's too (GH200, GB200); or one with the host's (GB10)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as CUDA sees it. `total_memory_bytes` is cudaMemGetInfo's total, never the marketing size."""

    product: str
    total_memory_bytes: int
    free_memory_bytes: int | None = None
    interconnect: Interconnect
    compute_capability: tuple[int, int]
    total_is_exact: bool = True
    pages_to_host: bool = False
    """Under Windows' driver model (WSL2) an allocation past the card's memory goes to the host's and does not fail."""
    memory: DeviceMemory = "own"
    driver_major: int | None = None
    """Branch of the NVIDIA driver, such as 535 (`nvidia.com/cuda.driver-version.major`); None: nobody says, taken for 550 or later."""

    @property
    def capability(self) -> int:
        """Compute capability as vLLM compares it: 8.9 -> 89."""
        return self.compute_capability[0] * 10 + self.compute_capability[1]


GraphMode = Literal["none", "piecewise", "full"]
"""CUDA graphs that are captured: none, pieces of the model between its attention layers alone, or whole ones (of decodes at least) too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedArgs:
    """What vLLM of `version` makes of the user's arguments for one model on one GPU type. Nothing is None by omission."""

    version: EngineVersion
    extrapolated: bool
    gpu: Gpu
    given: EngineArgs
    architecture: str
    dtype: str
    quantization: str | None
    kv_cache_dtype: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    data_parallel_size: int
    enable_expert_parallel: bool
    decode_context_parallel_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    block_size: int | None
    enforce_eager: bool
    enable_prefix_caching: bool
    enable_chunked_prefill: bool
    num_speculative_tokens: int
    runner: Literal["generate", "pooling"]
    uses_v2_model_runner: bool
    async_scheduling: bool
    max_in_flight_tokens: int
    max_cudagraph_capture_size: int
    cudagraph_mode: GraphMode = "full"
    nnodes: int = 1
    """Nodes that one replica spans (vLLM's --nnodes): ranks fill node after node, tensor parallel groups first."""
    hybrid_kv_cache_manager: bool = True
    """Layers that keep less than full attention get groups of their own, where the release has them; else all are planned as it."""
    shares_experts: bool = False
    """Whether data-parallel engines hold routed experts together, and so run collectives with one another."""

    @property
    def text_only(self) -> bool:
        """Whether every modality that is named is limited to no item, and not videos alone: what sees videos sees images as well."""
        limits = self.given.limit_mm_per_prompt
        return bool(limits and limits.keys() - {"video"}) and self.admits_none(*(limits or ()))

    def admits_none(self, *modalities: str) -> bool:
        """Whether the arguments limit every one of these modalities to no item; one that they do not name is admitted."""
        limits = self.given.limit_mm_per_prompt
        return all(items_a_prompt(limits, modality) == 0 for modality in modalities) if limits else not modalities

    @property
    def ranks_per_node(self) -> int:
        """Ranks, and GPUs, of one replica on each of its nodes."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size // self.nnodes

    @property
    def collective_ranks(self) -> int:
        """Ranks of the largest group that runs collectives in a step: tensor parallel, or all that share the experts."""
        return self.tensor_parallel_size * (self.data_parallel_size if self.shares_experts else 1)

    @property
    def collectives_leave_node(self) -> bool:
        """Whether some collective of every step crosses the network between nodes."""
        if self.nnodes == 1:
            return False
        shared = self.shares_experts and self.data_parallel_size > 1
        return shared or self.ranks_per_node % self.tensor_parallel_size != 0


def items_a_prompt(limits: Mapping[str, object], modality: str) -> int | None:
    """Items of a modality that limit_mm_per_prompt admits: a number, or the `count` of an object (config/multimodal.py); None: silent."""
    given = limits.get(modality)
    if isinstance(given, Mapping):
        given = given.get("count")
    return given if isinstance(given, int) and not isinstance(given, bool) else None


class Sight:
    """What one part of the estimator sees of ResolvedArgs: of the GPU its capability, of the user's own words those named.

    `key` is all of it, hashable; `resolved` makes arguments of a key again, the rest neutral. What a part computes from those
    alone cannot depend on anything else, so layouts, cards and lengths that share a key share the answer.
    """

    __slots__ = ("_all", "_given", "_key", "_names", "_unseen")

    def __init__(self, *, unseen: Mapping[str, Any], given: tuple[str, ...]) -> None:
        self._unseen = dict(unseen)
        self._names = tuple(f.name for f in fields(ResolvedArgs) if f.name not in self._unseen and f.name not in ("gpu", "given"))
        self._given = given
        self._all = ("gpu", "given", *self._unseen, *self._names)
        self._key = attrgetter(*self._names, *(f"given.{name}" for name in given), "gpu.compute_capability")

    def key(self, resolved: ResolvedArgs) -> tuple[Any, ...]:
        """Equal for arguments that this part cannot tell apart."""
        found: tuple[Any, ...] = self._key(resolved)
        return found

    def resolved(self, key: tuple[Any, ...], max_model_len: int = 0) -> ResolvedArgs:
        """Arguments with this key, and a length where the part sees none but is told."""
        known = len(self._names)
        given = _NOTHING_SAID
        if key[known:-1].count(None) < len(self._given):
            given = EngineArgs(**dict(zip(self._given, key[known:-1], strict=True)))
        made = object.__new__(ResolvedArgs)
        # As its own __init__ sets them, which sorts out thirty names by keyword before.
        deque(map(object.__setattr__, repeat(made), self._all, (_of_capability(key[-1]), given, *self._unseen.values(), *key)), maxlen=0)
        if max_model_len:
            object.__setattr__(made, "max_model_len", max_model_len)
        return made


_NOTHING_SAID: Final = EngineArgs()


@lru_cache(maxsize=64)
def _of_capability(compute_capability: tuple[int, int]) -> Gpu:
    """A GPU of which nothing else is known."""
    return Gpu(product="", total_memory_bytes=0, interconnect="pcie", compute_capability=compute_capability)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankWeights:
    """Bytes of weights of one rank. `created` as the classes allocate them, `loaded` as vLLM logs "Model loading took"."""

    created_bytes: int
    loaded_bytes: int
    largest_transient_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPlan:
    """vLLM's KV-cache plan. `kv_block_bytes` has one entry per pipeline stage: bytes of one block on that stage's ranks."""

    block_size: int
    kv_block_bytes: tuple[int, ...]
    num_gpu_blocks_per_stage: tuple[int, ...]
    num_gpu_blocks: int
    kv_cache_tokens: int
    max_concurrency: float
    max_model_len: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KvRefusal:
    """The planner refuses: at which check, sentence, and the estimated maximum length where vLLM works one out."""

    reason: Check
    message: str
    estimated_max_model_len: int | None
    block_size: int | None
    kv_block_bytes: tuple[int, ...]
    needed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEstimate:
    """Bytes of one kind of rank, by component. `available_kv_cache_bytes` may be negative."""

    rank: int
    count: int
    weights_bytes: int
    weights_created_bytes: int
    activation_bytes: int
    cuda_graph_bytes: int
    cuda_graph_pool_bytes: int
    non_torch_bytes: int
    available_kv_cache_bytes: int
    kv_block_bytes: int | None
    num_gpu_blocks: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideBudget:
    """Bytes per GPU that live outside utilisation x total, each at its 95th percentile."""

    pre_snapshot_bytes: int
    post_kv_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Bytes that running engines taught to add to each rank's needs, by component; negative lowers a need.

    What lives outside the budget has no interval and is only ever raised.
    """

    weights_bytes: int = 0
    activation_bytes: int = 0
    cuda_graph_bytes: int = 0
    non_torch_bytes: int = 0
    outside_budget_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The whole answer. `verdict` starts or refused; when refused, figures worked out on the way are kept.

    `host_memory_bytes` is what one pod cannot run without, `host_memory_at_most_bytes` what loading and caches may come to.
    """

    verdict: Literal["starts", "refused"]
    reason: Check | None
    message: str | None
    ranks: tuple[RankEstimate, ...]
    resolved: ResolvedArgs | None
    kv_plan: KvPlan | None
    block_size: int | None
    estimated_max_model_len: int | None
    available_kv_cache_interval_bytes: tuple[int, int] | None
    outside_budget: OutsideBudget | None
    needed_kv_cache_bytes: int | None
    host_memory_bytes: int | None
    host_memory_at_most_bytes: int | None
    warnings: tuple[str, ...] = field(default=())
