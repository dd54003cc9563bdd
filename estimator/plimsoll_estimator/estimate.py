"""One estimate: resolve the arguments, add up weights and overheads against the budget, plan the KV cache, judge.

Called by every door (CLI, batch, webhook, controller). Expected refusals are values; InvalidInput and Unsupported are raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import plan_kv_cache
from plimsoll_estimator.overhead import (
    ModelShape,
    StageOverhead,
    host_memory_bytes,
    model_shape,
    outside_budget,
    pool_interval,
    stage_overhead,
)
from plimsoll_estimator.overhead.adapters import resident_weights
from plimsoll_estimator.overhead.drafts import draft_weights_bytes
from plimsoll_estimator.overhead.startup import Refusal, check_after_cache, check_free_memory, check_loading, check_state_blocks
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import Estimate, Gpu, KvPlan, KvRefusal, RankEstimate, RankWeights, ResolvedArgs
from plimsoll_estimator.units import format_gib
from plimsoll_estimator.weights import weights_per_stage

_PLANS_EMPTY_CACHES_SINCE: Final = EngineVersion(0, 26)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTotals:
    """The totals of a checkpoint's safetensors headers."""

    total_bytes: int
    bytes_by_dtype: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What is worked out before the cache is planned; one entry per pipeline stage."""

    shape: ModelShape
    stages: tuple[RankWeights, ...]
    overheads: tuple[StageOverhead, ...]
    available: tuple[int, ...]


def estimate(
    config: HfConfig,
    args: EngineArgs,
    gpu: Gpu,
    version: EngineVersion,
    *,
    weights: WeightTotals | None = None,
    available_kv_cache_bytes: int | None = None,
) -> Estimate:
    """The whole answer for one replica on one GPU type.

    `available_kv_cache_bytes` replaces the predicted pool on every rank; then only argument checks and planning judge.
    Raises InvalidInput (bad values) and Unsupported (no rule). A refusal keeps every figure worked out before it.
    """
    try:
        resolved = resolve(config, args, gpu, version)
    except EngineRefusal as refusal:
        return _blank("refused", refusal.reason, str(refusal), None)
    try:
        stages = weights_per_stage(config, resolved)
        drafted = draft_weights_bytes(resolved)
    except EngineRefusal as refusal:
        return _blank("refused", refusal.reason, str(refusal), resolved)
    shape = model_shape(config, resolved)
    stages = tuple(resident_weights(stage, shape, resolved) for stage in stages)
    if drafted:
        stages = (*stages[:-1], replace(stages[-1], loaded_bytes=stages[-1].loaded_bytes + drafted))
    overheads = tuple(stage_overhead(shape, resolved, stage) for stage in range(len(stages)))
    available = tuple(_available(resolved, w, o, available_kv_cache_bytes) for w, o in zip(stages, overheads, strict=True))
    parts = _Parts(shape=shape, stages=stages, overheads=overheads, available=available)
    try:
        plan = plan_kv_cache(config, resolved, available)
    except EngineRefusal as refusal:
        return _figures(_blank("refused", refusal.reason, str(refusal), resolved), parts, None, weights)
    judged = available_kv_cache_bytes is None
    if isinstance(plan, KvPlan) and _generates_without_cache(config, resolved):
        message = "the model attends in both directions and keeps no KV cache; this release plans it only as a pooling model"
        return _figures(_blank("refused", "NoAttentionCache", message, resolved), parts, plan, weights)
    refusal_by_memory = _judge(resolved, parts, plan) if judged else None
    if refusal_by_memory is not None:
        outcome = _blank("refused", refusal_by_memory.reason, refusal_by_memory.message, resolved)
    elif isinstance(plan, KvRefusal):
        outcome = _blank("refused", plan.reason, plan.message, resolved)
    else:
        outcome = _blank("starts", None, None, resolved)
    outcome = _figures(outcome, parts, plan, weights)
    if not judged or resolved.given.kv_cache_memory_bytes is not None:
        return outcome
    return replace(outcome, available_kv_cache_interval_bytes=pool_interval(resolved, available[0], overheads[0].charged_bytes))


def _generates_without_cache(config: HfConfig, resolved: ResolvedArgs) -> bool:
    """A bidirectional decoder run as a generator: vLLM's planner of 0.19.1 and 0.25.1 stops on its empty list of caches."""
    both_ways = config.text.raw("is_causal") is False
    return both_ways and resolved.runner == "generate" and resolved.version < _PLANS_EMPTY_CACHES_SINCE


def requested_bytes(resolved: ResolvedArgs) -> int:
    """utilisation x total, rounded up as vLLM does (v1/worker/utils.py:request_memory)."""
    return math.ceil(resolved.gpu.total_memory_bytes * resolved.gpu_memory_utilization)


