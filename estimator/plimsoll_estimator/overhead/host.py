"""Host memory of one pod while its engines load: processes, pinned buffers, shard buffers, shared memory.

Called by `estimate`. A pessimistic sum for requests and limits; the page cache of weights is reclaimable and not in it.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB

_FRONT_END: Final = 4 * GIB  # API server and engine core: Python, torch, tokenizer
_WORKER: Final = 5 * GIB  # CUDA context's host side, torch, compiled kernels
_LARGEST_SHARD: Final = 5 * GIB  # safetensors shards as published
_MULTIMODAL_CACHE: Final = 4 * GIB  # --mm-processor-cache-gb, in the API server and in the engine core
_SHARED_BASE: Final = GIB // 5
_SHARED_PER_RANK: Final = GIB // 4


def host_memory_bytes(widths: Widths, resolved: ResolvedArgs, loaded_bytes: int) -> int:
    """Bytes of host memory that one pod needs while loading: all ranks of the replica, or a node's share of them.

    Each data-parallel engine of the pod has an engine core of its own, and an API server since releases start one for each.
    """
    ranks = resolved.ranks_per_node
    engines = max(1, resolved.data_parallel_size // resolved.nnodes)
    pinned = 0
    if resolved.uses_v2_model_runner:
        pinned = resolved.max_num_seqs * resolved.max_model_len * 4  # the token table, pinned for the GPU to read
    per_rank = _WORKER + min(_LARGEST_SHARD, loaded_bytes) + pinned + int((resolved.given.cpu_offload_gb or 0) * GIB)
    cache = 2 * _MULTIMODAL_CACHE * engines if widths.multimodal else 0
    return _FRONT_END * engines + ranks * per_rank + cache + _SHARED_BASE + ranks * _SHARED_PER_RANK
