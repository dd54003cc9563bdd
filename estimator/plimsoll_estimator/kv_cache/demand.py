"""How many blocks requests of several lengths hold at the same time: vLLM's concurrency arithmetic for a mixed load.

Called by whoever sizes a cache for traffic rather than for one request. Knows the layout's groups, no memory sizes and no
plans: the caller compares the blocks with those of a plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plimsoll_estimator.kv_cache.groups import KvGroup
from plimsoll_estimator.kv_cache.layout import KvCacheLayout

NULL_BLOCKS = 1
"""vLLM takes one block of the pool for itself (v1/core/block_pool.py: BlockPool.null_block), in every release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """`count` requests of `tokens` each (prompt and output) in flight together; the first `shared_tokens` are one prefix of all."""

    count: int
    tokens: int
    shared_tokens: int = 0


def blocks_for(layout: KvCacheLayout, load: Iterable[Requests], *, prefix_caching: bool, lookahead_tokens: int = 0) -> int:
    """Blocks that the load holds over all groups, which draw from one pool; 0 for a model without a KV cache.

    Each request holds what `KvCacheLayout.request_blocks` counts for its length. With prefix caching, whole blocks of a common
    prefix are held once, in groups that keep every token; windows and recurrent state are each request's own.
    `lookahead_tokens` are the speculative tokens that a running request also holds slots for.
    """
    return sum(_group_blocks(layout, group, requests, prefix_caching, lookahead_tokens) for requests in load for group in layout.groups)


def _group_blocks(layout: KvCacheLayout, group: KvGroup, requests: Requests, prefix_caching: bool, lookahead: int) -> int:
    if not requests.count:
        return 0
    each = group.blocks(requests.tokens + lookahead, layout.reach)
    shared = 0
    if prefix_caching and all(spec.is_full for spec in group.specs):
        largest = max(spec.block_size for spec in group.specs) * layout.reach.decode_context_parallel_size
        shared = min(each, requests.shared_tokens // largest)
    return requests.count * (each - shared) + shared