def _available(resolved: ResolvedArgs, weights: RankWeights, overhead: StageOverhead, given: int | None) -> int:
    if given is not None:
        return given
    if resolved.given.kv_cache_memory_bytes is not None:
        return resolved.given.kv_cache_memory_bytes
    return requested_bytes(resolved) - weights.loaded_bytes - overhead.charged_bytes


def _judge(resolved: ResolvedArgs, parts: _Parts, plan: KvPlan | KvRefusal) -> Refusal | None:
    """The first memory check that stops the start, in vLLM's order; None leaves the word to the planner."""
    requested = requested_bytes(resolved)
    found = check_free_memory(resolved, requested)
    if found is not None:
        return found
    for weights, overhead in zip(parts.stages, parts.overheads, strict=True):
        found = check_loading(resolved, weights, overhead)
        if found is not None:
            return found
    if isinstance(plan, KvRefusal):
        return None
    found = check_state_blocks(parts.shape, resolved, plan)
    if found is not None:
        return found
    for stage, (weights, overhead) in enumerate(zip(parts.stages, parts.overheads, strict=True)):
        last = stage == len(parts.stages) - 1
        found = check_after_cache(parts.shape, resolved, weights, overhead, requested, last=last)
        if found is not None:
            return found
    return None


def _ranks(resolved: ResolvedArgs, parts: _Parts, plan: KvPlan | KvRefusal | None) -> tuple[RankEstimate, ...]:
    tp = resolved.tensor_parallel_size
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
        for stage, (weights, overhead, pool) in enumerate(zip(parts.stages, parts.overheads, parts.available, strict=True))
    )


def _blank(verdict: str, reason: str | None, message: str | None, resolved: ResolvedArgs | None) -> Estimate:
    return Estimate(
        verdict="starts" if verdict == "starts" else "refused",
        reason=reason,
        message=message,
        ranks=(),
        resolved=resolved,
        kv_plan=None,
        block_size=None,
        estimated_max_model_len=None,
        available_kv_cache_interval_bytes=None,
        outside_budget=None,
        needed_kv_cache_bytes=None,
        host_memory_bytes=None,
    )


def _figures(outcome: Estimate, parts: _Parts, plan: KvPlan | KvRefusal | None, weights: WeightTotals | None) -> Estimate:
    resolved = outcome.resolved
    if resolved is None:
        return outcome
    refused = plan if isinstance(plan, KvRefusal) else None
    outside = [outside_budget(resolved, overhead) for overhead in parts.overheads]
    return replace(
        outcome,
        ranks=_ranks(resolved, parts, plan),
        kv_plan=plan if isinstance(plan, KvPlan) else None,
        block_size=plan.block_size if plan else None,
        estimated_max_model_len=refused.estimated_max_model_len if refused and outcome.reason == refused.reason else None,
        outside_budget=max(outside, key=lambda one: one.post_kv_bytes),
        needed_kv_cache_bytes=refused.needed_bytes if refused else None,
        host_memory_bytes=host_memory_bytes(parts.shape, resolved, max(stage.loaded_bytes for stage in parts.stages)),
        warnings=tuple(_warnings(resolved, parts.stages, weights)),
    )


def _warnings(resolved: ResolvedArgs, stages: Sequence[RankWeights], weights: WeightTotals | None) -> list[str]:
    found = []
    if resolved.extrapolated:
        found.append(f"vLLM {resolved.version} is newer than {NEWEST_KNOWN}: extrapolated, intervals doubled")
    if not resolved.gpu.total_is_exact:
        found.append(f"the memory of {resolved.gpu.product} is taken from its label, on the low side")
    if weights is not None and weights.total_bytes:
        created = resolved.tensor_parallel_size * sum(stage.created_bytes for stage in stages)
        single = resolved.tensor_parallel_size == resolved.pipeline_parallel_size == 1
        if created < 0.98 * weights.total_bytes or (single and created > 1.02 * weights.total_bytes):
            stated, built = format_gib(weights.total_bytes), format_gib(created)
            found.append(f"the checkpoint's headers add up to {stated}, the model as built to {built} on all ranks")
    return found


def weight_totals(data: Mapping[str, Any]) -> WeightTotals:
    """Parse the batch contract's `weights`. Raises InvalidInput naming the key."""
    total = data.get("total_bytes")
    if isinstance(total, bool) or not isinstance(total, int) or not 0 <= total <= 1 << 50:
        raise InvalidInput("weights.total_bytes", total, "must be a whole number of bytes")
    by_dtype = data.get("bytes_by_dtype") or {}
    if not isinstance(by_dtype, Mapping):
        raise InvalidInput("weights.bytes_by_dtype", by_dtype, "must be an object")
    parsed: dict[str, int] = {}
    for key, value in by_dtype.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 50:
            raise InvalidInput(f"weights.bytes_by_dtype.{key}", value, "must be a whole number of bytes")
        parsed[str(key)] = value
    return WeightTotals(total_bytes=total, bytes_by_dtype=parsed)
