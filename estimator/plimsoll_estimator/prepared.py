"""One replica on one GPU type before its memory is divided: everything that no utilisation and no pool size changes.

Made by `estimate.prepare`, asked at one budget after the other by the decision. Knows vLLM's memory checks and their order; reads
no config and resolves no argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.kv_cache import KvCacheLayout, Requests, blocks_for, plan_layout
from plimsoll_estimator.overhead import HostMemory, StageOverhead, Widths, covered_percent, doubt_of, pool_interval
from plimsoll_estimator.overhead.activation import spared_bytes
from plimsoll_estimator.overhead.communication import free_at_start_bytes
from plimsoll_estimator.overhead.intervals import Cause, cause_of
from plimsoll_estimator.overhead.startup import (
    Refusal,
    check_after_cache,
    check_free_memory,
    check_graph_profiling,
    check_loading,
    check_state_blocks,
)
from plimsoll_estimator.resolved import Corrections, Estimate, KvPlan, KvRefusal, OutsideBudget, RankEstimate, RankWeights, ResolvedArgs
from plimsoll_estimator.units import format_gib


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Arguments, weights, overheads and cache layout of a replica; one entry per pipeline stage.

    `layout` is vLLM's refusal where it cannot lay the cache out. `generates_without_cache`: a decoder that attends in both
    directions, on a release that stops on its empty list of caches.
    """

    resolved: ResolvedArgs
    widths: Widths
    stages: tuple[RankWeights, ...]
    overheads: tuple[StageOverhead, ...]
    layout: KvCacheLayout | Refusal
    generates_without_cache: bool
    outside_budget: OutsideBudget
    host_memory: HostMemory
    warnings: tuple[str, ...]
    corrected_bytes: int = 0
    """What of the first rank's needs inside the budget, beside weights, are corrections."""

    @property
    def cause(self) -> Cause:
        """What the estimate is most in doubt of."""
        return cause_of(self.widths, self.resolved)

    def estimate(self, gpu_memory_utilization: float | None = None, *, available_kv_cache_bytes: int | None = None) -> Estimate:
        """The whole answer at another utilisation than the resolved one (None: at that), or with the pool given on every rank.

        With a given pool only argument checks and planning judge.
        """
        resolved = self.resolved
        if gpu_memory_utilization is not None and gpu_memory_utilization != resolved.gpu_memory_utilization:
            given = replace(resolved.given, gpu_memory_utilization=gpu_memory_utilization)
            resolved = replace(resolved, given=given, gpu_memory_utilization=gpu_memory_utilization)
        judged = available_kv_cache_bytes is None
        requested = requested_bytes(resolved)
        available = tuple(
            _available(resolved, requested, weights, overhead, available_kv_cache_bytes)
            for weights, overhead in zip(self.stages, self.overheads, strict=True)
        )
        doubt = doubt_of(self.widths, resolved) if judged and resolved.given.kv_cache_memory_bytes is None else None
        plan: KvPlan | KvRefusal | None = None
        refusal: Refusal | KvRefusal | None = None
        if isinstance(self.layout, Refusal):
            refusal, judged = self.layout, False
        else:
            plan = plan_layout(self.layout, resolved, available)
            if isinstance(plan, KvPlan) and self.generates_without_cache:
                refusal, judged = _WITHOUT_CACHE, False
            elif judged:
                refusal = self._judge(resolved, requested, plan)
            if refusal is None and isinstance(plan, KvRefusal):
                refusal = plan
            if refusal is None and doubt is not None:
                refusal = self._judge_first_start(resolved, available, doubt.first_start)
                plan = refusal or plan
        interval = None
        if doubt is not None:
            interval = pool_interval(resolved, available[0], self.overheads[0].charged_bytes, doubt)
        return self._answer(resolved, available, plan, refusal, interval)

    def corrected(self, corrections: Corrections) -> Prepared:
        """The same with corrected needs: raised as told, lowered in all by no more than the upper half of the pool's own interval.

        The cache then is at most what the uncorrected interval promised at its upper end.
        """
        lowest, highest = pool_interval(self.resolved, 0, self.overheads[0].charged_bytes)
        assert lowest <= 0 <= highest, "an interval holds its middle"
        parts = (corrections.weights_bytes, corrections.activation_bytes, corrections.cuda_graph_bytes, corrections.non_torch_bytes)
        lowered = -sum(part for part in parts if part < 0)
        weights, activation, graphs, non_torch = (
            part if part >= 0 or lowered <= highest else -(-part * highest // lowered) for part in parts
        )
        outside = self.outside_budget
        stages = tuple(replace(stage, loaded_bytes=max(0, stage.loaded_bytes + weights)) for stage in self.stages)
        overheads = tuple(
            one._replace(
                activation_bytes=max(0, one.activation_bytes + activation),
                cuda_graph_bytes=max(0, one.cuda_graph_bytes + graphs),
                non_torch_bytes=max(0, one.non_torch_bytes + non_torch),
            )
            for one in self.overheads
        )
        moved = overheads[0].charged_bytes - self.overheads[0].charged_bytes
        return replace(
            self,
            stages=stages,
            overheads=overheads,
            corrected_bytes=self.corrected_bytes + moved,
            outside_budget=replace(outside, post_kv_bytes=outside.post_kv_bytes + max(0, corrections.outside_budget_bytes)),
        )

    def starts_with_pool(self, available_kv_cache_bytes: int, num_gpu_blocks: int = 0) -> bool:
        """Whether `estimate` with this pool on every rank would start, with at least so many blocks."""
        if isinstance(self.layout, Refusal) or self.generates_without_cache:
            return False
        available = (max(0, available_kv_cache_bytes),) * len(self.stages)
        if not num_gpu_blocks and self.resolved.given.max_model_len != -1:
            return self.layout.accepts(available)
        plan = plan_layout(self.layout, self.resolved, available)
        return isinstance(plan, KvPlan) and plan.num_gpu_blocks >= num_gpu_blocks

    def edge_of(self, answer: Estimate) -> str | None:
        """The sentence to add where the answer of `estimate` would be another one at an end of its own interval; None elsewhere.

        The verdict is that of the middle; what starts there and not at the lower end is not to be relied on, and the sentence says so.
        """
        interval = answer.available_kv_cache_interval_bytes
        if interval is None or (answer.verdict == "refused" and answer.reason not in _SHORT_OF_CACHE):
            return None
        starts = answer.verdict == "starts"
        if starts == self.starts_with_pool(interval[0] if starts else interval[1]):
            return None
        low, high = (format_gib(max(0, end)) for end in interval)
        told = "at the lower end it does not start: do not rely on it" if starts else "it starts at the upper end alone: taken as refused"
        return f"on the edge: {covered_percent()} % of such starts leave {low} to {high} for the KV cache, and {told}"

    def spared_by_compile_cache_bytes(self) -> int:
        """What the cache gains, of what is counted here, in a start that finds its graphs compiled; 0 where nothing was seen to."""
        return spared_bytes(self.widths, self.resolved) if self.resolved.given.compile_cache == "cold" else 0

    def longest_with_pool(self, available_kv_cache_bytes: int) -> int:
        """The longest request that the planner would take with this pool on every rank, up to the resolved length; 0: none."""
        if isinstance(self.layout, Refusal):
            return 0
        return self.layout.fitting_max_model_len((max(0, available_kv_cache_bytes),) * len(self.stages))

    def blocks_held_by(self, load: Iterable[Requests]) -> int:
        """Blocks of one engine's cache that the load holds at once; 0 where there is no cache, or vLLM cannot lay it out."""
        if isinstance(self.layout, Refusal):
            return 0
        resolved = self.resolved
        return blocks_for(
            self.layout, load, prefix_caching=resolved.enable_prefix_caching, lookahead_tokens=resolved.num_speculative_tokens
        )

    def _judge(self, resolved: ResolvedArgs, requested: int, plan: KvPlan | KvRefusal) -> Refusal | None:
        """The first memory check that stops the start, in vLLM's order; None leaves the word to the planner."""
        free = free_at_start_bytes(resolved)
        found = check_free_memory(resolved, free, requested)
        if found is not None:
            return found
        for weights, overhead in zip(self.stages, self.overheads, strict=True):
            found = check_loading(free, weights, overhead)
            if found is not None:
                return found
        found = self._judge_graph_profiling(resolved, free)
        if found is not None or isinstance(plan, KvRefusal):
            return found
        captured_states = 0 if isinstance(self.layout, Refusal) else self.layout.captured_states
        found = check_state_blocks(captured_states, resolved, plan)
        if found is not None:
            return found
        for weights, overhead in zip(self.stages, self.overheads, strict=True):
            found = check_after_cache(resolved, free, weights, overhead, requested)
            if found is not None:
                return found
        return None

    def _judge_graph_profiling(self, resolved: ResolvedArgs, free: int) -> Refusal | None:
        blocks = () if isinstance(self.layout, Refusal) else self.layout.kv_block_bytes
        for weights, overhead, size in zip(self.stages, self.overheads, blocks, strict=False):
            found = check_graph_profiling(resolved, free, weights, overhead, size)
            if found is not None:
                return found
        return None

    def _judge_first_start(self, resolved: ResolvedArgs, available: tuple[int, ...], spared: int) -> KvRefusal | None:
        """The planner's refusal in a start that compiles, where nobody says which start is meant and the pool is the other's.

        What is not known never fits: a pod starts a first time too.
        """
        if not spared or isinstance(self.layout, Refusal):
            return None
        plan = plan_layout(self.layout, resolved, (available[0] - spared, *available[1:]))
        if not isinstance(plan, KvRefusal):
            return None
        told = f"in a start that finds no compile cache, which holds {format_gib(spared)} more while it compiles: {plan.message}"
        return replace(plan, message=f"{told}; say compile_cache: warm for one that finds its graphs compiled")

    def _answer(
        self,
        resolved: ResolvedArgs,
        available: tuple[int, ...],
        plan: KvPlan | KvRefusal | None,
        refusal: Refusal | KvRefusal | None,
        interval: tuple[int, int] | None,
    ) -> Estimate:
        refused = plan if isinstance(plan, KvRefusal) else None
        by_planner = refused is not None and refusal is not None and refusal.reason == refused.reason
        return Estimate(
            verdict="starts" if refusal is None else "refused",
            reason=refusal.reason if refusal is not None else None,
            message=refusal.message if refusal is not None else None,
            ranks=self._ranks(available, plan),
            resolved=resolved,
            kv_plan=plan if isinstance(plan, KvPlan) else None,
            block_size=plan.block_size if plan else None,
            estimated_max_model_len=refused.estimated_max_model_len if refused is not None and by_planner else None,
            available_kv_cache_interval_bytes=interval,
            outside_budget=self.outside_budget,
            needed_kv_cache_bytes=refused.needed_bytes if refused else None,
            host_memory_bytes=self.host_memory.resident_bytes,
            host_memory_at_most_bytes=self.host_memory.at_most_bytes,
            warnings=self.warnings,
        )

    def _ranks(self, available: tuple[int, ...], plan: KvPlan | KvRefusal | None) -> tuple[RankEstimate, ...]:
        tp = self.resolved.tensor_parallel_size
        return tuple(
            RankEstimate(
                rank=stage * tp,
                count=tp,
                weights_bytes=weights.loaded_bytes,
                weights_created_bytes=weights.created_bytes,
                activation_bytes=overhead.activation_bytes,
                cuda_graph_bytes=overhead.cuda_graph_bytes,
                cuda_graph_pool_bytes=overhead.cuda_graph_pool_bytes,
                non_torch_bytes=overhead.non_torch_bytes,
                available_kv_cache_bytes=pool,
                kv_block_bytes=plan.kv_block_bytes[stage] if plan and stage < len(plan.kv_block_bytes) else None,
                num_gpu_blocks=plan.num_gpu_blocks_per_stage[stage] if isinstance(plan, KvPlan) else None,
            )
            for stage, (weights, overhead, pool) in enumerate(zip(self.stages, self.overheads, available, strict=True))
        )


_SHORT_OF_CACHE: Final = frozenset({Check.NO_KV_CACHE_MEMORY, Check.KV_CACHE_TOO_SMALL, Check.STATE_BLOCKS_BELOW_SEQS})
_WITHOUT_CACHE: Final = Refusal(
    reason=Check.NO_ATTENTION_CACHE,
    message="the model attends in both directions and keeps no KV cache; this release plans it only as a pooling model",
)


def requested_bytes(resolved: ResolvedArgs) -> int:
    """utilisation x total, rounded up as vLLM does (v1/worker/utils.py:request_memory)."""
    return math.ceil(resolved.gpu.total_memory_bytes * resolved.gpu_memory_utilization)


def _available(resolved: ResolvedArgs, requested: int, weights: RankWeights, overhead: StageOverhead, given: int | None) -> int:
    if given is not None:
        return given
    if resolved.given.kv_cache_memory_bytes is not None:
        return resolved.given.kv_cache_memory_bytes
    return requested - weights.loaded_bytes - overhead.charged_bytes
