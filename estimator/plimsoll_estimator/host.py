"""Host memory while a replica loads, and how long loading takes. Called by the CLI and by the check of the whole pod.

Both are planning figures: allocations of vLLM's processes that are known, stated allowances for the rest, and bytes over
bandwidth. Refuses to know the node: what the page cache holds decides the speed, not whether the pod lives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB, MIB, ceil_div

ENGINE_PROCESS_BYTES: Final = 6 * GIB
"""API server and engine core: Python, torch and CUDA libraries, tokenizer, request state. An allowance."""
WORKER_PROCESS_BYTES: Final = 4 * GIB
"""One worker: libraries, CUDA context's host side, compile cache, pinned staging. An allowance."""
SHARD_BYTES: Final = 5 * GIB
"""The file that each worker holds mapped while reading it; hub checkpoints are cut at 5 GB."""
MM_CACHE_BYTES: Final = 4 * GIB
"""`--mm-processor-cache-gb` 4 by default, once in the API server and once in each engine (vLLM 0.33.0)."""
SHARED_MEMORY_BASE_BYTES: Final = 205 * MIB
SHARED_MEMORY_RANK_BYTES: Final = 256 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Bytes of one pod that runs one replica's processes on one node. `shared_memory_bytes` is /dev/shm, counted in the total."""

    process_bytes: int
    loading_bytes: int
    pinned_bytes: int
    offload_bytes: int
    multimodal_bytes: int
    shared_memory_bytes: int

    @property
    def total_bytes(self) -> int:
        """The peak: everything at once."""
        parts = (self.process_bytes, self.loading_bytes, self.pinned_bytes, self.offload_bytes, self.multimodal_bytes)
        return sum(parts) + self.shared_memory_bytes


def host_memory(resolved: ResolvedArgs, *, multimodal: bool) -> HostMemory:
    """Peak host memory of one replica with all its ranks on one node.

    The pinned token table of the V2 model runner is max_num_seqs x max_model_len x 4 bytes a worker (vLLM 0.30 and later,
    v1/worker/gpu/states.py); `cpu_offload_gb` and, up to 0.17, `swap_space` are GiB of pinned memory per GPU.
    """
    workers = resolved.tensor_parallel_size * resolved.pipeline_parallel_size * resolved.data_parallel_size
    engines = resolved.data_parallel_size
    table = resolved.max_num_seqs * resolved.max_model_len * 4 if resolved.uses_v2_model_runner else 0
    offload = math.ceil((resolved.given.cpu_offload_gb or 0.0) * GIB)
    return HostMemory(
        process_bytes=engines * ENGINE_PROCESS_BYTES + workers * WORKER_PROCESS_BYTES,
        loading_bytes=workers * SHARD_BYTES,
        pinned_bytes=workers * table,
        offload_bytes=workers * offload,
        multimodal_bytes=(1 + engines) * MM_CACHE_BYTES if multimodal else 0,
        shared_memory_bytes=SHARED_MEMORY_BASE_BYTES + workers * SHARED_MEMORY_RANK_BYTES,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    """Where weights are read from, and the range of sustained bytes a second it gives one node."""

    name: str
    slow_bytes_per_second: int
    fast_bytes_per_second: int


STORAGE_CLASSES: Final = (
    StorageClass(name="local NVMe", slow_bytes_per_second=2 * 10**9, fast_bytes_per_second=6 * 10**9),
    StorageClass(name="network volume", slow_bytes_per_second=2 * 10**8, fast_bytes_per_second=10**9),
    StorageClass(name="hub download", slow_bytes_per_second=5 * 10**7, fast_bytes_per_second=5 * 10**8),
)
"""Ranges as reported for vLLM pods; the third is 0.4 to 4 Gbit/s of a shared link."""

STARTUP_SECONDS: Final = (  # what, from (caches warm), to (cold)
    ("processes, imports and CUDA", 15, 45),
    ("torch.compile", 5, 90),
    ("profiling and CUDA graphs", 5, 60),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTime:
    """Seconds from container start to ready, without the image pull."""

    storage: str
    at_best_seconds: int
    at_worst_seconds: int


def load_times(checkpoint_bytes: int, *, enforce_eager: bool = False) -> tuple[LoadTime, ...]:
    """Bytes over bandwidth plus the start-up terms, for each storage class. Eager engines neither compile nor capture."""
    terms = STARTUP_SECONDS[:1] if enforce_eager else STARTUP_SECONDS
    best, worst = sum(low for _, low, _ in terms), sum(high for _, _, high in terms)
    return tuple(
        LoadTime(
            storage=storage.name,
            at_best_seconds=best + checkpoint_bytes // storage.fast_bytes_per_second,
            at_worst_seconds=worst + ceil_div(checkpoint_bytes, storage.slow_bytes_per_second),
        )
        for storage in STORAGE_CLASSES
    )


def checkpoint_bytes(stage_bytes: Sequence[int], tensor_parallel_size: int) -> int:
    """Bytes read from storage: the weights of one rank a stage, times its ranks. Replicated parts count on each rank: large side."""
    return sum(stage_bytes) * tensor_parallel_size
