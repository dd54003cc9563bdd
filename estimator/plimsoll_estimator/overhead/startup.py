"""The start-up memory checks beside the KV planner, in the order vLLM meets them, and what lives outside the budget.

Called by `prepared`. Each check answers a Refusal or None; `free` is `communication.free_at_start_bytes`. Refuses to know blocks of caches.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.checks import Check
from plimsoll_estimator.overhead.communication import pre_snapshot_bytes
from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.stage import StageOverhead
from plimsoll_estimator.resolve.batching import largest_capture
from plimsoll_estimator.resolved import KvPlan, OutsideBudget, RankWeights, ResolvedArgs
from plimsoll_estimator.units import GIB, format_gib

_MXFP4 = ("mxfp4", "gpt_oss_mxfp4")
_PESSIMISM = 1.3  # measured graph pools lie within 30 % of the fitted line


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A start-up that stops: at which check, and one sentence."""

    reason: Check
    message: str


def check_free_memory(resolved: ResolvedArgs, free: int, requested_bytes: int) -> Refusal | None:
    """vLLM v1/worker/utils.py:request_memory: free memory must cover utilisation x total."""
    if free >= requested_bytes:
        return None
    return Refusal(
        reason=Check.FREE_MEMORY_BELOW_REQUESTED,
        message=f"free memory on the device ({format_gib(free)}) is less than the desired utilisation "
        f"({resolved.gpu_memory_utilization}, {format_gib(requested_bytes)})",
    )


def check_loading(free: int, weights: RankWeights, overhead: StageOverhead) -> Refusal | None:
    """Loading and the profile run are bound by physical free memory, not by the budget."""
    loading = weights.loaded_bytes + weights.largest_transient_bytes
    if loading > free:
        return Refusal(
            reason=Check.OUT_OF_MEMORY_LOADING,
            message=f"loading the weights needs {format_gib(loading)} per GPU, {format_gib(free)} is free" + _originals(weights),
        )
    profiling = weights.loaded_bytes + overhead.uncounted_bytes + overhead.grown_bytes + overhead.activation_bytes
    if profiling > free:
        return Refusal(
            reason=Check.OUT_OF_MEMORY_PROFILING,
            message=f"the profile run needs {format_gib(profiling)} per GPU, {format_gib(free)} is free",
        )
    return None


def check_graph_profiling(
    resolved: ResolvedArgs, free: int, weights: RankWeights, overhead: StageOverhead, kv_block_bytes: int
) -> Refusal | None:
    """Graphs are captured on trial in a cache of a few blocks, which a model with large ones (states of whole sequences) may not have."""
    with_what = overhead_rules(resolved.version).graphs_are_profiled_with
    if with_what == "nothing" or resolved.cudagraph_mode == "none" or resolved.uses_v2_model_runner or resolved.gpu.pages_to_host:
        return None
    if resolved.given.kv_cache_memory_bytes is not None:
        return None
    largest = largest_capture(resolved.max_cudagraph_capture_size)
    blocks = largest if with_what == "a block for every size" else min(resolved.max_num_seqs, largest)
    needed = blocks * kv_block_bytes
    left = free - weights.loaded_bytes - overhead.uncounted_bytes - overhead.grown_bytes - overhead.kept_bytes
    if needed <= left:
        return None
    lever = "cudagraph_capture_sizes" if with_what == "a block for every size" else "max_num_seqs"
    return Refusal(
        reason=Check.OUT_OF_MEMORY_GRAPH_PROFILING,
        message=f"graphs are profiled in a cache of {blocks} blocks, which needs {format_gib(needed)} per GPU, "
        f"{format_gib(max(0, left))} is left: lower {lever}",
    )


def _originals(weights: RankWeights) -> str:
    """The rest of the sentence where weights are quantised as vLLM loads them."""
    if not weights.largest_transient_bytes:
        return ""
    return (
        f"; {format_gib(weights.largest_transient_bytes)} of it are originals that this release quantises and then drops: "
        "a checkpoint that is quantised already needs none of them"
    )


