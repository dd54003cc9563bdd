"""Why an engine ended, from the lines of its log: the first error that is not the echo of another, and its figures.

Called by `reader` for each line. Only errors count: lines that vLLM logs as such, and those of a traceback or of the parser. Knows what
vLLM, PyTorch, NCCL and the hub write; knows no remedy.
"""

from __future__ import annotations

import re
from re import Pattern
from typing import Final

from plimsoll_estimator.engine_log.lines import Line
from plimsoll_estimator.engine_log.printed import count, of_unit
from plimsoll_estimator.engine_log.values import Failure, FailureCause

MOST_WORDS: Final = 600
_MOST_JOINED: Final = 4096
_N: Final = r"-?\d{1,40}(?:\.\d{1,40})?"
_UNIT: Final = r"[KMG]iB|bytes"
_C = FailureCause
_FORMS: Final = (
    (
        _C.KV_CACHE_TOO_SMALL,
        rf"To serve at least one request with the models?'?s? max seq len \((?P<length>\d{{1,12}})\), \(?(?P<needed>{_N}) GiB KV ?cache is "
        rf"needed, which is larger than the available KV cache memory \((?P<available>{_N}) GiB\)"
        r"(?:.{0,80}?the estimated maximum model length is (?P<estimated>\d{1,12}))?",
    ),
    (
        _C.KV_CACHE_TOO_SMALL,
        r"The model's max seq len \((?P<length>\d{1,12})\) is larger than the maximum number of tokens that can be stored in KV cache "
        r"\((?P<estimated>\d{1,12})\)",
    ),
    (_C.NO_KV_CACHE_MEMORY, r"No available memory for the cache blocks|Cannot auto-fit max_model_len"),
    (
        _C.GPU_MEMORY_TAKEN,
        rf"Free memory on device(?: [\w:]{{1,20}})? \((?P<available>{_N})/{_N} GiB\) on startup is less than"
        rf"(?: desired GPU memory utilization \({_N}, (?P<needed>{_N}) GiB\))?|Externally held weights on device \S{{1,20}} \(",
    ),
    (_C.GPU_MEMORY_CHANGED, r"Error in memory profiling\. Initial free memory"),
    (_C.SAMPLER_OUT_OF_MEMORY, r"CUDA out of memory occurred when warming up sampler with (?P<about>\d{1,9}) dummy"),
    (
        _C.CUDA_OUT_OF_MEMORY,
        rf"(?:CUDA|HIP) out of memory\.(?: Tried to allocate (?P<needed>{_N}) (?P<needed_unit>{_UNIT}))?"
        rf"(?:.{{0,120}}? of which (?P<available>{_N}) (?P<available_unit>{_UNIT}) is free)?|CUDA error: out of memory",
    ),
    (_C.NCCL_FAILED, r"NCCL error|ncclUnhandledCudaError|ncclSystemError|ncclInternalError|ncclInvalidUsage|ncclRemoteError"),
    (_C.UNKNOWN_ARGUMENT, r"error: unrecognized arguments: (?P<about>.{1,200})|error: argument (?P<about2>--?[\w/,. -]{1,120}?):"),
    (
        _C.NO_KERNEL,
        r"no kernel image is available for execution on the device|provided PTX was compiled with an unsupported toolchain",
    ),
    (
        _C.CAPABILITY_TOO_LOW,
        r"is not supported for the current GPU\. Minimum capability|is only supported on GPUs with compute capability of at least"
        r"|FlashAttention only supports Ampere|[Cc]ompute capability .{0,40}(?:is not supported|not supported|or higher is required)",
    ),
    (
        _C.MODEL_GATED,
        r"[Cc]annot access gated repo|access a gated repo|GatedRepoError|Access to model .{1,200} is restricted|not in the authorized list"
        r"|401 Client Error",
    ),
    (
        _C.REMOTE_CODE_NOT_TRUSTED,
        r"set `trust_remote_code=True`|contains custom code which must be executed|please pass the argument `trust_remote_code=True`",
    ),
    (
        _C.ARCHITECTURE_UNKNOWN,
        r"Model architectures \[(?P<about>.{1,200}?)\] (?:are not supported for now|failed to be inspected)"
        r"|model type `(?P<about2>[\w.-]{1,80})` but Transformers does not recognize|has no vLLM implementation",
    ),
    (
        _C.DOWNLOAD_FAILED,
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to '?https?://\S{1,120}|Cannot find an appropriate cached snapshot"
        r"|Max retries exceeded with url|Temporary failure in name resolution",
    ),
    (
        _C.MODEL_NOT_FOUND,
        r"is not a local folder and is not a valid model identifier|RepositoryNotFoundError|Invalid repository ID or local directory"
        r"|RevisionNotFoundError|Repo id must be in the form|Can't load the configuration of",
    ),
    (_C.DISK_FULL, r"No space left on device|not enough free disk space"),
    (
        _C.HOST_MEMORY,
        r"DefaultCPUAllocator: (?:can't|not enough)|std::bad_alloc|Cannot allocate memory|insufficient shared memory|^Bus error"
        r"|unable to (?:mmap|allocate shared memory)",
    ),
    (
        _C.DRIVER_TOO_OLD,
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|unsupported display driver / cuda driver",
    ),
    (
        _C.NO_GPU,
        r"No CUDA GPUs are available|Failed to infer device type|Found no NVIDIA driver|no CUDA-capable device|libcuda\.so\.1: cannot open",
    ),
    (
        _C.TOO_FEW_GPUS,
        r"World size \((?P<about>\d{1,9})\) is larger than the number of available GPUs|invalid device ordinal"
        r"|required number of GPUs exceeds the total number",
    ),
    (
        _C.GPU_FAULT,
        r"illegal memory access|device-side assert triggered|uncorrectable ECC|unspecified launch failure|CUBLAS_STATUS_\w{1,60}",
    ),
    (_C.PORT_IN_USE, r"[Aa]ddress already in use"),
    (_C.ENGINE_TIMED_OUT, r"Timed out waiting for engine|Did not receive response from front-end process"),
    (_C.STOPPED, r"^KeyboardInterrupt: terminated"),
    (_C.NOT_PERMITTED, r"PermissionError: |Permission denied: '"),
    (_C.INVALID_CONFIGURATION, r"^\s*Value error, |\d validation errors? for \w{1,60}Config"),
)
_CAUSES: Final = tuple((cause, re.compile(form)) for cause, form in _FORMS)
_LOOSE: Final = tuple((cause, re.compile(form.replace(" ", " ?"))) for cause, form in _FORMS)
"""The same of lines that were wrapped, where spaces may be lost."""
_ERRORS: Final = re.compile(r"\b(?:[A-Za-z_]{1,80}[.]){0,12}[A-Z][A-Za-z]{0,80}(?:Error|Exception|Interrupt): ")
"""Bounded, since a line of dots and letters would else be looked through from each of its letters to its end."""
_ECHOES: Final = re.compile(
    r"[Ss]ee (?:root cause|stack trace)|Engine ?[Cc]ore initialization failed|EngineDeadError|EngineGenerateError|CancelledError|SystemExit"
    r"|Executor failed|Broken pipe|DistNetworkError|ConnectionResetError|Worker failed with error|cancelled"
)
"""What processes say because another one has ended (v1/engine/utils.py, v1/executor/multiproc_executor.py)."""
_NEEDLES: Final = ("rror", "xception", "nterrupt", "out of memory", "bad_alloc", "No space", "nccl")


