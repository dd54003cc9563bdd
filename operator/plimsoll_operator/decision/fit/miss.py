"""By how much a layout misses, and why: what a rejection says, and what tells the search where to look next.

Made by `fit` from estimates, by `search` and `host` from pools. Knows bytes and reasons, no verdicts and no sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator import Check, Estimate, Gpu, OutsideBudget, RankEstimate, Unsupported
from plimsoll_operator.decision.fit import utilisation
from plimsoll_operator.decision.fit.kv_demand import fullest, needed_kv_bytes
from plimsoll_operator.decision.request.fields import in_api_words
from plimsoll_operator.verdict import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """It does not. Bytes are per GPU of the fullest rank, `parts` its components; `hopeless`: the weights alone are too much.

    `check` is the check of vLLM, or the missing rule, where it is not memory that is short; `about` the argument that it, or a
    workload that is not served, speaks of. `estimated_max_model_len` is the longest request for which the cache would have done at
    these arguments, at the end of the interval that was judged by. `edge_bytes` is the interval of the cache where its upper end would do.
    """

    reason: Reason
    message: str
    component: str | None = None
    needed_bytes: int | None = None
    available_bytes: int | None = None
    parts: tuple[tuple[str, int], ...] = ()
    estimated_max_model_len: int | None = None
    hopeless: bool = False
    check: Check | None = None
    about: str | None = None
    edge_bytes: tuple[int, int] | None = None

    @property
    def short_by_bytes(self) -> int:
        """How far off; misses without figures are the furthest."""
        if self.needed_bytes is None or self.available_bytes is None:
            return 1 << 62
        return self.needed_bytes - self.available_bytes

    @property
    def whatever_the_layout(self) -> bool:
        """Whether no other parallel size removes it: context, types, quantization, batch sizes, a missing rule."""
        return self.check is not None and not self.check.depends_on_layout


def pinned_problem(outside: OutsideBudget, gpu: Gpu, pinned: float, room_bytes: int) -> Miss | None:
    """A pinned utilisation that leaves too little beside the budget: vLLM's free-memory check, or an OOM after KV sizing.

    `room_bytes` is what there is for the engine. On a time-sliced card what the other parts may hold is not there: Kubernetes does not
    say which card a replica gets.
    """
    requested = utilisation.requested_bytes(utilisation.thousandths_of(pinned), gpu.total_memory_bytes)
    beside = outside.pre_snapshot_bytes + outside.post_kv_bytes
    most = utilisation.text(max(0, utilisation.computed(outside, 0, gpu.total_memory_bytes, room_bytes)))
    if requested + beside <= room_bytes:
        return None
    return Miss(
        reason=Reason.INSUFFICIENT_GPU_MEMORY,
        message=f"gpuMemoryUtilization {pinned} leaves too little for what vLLM allocates outside of it: at most {most} here",
        about="gpu_memory_utilization",
        component="outsideBudget",
        needed_bytes=requested + beside,
        available_bytes=room_bytes,
        parts=(
            ("budget", requested),
            ("CUDA context and communicators", outside.pre_snapshot_bytes),
            ("graphs and warm-up", outside.post_kv_bytes),
        ),
    )


def nothing_left(outside: OutsideBudget, gpu: Gpu, reserve_bytes: int, room_bytes: int) -> Miss:
    """No utilisation is left: what lives beside the budget, and the reserve, take the whole part of the GPU.

    The least budget that could be told to vLLM, a thousandth of the GPU, counts as needed: so what is needed exceeds what there is.
    """
    least = utilisation.requested_bytes(1, gpu.total_memory_bytes)
    parts_needed = (
        ("least budget", least),
        ("CUDA context and communicators", outside.pre_snapshot_bytes),
        ("graphs and warm-up", outside.post_kv_bytes),
        ("reserve", reserve_bytes),
    )
    return Miss(
        reason=Reason.INSUFFICIENT_GPU_MEMORY,
        message="nothing is left for the engine beside what lives outside its budget",
        component="outsideBudget",
        needed_bytes=sum(size for _, size in parts_needed),
        available_bytes=max(0, room_bytes),
        parts=parts_needed,
    )


def engine_refuses(estimate: Estimate) -> bool:
    """Refused at a check of vLLM's, not for want of memory."""
    return estimate.reason is not None and not estimate.reason.of_memory


