"""One estimate: resolve the arguments, add up weights and overheads against the budget, plan the KV cache, judge.

Called by every door (CLI, batch, webhook, controller). Expected refusals are values; InvalidInput and Unsupported are raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import plan_kv_cache
from plimsoll_estimator.overhead import StageOverhead, stage_overhead
from plimsoll_estimator.overhead.uncertainty import pool_interval
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import Estimate, Gpu, KvPlan, KvRefusal, RankEstimate, RankWeights, ResolvedArgs
from plimsoll_estimator.weights import weights_per_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTotals:
    """The totals of a checkpoint's safetensors headers."""

    total_bytes: int
    bytes_by_dtype: Mapping[str, int]


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
        return _refused(refusal.reason, str(refusal), None, ())
    try:
        stages = weights_per_stage(config, resolved)
    except EngineRefusal as refusal:
        return _refused(refusal.reason, str(refusal), resolved, ())
    overheads = tuple(stage_overhead(config, resolved, stage) for stage in range(len(stages)))
    available = tuple(_available(resolved, w, o, available_kv_cache_bytes) for w, o in zip(stages, overheads, strict=True))
    try:
        plan = plan_kv_cache(config, resolved, available)
    except EngineRefusal as refusal:
        return _refused(refusal.reason, str(refusal), resolved, _ranks(resolved, stages, overheads, available, None))
    ranks = _ranks(resolved, stages, overheads, available, plan)
    interval = None if available_kv_cache_bytes is not None else pool_interval(resolved, available[0], overheads[0].charged_bytes)
    if isinstance(plan, KvRefusal):
        return _refused(plan.reason, plan.message, resolved, ranks, plan, interval)
    return Estimate(
        verdict="starts",
        reason=None,
        message=None,
        ranks=ranks,
        resolved=resolved,
        kv_plan=plan,
        block_size=plan.block_size,
        estimated_max_model_len=None,
        available_kv_cache_interval_bytes=interval,
        outside_budget=None,
        needed_kv_cache_bytes=None,
        host_memory_bytes=None,
    )


def requested_bytes(resolved: ResolvedArgs) -> int:
    """utilisation x total, rounded up as vLLM does (v1/worker/utils.py:request_memory)."""
    return math.ceil(resolved.gpu.total_memory_bytes * resolved.gpu_memory_utilization)


def _available(resolved: ResolvedArgs, weights: RankWeights, overhead: StageOverhead, given: int | None) -> int:
    if given is not None:
        return given
    if resolved.given.kv_cache_memory_bytes is not None:
        return resolved.given.kv_cache_memory_bytes
    return requested_bytes(resolved) - weights.loaded_bytes - overhead.charged_bytes


def _ranks(
    resolved: ResolvedArgs,
    stages: Sequence[RankWeights],
    overheads: Sequence[StageOverhead],
    available: Sequence[int],
    plan: KvPlan | KvRefusal | None,
) -> tuple[RankEstimate, ...]:
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
        for stage, (weights, overhead, pool) in enumerate(zip(stages, overheads, available, strict=True))
    )


def _refused(
    reason: str,
    message: str,
    resolved: ResolvedArgs | None,
    ranks: tuple[RankEstimate, ...],
    plan: KvRefusal | None = None,
    interval: tuple[int, int] | None = None,
) -> Estimate:
    return Estimate(
        verdict="refused",
        reason=reason,
        message=message,
        ranks=ranks,
        resolved=resolved,
        kv_plan=None,
        block_size=plan.block_size if plan else None,
        estimated_max_model_len=plan.estimated_max_model_len if plan else None,
        available_kv_cache_interval_bytes=interval,
        outside_budget=None,
        needed_kv_cache_bytes=plan.needed_bytes if plan else None,
        host_memory_bytes=None,
    )


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
