"""vLLM's KV-cache planning: layer specs, backends and block sizes, groups, blocks, and the planner's refusals.

`plan_kv_cache` answers once; `kv_cache_layout` is worked out once and `plan_layout` plans it many times; `blocks_for` counts what a
mixed load of requests holds of it. Knows no weights and no activations.
"""

from plimsoll_estimator.kv_cache.demand import NULL_BLOCKS, Requests, blocks_for
from plimsoll_estimator.kv_cache.layout import KvCacheLayout, kv_cache_layout, plan_kv_cache, plan_layout

__all__ = ["NULL_BLOCKS", "KvCacheLayout", "Requests", "blocks_for", "kv_cache_layout", "plan_kv_cache", "plan_layout"]
