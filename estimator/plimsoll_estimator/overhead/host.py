"""Host memory of one pod: what must be resident for it to run, and what loading and caches may take at the most.

Called by `estimate`. The first is what a pod asks its node for; the second is a doubt to be told. Pages of files that are mapped (weights
in safetensors, libraries) can be dropped and read again, so they are in neither. Knows no node and no Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.connectors import held_by
from plimsoll_estimator.overhead.adapters import adapter_bytes
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB, ceil_div

# Resident, and what allowances stated before anybody measured had on top. Measured on builds without CUDA (0.19 to 0.32): 0.56 GiB for
# the API server and 0.53 for an engine core of its own. With CUDA: 4 GB for a whole pod of one GPU, beside 28 GB of page cache
# (vllm-project/vllm#3035), and limits of 10 GiB within which Google's guide serves gemma-3-1b.
_FRONT_END: Final = 2 * GIB  # API server: Python, torch, tokenizer, requests
_ENGINE_CORE: Final = GIB  # scheduler, where workers are processes of their own
_WORKER: Final = 4 * GIB  # CUDA context's host side, torch, compiled kernels
_DOUBT_OF_FRONT_END: Final = 2 * GIB
_DOUBT_OF_WORKER: Final = GIB  # compilers of a first start among it
_LARGEST_FILE: Final = 5 * GIB  # of a checkpoint as published
_MULTIMODAL_CACHE: Final = 4 * GIB  # --mm-processor-cache-gb: processed images, in the engine core
_SHARED_BASE: Final = GIB // 5
_SHARED_PER_RANK: Final = GIB // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Bytes of one pod: `resident` it cannot run without, `at_most` is what loading and its caches may come to."""

    resident_bytes: int
    at_most_bytes: int


def host_memory(
    widths: Widths,
    resolved: ResolvedArgs,
    checkpoint_bytes: int | None,
    rank_weights_bytes: int = 0,
    read_bytes: int | None = None,
) -> HostMemory:
    """Of a pod with all ranks of the replica, or a node's share of them.

    Each data-parallel engine of the pod has an engine core of its own, and an API server since releases start one for each. One rank alone
    runs inside its engine core (v1/executor/uniproc_executor.py). `checkpoint_bytes` are known of safetensors alone, which are mapped
    (model_loader/weight_utils.py: safetensors_weights_iterator); other files are read whole, one at a time, by every rank (torch.load), and
    so are safetensors where the arguments say so. Files are read as published, however small vLLM makes their weights on the GPU.
    `rank_weights_bytes`: of the largest rank, for arguments that keep a copy of them. `read_bytes`: of all files that a loader reads,
    which is the most that its buffer holds; None where nothing tells them.
    """
    ranks = resolved.ranks_per_node
    engines = max(1, resolved.data_parallel_size // resolved.nnodes)
    pinned = 0
    if resolved.uses_v2_model_runner:
        pinned = resolved.max_num_seqs * resolved.max_model_len * 4  # the token table, pinned for the GPU to read
    largest_file = ranks * min(_LARGEST_FILE, _LARGEST_FILE if checkpoint_bytes is None else checkpoint_bytes)
    reads_whole = bool(resolved.given.reads_files_whole)
    servers = max(engines, resolved.given.api_server_count or 1)
    cached = _items_cache_bytes(widths, resolved, engines)
    resident = (
        servers * _FRONT_END
        + engines * (_ENGINE_CORE if ranks > engines else 0)
        + _of_arguments(widths, resolved, ranks, read_bytes, rank_weights_bytes)
        + ranks * (_WORKER + pinned + int((resolved.given.cpu_offload_gb or 0) * GIB) + _SHARED_PER_RANK)
        + _SHARED_BASE
        + cached
        + (largest_file if reads_whole else 0)
    )
    doubt = servers * _DOUBT_OF_FRONT_END + ranks * _DOUBT_OF_WORKER
    if widths.multimodal and resolved.given.mm_processor_cache_gb is None:
        # The front end keeps a second one where it does not keep hashes alone; that of the older releases is larger.
        doubt += engines * (2 * overhead_rules(resolved.version).multimodal_cache_gib * GIB - _MULTIMODAL_CACHE)
    if checkpoint_bytes is None and not reads_whole:
        doubt += largest_file
    return HostMemory(resident_bytes=resident, at_most_bytes=resident + doubt)


def _items_cache_bytes(widths: Widths, resolved: ResolvedArgs, engines: int) -> int:
    """--mm-processor-cache-gb where it is given: in the engine core, and in the API server that sends what it does not have."""
    if not widths.multimodal:
        return 0
    given = resolved.given.mm_processor_cache_gb
    return engines * _MULTIMODAL_CACHE if given is None else int(2 * engines * given * GIB)


def _of_arguments(widths: Widths, resolved: ResolvedArgs, ranks: int, read_bytes: int | None, weights_bytes: int) -> int:
    """What arguments keep in host memory beside the processes: a connector's blocks, copies of weights, adapters, loaders' buffers."""
    given = resolved.given
    held = held_by(given.kv_transfer_config) if given.kv_transfer_config else None
    of_engine = 0
    if held is not None:
        world = resolved.tensor_parallel_size * resolved.pipeline_parallel_size
        of_engine = ceil_div(ranks * held.host_bytes_per_engine, world) + ranks * held.host_bytes_per_rank
    of_rank = (given.reserved_host_bytes or 0) + (weights_bytes if given.weights_on_host else 0)
    if given.max_cpu_loras:
        of_rank += given.max_cpu_loras * adapter_bytes(widths, resolved)
    if given.loader_buffer_bytes:
        of_rank += given.loader_buffer_bytes if read_bytes is None else min(given.loader_buffer_bytes, read_bytes)
    return of_engine + ranks * of_rank
