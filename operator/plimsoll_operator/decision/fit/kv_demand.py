"""What requests hold of the KV cache: blocks, bytes and tokens, counted by the layout's groups as vLLM's planner counts them.

Called by `fit` for every try, by `plan` and `wording` for what they show. Knows no pools and no verdicts.
"""

from __future__ import annotations

import math

from plimsoll_estimator import NULL_BLOCKS, Estimate, Prepared, RankEstimate, ceil_div
from plimsoll_operator.decision.request.worksheet import EngineTraffic


def fullest(estimate: Estimate) -> RankEstimate:
    """The rank with the least room for KV cache."""
    return min(estimate.ranks, key=lambda rank: (rank.available_kv_cache_bytes, rank.rank))


def demanded_blocks(prepared: Prepared, traffic: EngineTraffic | None) -> int:
    """Blocks of the KV cache that the requests of one engine hold at once, headroom and the block vLLM keeps for itself included.

    Counted by the layout's groups, so that block rounding, sliding windows and recurrent state are those of the plan.
    """
    if traffic is None:
        return 0
    blocks = prepared.blocks_held_by(traffic.requests)
    return traffic.with_headroom(blocks) + NULL_BLOCKS if blocks else 0


def needed_kv_bytes(estimate: Estimate, demanded: int = 0) -> int:
    """What the demanded blocks, and at least one request of max_model_len, take on the fullest rank."""
    return max(_one_request_bytes(estimate), demanded * (fullest(estimate).kv_block_bytes or 0))


def needed_kv_tokens(estimate: Estimate, demanded: int = 0) -> int:
    """The same in tokens as the plan counts them, rounded up: the part of its blocks that is demanded, and at least one request."""
    plan, resolved = estimate.kv_plan, estimate.resolved
    if plan is None or resolved is None or not plan.kv_cache_tokens:
        return 0
    return max(resolved.max_model_len, ceil_div(plan.kv_cache_tokens * demanded, plan.num_gpu_blocks))


def _one_request_bytes(estimate: Estimate) -> int:
    """One request of max_model_len: blocks / concurrency, rounded up to whole blocks."""
    if estimate.needed_kv_cache_bytes is not None:
        return estimate.needed_kv_cache_bytes
    kv, rank = estimate.kv_plan, fullest(estimate)
    if kv is None or rank.kv_block_bytes is None or kv.max_concurrency <= 0:
        return 0
    return rank.kv_block_bytes * math.ceil(kv.num_gpu_blocks / kv.max_concurrency - 1e-6)