def failure_in(line: Line) -> Failure | None:
    """What this line says of an end; `Other` where it is an error of no known kind. None where it says nothing, or echoes."""
    if line.level not in ("", "ERROR", "CRITICAL") or not line.message:
        return None
    if not line.level and not any(needle in line.message for needle in _NEEDLES):
        return None
    if (known := _known(line, line.message, _CAUSES)) is not None:
        wrapped = _known(line, "".join((line.message, *line.following))[:_MOST_JOINED], _LOOSE) if line.following else None
        return wrapped if wrapped is not None and wrapped.cause == known.cause and _figures(wrapped) > _figures(known) else known
    if line.following and (wrapped := _known(line, "".join((line.message, *line.following))[:_MOST_JOINED], _LOOSE)) is not None:
        return wrapped
    error = _ERRORS.search(line.message)
    if error is None or _ECHOES.search(line.message):
        return None
    return Failure(cause=FailureCause.OTHER, words=line.message[error.start() :][:MOST_WORDS], worker=line.worker)


def _known(line: Line, text: str, forms: tuple[tuple[FailureCause, Pattern[str]], ...]) -> Failure | None:
    """What begins in the line itself, of the text that is this line or goes on with those after it."""
    for cause, form in forms:
        found = form.search(text)
        if found is None or found.start() >= len(line.message):
            continue
        groups = found.groupdict()
        error = _ERRORS.search(line.message)
        begin = error.start() if error is not None and error.start() < found.end() else 0
        return Failure(
            cause=cause,
            words=(line.message if found.end() <= len(line.message) else text)[begin:][:MOST_WORDS],
            worker=line.worker,
            needed_bytes=of_unit(groups.get("needed"), groups.get("needed_unit") or "GiB"),
            available_bytes=of_unit(groups.get("available"), groups.get("available_unit") or "GiB"),
            max_model_len=count(groups.get("length")),
            estimated_max_model_len=count(groups.get("estimated")),
            about=groups.get("about") or groups.get("about2"),
        )
    return None


def _figures(failure: Failure) -> int:
    said = failure.needed_bytes, failure.available_bytes, failure.max_model_len, failure.estimated_max_model_len
    return sum(figure is not None for figure in said)
