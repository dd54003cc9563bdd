"""Host memory of one pod: what must be resident for it to run, and what loading and caches may take at the most.

Called by `estimate`. The first is what a pod asks its node for; the second is a doubt to be told. Pages of files that are mapped (weights
in safetensors, libraries) can be dropped and read again, so they are in neither. Knows no node and no Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB

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


def host_memory(widths: Widths, resolved: ResolvedArgs, checkpoint_bytes: int | None) -> HostMemory:
    """Of a pod with all ranks of the replica, or a node's share of them.

    Each data-parallel engine of the pod has an engine core of its own, and an API server since releases start one for each. One rank alone
    runs inside its engine core (v1/executor/uniproc_executor.py). `checkpoint_bytes` are known of safetensors alone, which are mapped
    (model_loader/weight_utils.py: safetensors_weights_iterator); other files are read whole, one at a time, by every rank (torch.load), and
    so are safetensors where the arguments say so. Files are read as published, however small vLLM makes their weights on the GPU.
    """
    ranks = resolved.ranks_per_node
    engines = max(1, resolved.data_parallel_size // resolved.nnodes)
    pinned = 0
    if resolved.uses_v2_model_runner:
        pinned = resolved.max_num_seqs * resolved.max_model_len * 4  # the token table, pinned for the GPU to read
    largest_file = ranks * min(_LARGEST_FILE, _LARGEST_FILE if checkpoint_bytes is None else checkpoint_bytes)
    reads_whole = bool(resolved.given.reads_files_whole)
    resident = (
        engines * (_FRONT_END + (_ENGINE_CORE if ranks > engines else 0))
        + ranks * (_WORKER + pinned + int((resolved.given.cpu_offload_gb or 0) * GIB) + _SHARED_PER_RANK)
        + _SHARED_BASE
        + (engines * _MULTIMODAL_CACHE if widths.multimodal else 0)
        + (largest_file if reads_whole else 0)
    )
    doubt = engines * _DOUBT_OF_FRONT_END + ranks * _DOUBT_OF_WORKER
    if widths.multimodal:
        # The front end keeps a second one where it does not keep hashes alone; that of the older releases is larger.
        doubt += engines * (2 * overhead_rules(resolved.version).multimodal_cache_gib * GIB - _MULTIMODAL_CACHE)
    if checkpoint_bytes is None and not reads_whole:
        doubt += largest_file
    return HostMemory(resident_bytes=resident, at_most_bytes=resident + doubt)