def check_state_blocks(captured_states: int, resolved: ResolvedArgs, plan: KvPlan) -> Refusal | None:
    """Each of the `captured_states` sequences needs a state block (`KvCacheLayout.captured_states`)."""
    if captured_states <= plan.num_gpu_blocks:
        return None
    asked = "max_num_seqs" if captured_states == resolved.max_num_seqs else "the largest captured batch"
    return Refusal(
        reason=Check.STATE_BLOCKS_BELOW_SEQS,
        message=f"{asked} ({captured_states}) exceeds available Mamba cache blocks ({plan.num_gpu_blocks}); "
        f"lower max_num_seqs to at most {plan.num_gpu_blocks}",
    )


def check_after_cache(
    resolved: ResolvedArgs, free: int, weights: RankWeights, overhead: StageOverhead, requested_bytes: int
) -> Refusal | None:
    """Kernel warm-up, graph capture and sampler warm-up come after the cache is allocated; they live in the slack and the freed peak."""
    if resolved.gpu.pages_to_host:
        return None
    if resolved.given.kv_cache_memory_bytes is not None:
        left = free - weights.loaded_bytes - overhead.grown_bytes - overhead.kept_bytes - resolved.given.kv_cache_memory_bytes
    else:
        left = free - requested_bytes + overhead.before_bytes + overhead.freed_bytes + overhead.cuda_graph_bytes
    left -= overhead.uncounted_bytes
    scratch = scratch_bytes(resolved)
    graphs = overhead.cuda_graph_pool_bytes + scratch
    warm_up, kernels = overhead.warm_up_bytes, overhead.kernel_warm_up_bytes
    if kernels and kernels + scratch > left:
        return Refusal(
            reason=Check.OUT_OF_MEMORY_KERNEL_WARM_UP,
            message=f"warming up DeepGEMM's kernels with {resolved.max_num_batched_tokens} tokens needs {format_gib(kernels + scratch)} "
            f"after the cache is allocated, {format_gib(max(0, left))} is left: lower max_num_batched_tokens or gpu_memory_utilization",
        )
    if graphs > left:
        return Refusal(
            reason=Check.OUT_OF_MEMORY_GRAPH_CAPTURE,
            message=f"graphs and workspaces need {format_gib(graphs)} after the cache is allocated, {format_gib(max(0, left))} is left",
        )
    if graphs + warm_up > left:
        return Refusal(
            reason=Check.OUT_OF_MEMORY_SAMPLER_WARM_UP,
            message=f"warming up the sampler with {resolved.max_num_seqs} requests needs {format_gib(warm_up)}, "
            f"{format_gib(max(0, left - graphs))} is left: lower max_num_seqs or gpu_memory_utilization",
        )
    return None


def scratch_bytes(resolved: ResolvedArgs) -> int:
    """Builder workspaces, block tables and kernel scratch allocated after KV sizing, one rank."""
    total = constant("post_kv_scratch_gib", resolved)
    if resolved.quantization in _MXFP4:
        total += constant("mxfp4_expert_scratch_gib", resolved) / resolved.tensor_parallel_size
    return int(total * GIB)


def outside_budget(resolved: ResolvedArgs, overhead: StageOverhead) -> OutsideBudget:
    """What utilisation must leave free, per GPU, at the 95th percentile: contexts before the snapshot, graphs and scratch after."""
    pool = int(_PESSIMISM * overhead.cuda_graph_pool_bytes)
    factor = 2 if resolved.extrapolated or resolved.given.unruled else 1
    # The peak of the profile run is free again by then. DeepGEMM's warm-up is over before graphs are captured.
    warm_up = max(0, overhead.warm_up_bytes - overhead.freed_bytes)
    kernels = max(0, overhead.kernel_warm_up_bytes - overhead.freed_bytes - overhead.cuda_graph_bytes)
    beyond = max(max(0, pool - overhead.cuda_graph_bytes) + warm_up, kernels)
    after = factor * (beyond + scratch_bytes(resolved))
    return OutsideBudget(pre_snapshot_bytes=pre_snapshot_bytes(resolved), post_kv_bytes=after + overhead.uncounted_bytes)
