"""What the start-up log of an engine says, as values: figures with the error of their print, by worker; arguments; times; a failure.

Made by `reader`, read by whoever compares a prediction with a start or tells why there was none. Knows no line of any log.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from plimsoll_estimator.engine_version import EngineVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Bytes as logged. The print rounds them: the truth is at most `off_by_bytes` above or below."""

    value_bytes: int
    off_by_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLog:
    """Figures of one worker, each of one GPU; None where the log does not say it. The first six have the names of a RankEstimate.

    `worker` is vLLM's own label (TP1, PP0_TP1, DP2), empty where it writes none. `cuda_graph_bytes` is the estimate that was taken off the
    budget, `cuda_graph_estimate_bytes` the same whether it was or not. `consumed_bytes` is weights and non-torch in one, as releases from
    0.26 print it.
    """

    worker: str = ""
    weights_bytes: Figure | None = None
    activation_bytes: Figure | None = None
    cuda_graph_bytes: Figure | None = None
    cuda_graph_pool_bytes: Figure | None = None
    non_torch_bytes: Figure | None = None
    available_kv_cache_bytes: Figure | None = None
    cuda_graph_estimate_bytes: Figure | None = None
    consumed_bytes: Figure | None = None
    total_bytes: Figure | None = None
    free_bytes: Figure | None = None
    requested_bytes: Figure | None = None

    @property
    def stage(self) -> int:
        """Its pipeline stage."""
        return next((int(part[2:]) for part in self.worker.split("_") if part.startswith("PP") and part[2:].isdigit()), 0)


MEMORY_COMPONENTS: Final = (
    "weights_bytes",
    "activation_bytes",
    "cuda_graph_bytes",
    "non_torch_bytes",
    "available_kv_cache_bytes",
    "cuda_graph_pool_bytes",
)
"""What a RankEstimate and a WorkerLog both hold."""
FIGURES: Final = frozenset(item.name for item in fields(WorkerLog)) - {"worker"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of a start's phases, of the slowest worker; None where the log does not say it. Loading holds reading, init compiling."""

    read_seconds: float | None = None
    load_seconds: float | None = None
    profile_seconds: float | None = None
    compile_seconds: float | None = None
    capture_seconds: float | None = None
    init_seconds: float | None = None


class FailureCause(StrEnum):
    """Why an engine ended, by a PascalCase name."""

    KV_CACHE_TOO_SMALL = "KvCacheTooSmall"
    """One request of the whole context needs more cache than there is (v1/core/kv_cache_utils.py: check_enough_kv_cache_memory)."""
    NO_KV_CACHE_MEMORY = "NoKvCacheMemory"
    """Nothing is left for a cache (the same)."""
    GPU_MEMORY_TAKEN = "GpuMemoryTaken"
    """Less of the GPU is free than the budget (v1/worker/utils.py: request_memory)."""
    GPU_MEMORY_CHANGED = "GpuMemoryChanged"
    """Somebody else gave GPU memory back during the profile run (v1/worker/gpu_worker.py: determine_available_memory)."""
    CUDA_OUT_OF_MEMORY = "CudaOutOfMemory"
    """PyTorch's allocator found no memory."""
    SAMPLER_OUT_OF_MEMORY = "SamplerOutOfMemory"
    """The same while the sampler is warmed up (v1/worker/gpu_model_runner.py: _dummy_sampler_run)."""
    NCCL_FAILED = "NcclFailed"
    UNKNOWN_ARGUMENT = "UnknownArgument"
    """The release's parser does not take an argument or its value."""
    INVALID_CONFIGURATION = "InvalidConfiguration"
    """The release's own checks of its configuration refuse it (vllm/config)."""
    NO_KERNEL = "NoKernel"
    """Nothing in the image is built for this GPU."""
    CAPABILITY_TOO_LOW = "CapabilityTooLow"
    """The GPU is older than what a dtype, method or backend needs."""
    ARCHITECTURE_UNKNOWN = "ArchitectureUnknown"
    """The release has no such model class."""
    MODEL_GATED = "ModelGated"
    """The hub wants a token that has been granted access."""
    MODEL_NOT_FOUND = "ModelNotFound"
    DOWNLOAD_FAILED = "DownloadFailed"
    """The hub did not answer, or the engine is offline and the files are not there."""
    REMOTE_CODE_NOT_TRUSTED = "RemoteCodeNotTrusted"
    DISK_FULL = "DiskFull"
    HOST_MEMORY = "HostMemory"
    """Memory of the node, or its shared memory, ran out."""
    NO_GPU = "NoGpu"
    DRIVER_TOO_OLD = "DriverTooOld"
    TOO_FEW_GPUS = "TooFewGpus"
    GPU_FAULT = "GpuFault"
    """The GPU or a kernel failed: an illegal access, an ECC error."""
    PORT_IN_USE = "PortInUse"
    NOT_PERMITTED = "NotPermitted"
    """A file or folder may not be read or written."""
    ENGINE_TIMED_OUT = "EngineTimedOut"
    """The server gave up waiting for its engine."""
    STOPPED = "Stopped"
    """It was told to end while it started."""
    OTHER = "Other"
    """An error of no kind that is known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The first error that is not the echo of another. `words` is the line, bounded, as the engine wrote it.

    Figures are those of the message, None where it has none: bytes that were asked for and that there were, the context asked for and the
    largest that would have been taken. `serving`: it had begun to serve.
    """

    cause: FailureCause
    words: str
    worker: str = ""
    needed_bytes: Figure | None = None
    available_bytes: Figure | None = None
    max_model_len: int | None = None
    estimated_max_model_len: int | None = None
    about: str | None = None
    serving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLog:
    """The last start of a log. None, or empty, where the log does not say it.

    `version` is the engine's own word, `release` the same as a release number. `arguments` are those that were given (`non-default args`),
    `config` is what the engine resolved (its "Initializing" line), both as (name, value) in their order. `starts` counts starts.
    `dropped` has a sentence for each figure that cannot be, or that contradicts an earlier one. `cut`: the text was longer than is read.
    """

    version: str | None = None
    release: EngineVersion | None = None
    engine: str | None = None
    model: str | None = None
    architecture: str | None = None
    gpu_product: str | None = None
    max_model_len: int | None = None
    arguments: tuple[tuple[str, Any], ...] | None = None
    config: tuple[tuple[str, Any], ...] = ()
    gpu_memory_utilization: float | None = None
    workers: tuple[WorkerLog, ...] = ()
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    concurrency_tokens: int | None = None
    times: Times = field(default_factory=Times)
    failure: Failure | None = None
    ready: bool = False
    starts: int = 0
    dropped: tuple[str, ...] = ()
    cut: bool = False
