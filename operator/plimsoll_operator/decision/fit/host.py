"""What the pod takes of its node beside GPUs: host memory, CPU and ephemeral storage of the pod that would be rendered.

Called by `search` for candidates whose GPUs fit. What follows from the GPUs alone is in `pod`; knows no engine arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import GIB, Estimate, Gpu, draft_weights_bytes, requested_bytes, round_up
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.miss import Miss
from plimsoll_operator.decision.request.disk import Disk
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.pod import PodRequests, cpu_millis
from plimsoll_operator.verdict import Reason

# Where the estimator names no figure: API server, engine core and one worker process per GPU with its CUDA runtime.
_BASE_BYTES: Final = 6 * GIB
_WORKER_BYTES: Final = 2 * GIB
# What the pod writes beside weights: compiled graphs and kernels (VLLM_CACHE_ROOT, Triton, FlashInfer's own and downloaded kernels), the
# tokenizer and config, rotated logs (50 MiB a container, the kubelet's default) and /tmp. An allowance, stated rather than measured.
_WRITTEN_BYTES: Final = 4 * GIB
# hf_xet keeps pieces of files beside the files, 10 GB where it is built with its cache on (xet-runtime 1.5, config/groups/chunk_cache.rs).
_CHUNK_CACHE_BYTES: Final = 10_000_000_000
DOWNLOAD_VOLUME: Final = "the emptyDir volume that keeps the download"
"""What is short where a volume's own limit is."""


def host_memory_bytes(estimate: Estimate, gpus: int) -> int:
    """Memory request of the pod: processes, pinned buffers and what is used of /dev/shm, whose size is a limit and no use.

    Where the GPU's memory is the host's, the engine's budget is a part of it: nobody else's pod can have it.
    """
    resolved = estimate.resolved
    budget = 0
    if resolved is not None and resolved.gpu.memory == "unified":
        budget = gpus * requested_bytes(resolved)
    if estimate.host_memory_bytes is not None:
        return estimate.host_memory_bytes + budget
    pinned = 4 * resolved.max_num_seqs * resolved.max_model_len if resolved is not None else 0
    return _BASE_BYTES + gpus * (_WORKER_BYTES + pinned) + budget


def ephemeral_storage_bytes(disk: Disk, engine: Engine, estimate: Estimate, gpu: Gpu) -> int:
    """Ephemeral storage request of the pod, in whole GiB. What lies in a volume with a limit is in that limit already."""
    files, chunks = _downloaded(disk, engine, estimate, gpu)
    outside = (files if disk.files_limit_bytes is None else 0) + (chunks if disk.chunks_limit_bytes is None else 0)
    return round_up(_WRITTEN_BYTES + outside + disk.scratch_bytes, GIB)


def _downloaded(disk: Disk, engine: Engine, estimate: Estimate, gpu: Gpu) -> tuple[int, int]:
    """Bytes of files and of chunks that land on the node's disk. Each pod of a replica over nodes reads, and so downloads, all files."""
    download = loaded_bytes(engine, estimate, gpu) if disk.weights else 0
    if disk.draft:
        download += disk.draft_bytes if disk.draft_bytes is not None else _draft_bytes(estimate)
    return download if disk.files else 0, min(_CHUNK_CACHE_BYTES, download) if disk.chunks else 0


def loaded_bytes(engine: Engine, estimate: Estimate, gpu: Gpu) -> int:
    """The checkpoint's files. Without totals and without a rule for one rank: what all ranks hold, copies of tensors included."""
    known = engine.checkpoint_bytes(gpu)
    return known if known is not None else sum(rank.weights_bytes * rank.count for rank in estimate.ranks)


def too_small_a_volume(request: DeploymentRequest, engine: Engine, estimate: Estimate, gpu: Gpu) -> Miss | None:
    """The kubelet evicts a pod whose scratch volume outgrows its limit: the volume that holds the download holds all of it."""
    disk = request.disk
    files, chunks = _downloaded(disk, engine, estimate, gpu)
    if disk.same_volume:
        held = [(files + chunks, disk.files_limit_bytes)]
    else:
        held = [(files, disk.files_limit_bytes), (chunks, disk.chunks_limit_bytes)]
    for needed, limit in held:
        if limit is not None and needed > limit:
            return Miss(
                reason=Reason.EPHEMERAL_STORAGE,
                message="its sizeLimit",
                component=DOWNLOAD_VOLUME,
                needed_bytes=needed,
                available_bytes=limit,
            )
    return None


def _draft_bytes(estimate: Estimate) -> int:
    resolved = estimate.resolved
    return draft_weights_bytes(resolved) * resolved.tensor_parallel_size if resolved is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNeeds:
    """What one pod asks of its node: `pod` is all of it, and of that memory and CPU were worked out for the engine's container alone."""

    engine_memory_bytes: int
    engine_cpu_millis: int
    pod: PodRequests

    @property
    def template_memory_bytes(self) -> int:
        """What spec.template adds to the engine's memory."""
        return self.pod.host_memory_bytes - self.engine_memory_bytes

    @property
    def template_cpu_millis(self) -> int:
        """And to its CPU."""
        return self.pod.host_cpu_millis - self.engine_cpu_millis


def pod_needs(request: DeploymentRequest, engine: Engine, estimate: Estimate, gpu: Gpu, gpus: int) -> PodNeeds:
    """All that one pod of so many GPUs asks of its node: the engine's container, what spec.template adds to it, and its disk."""
    extra, memory, cpu = request.host_extra, host_memory_bytes(estimate, gpus), cpu_millis(gpus)
    pod = PodRequests(
        gpus=gpus,
        host_memory_bytes=extra.pod_memory_bytes(memory),
        host_cpu_millis=extra.pod_cpu_millis(cpu),
        ephemeral_storage_bytes=ephemeral_storage_bytes(request.disk, engine, estimate, gpu),
    )
    return PodNeeds(engine_memory_bytes=memory, engine_cpu_millis=cpu, pod=pod)


def shortage(pool: PoolFacts, pod: PodRequests, gpu: Gpu) -> Miss | None:
    """What a node of the pool lacks for the pod; figures the pool does not know (0) are not checked.

    Linux may count the memory of a coherent GPU as the node's own (a NUMA node without processors): it is not there for pods.
    """
    of_gpus = pool.gpus_per_node * gpu.total_memory_bytes if gpu.memory == "coherent" else 0
    memory = max(0, pool.host_memory_bytes - of_gpus)
    if pool.host_memory_bytes and memory < pod.host_memory_bytes:
        return Miss(
            reason=Reason.HOST_MEMORY,
            message=f"nodes of pool {pool.name} have too little host memory",
            component="host memory",
            needed_bytes=pod.host_memory_bytes,
            available_bytes=memory,
        )
    if 0 < pool.host_cpu_millis < pod.host_cpu_millis:
        return Miss(
            reason=Reason.HOST_CPU,
            message=f"the pod asks for {pod.host_cpu_millis}m CPU, nodes of pool {pool.name} have {pool.host_cpu_millis}m",
            component="host CPU",
        )
    if 0 < pool.ephemeral_storage_bytes < pod.ephemeral_storage_bytes:
        return Miss(
            reason=Reason.EPHEMERAL_STORAGE,
            message=f"nodes of pool {pool.name} have too little ephemeral storage",
            component="ephemeral storage",
            needed_bytes=pod.ephemeral_storage_bytes,
            available_bytes=pool.ephemeral_storage_bytes,
        )
    return None