def refusal_of(estimate: Estimate) -> Miss:
    """vLLM's own refusal of these arguments."""
    check, message = estimate.reason, in_api_words(f"{estimate.message}")
    return Miss(reason=Reason.ENGINE_REFUSES, message=message, check=check, about=None if check is None else check.about)


def doubt_about(doubt: Unsupported) -> Reason:
    """What is not known where the estimator has no rule: the release, its code for the GPU, or the model."""
    if doubt.reason is Check.KERNELS_NOT_KNOWN:
        return Reason.KERNELS_NOT_KNOWN
    return Reason.UNKNOWN_ENGINE if doubt.reason.about == "engine_version" else Reason.UNSUPPORTED_MODEL


def _components(rank: RankEstimate) -> tuple[tuple[str, int], ...]:
    """The rank's claims on the budget, in the order of the timeline."""
    return (
        ("weights", rank.weights_bytes),
        ("activation", rank.activation_bytes),
        ("CUDA graphs", rank.cuda_graph_bytes),
        ("non-torch", rank.non_torch_bytes),
    )


def _is_hopeless(rank: RankEstimate, budget: int) -> bool:
    return rank.weights_bytes + rank.non_torch_bytes >= budget


def miss_of(estimate: Estimate, budget: int, held: int, *, longest: int | None) -> Miss:
    """What is short of `budget` bytes: the cache for one request and for `held` blocks, or what comes before it.

    `longest` is handed on as the longest request for which the cache would have done.
    """
    rank = fullest(estimate)
    parts = _components(rank)
    if estimate.verdict == "refused" and estimate.kv_plan is not None:
        # The cache can be planned, and yet the start runs out of memory: while loading, capturing graphs or warming up.
        return Miss(
            reason=Reason.INSUFFICIENT_GPU_MEMORY, message=in_api_words(f"{estimate.message}"), component="start-up peak", parts=parts
        )
    before_kv = sum(size for _, size in parts)
    fits_without_kv = before_kv < budget
    kv_needed = needed_kv_bytes(estimate, held)
    plan = estimate.kv_plan
    too_few_blocks = plan is not None and plan.num_gpu_blocks < held
    if fits_without_kv and not too_few_blocks and estimate.available_kv_cache_interval_bytes is not None and estimate.verdict == "starts":
        # Refused only at the pessimistic end: what is short is the width of the doubt.
        kv_needed = max(kv_needed, rank.available_kv_cache_bytes + 1)
    if not fits_without_kv:
        component = "weights" if rank.weights_bytes >= budget else max(parts, key=lambda part: part[1])[0]
        reason = Reason.INSUFFICIENT_GPU_MEMORY
    else:
        component, reason = "KV cache", Reason.INSUFFICIENT_KV_CACHE
    needed = max(before_kv + kv_needed, budget + 1)
    return Miss(
        reason=reason,
        message=in_api_words(estimate.message or "does not fit"),
        component=component,
        needed_bytes=needed,
        available_bytes=budget,
        parts=(*parts, ("KV cache", needed - before_kv)),
        estimated_max_model_len=longest,
        hopeless=_is_hopeless(rank, budget),
        edge_bytes=_edge(estimate, rank, kv_needed),
    )


def _edge(estimate: Estimate, rank: RankEstimate, kv_needed: int) -> tuple[int, int] | None:
    """What starts leave on the rank for the cache, where the upper end holds what is needed. The interval is the first rank's."""
    interval = estimate.available_kv_cache_interval_bytes
    if interval is None or not kv_needed:
        return None
    middle = estimate.ranks[0].available_kv_cache_bytes
    low, high = (rank.available_kv_cache_bytes + end - middle for end in interval)
    return (low, high) if high >= kv_needed else None
