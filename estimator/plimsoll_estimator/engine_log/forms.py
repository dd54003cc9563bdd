"""The lines in which vLLM 0.8 to 0.33 says what a start took, as patterns whose groups are named after what they give.

Read by `reader`. A message has to begin with its form: text that a request or a model's code prints in the middle of a line is no figure.
Sources, in the releases that are read: v1/worker/gpu_worker.py, gpu_model_runner.py, gpu/model_runner.py, worker/worker.py (V0),
v1/core/kv_cache_utils.py, v1/engine/core.py, model_executor/model_loader, compilation/monitor.py, utils/mem_utils.py, entrypoints.
"""

from __future__ import annotations

import re
from re import Match, Pattern
from typing import Final

from plimsoll_estimator.engine_log.lines import Line

_N: Final = r"-?\d{1,40}(?:\.\d{1,40})?"
_COUNT: Final = r"\d[\d,]{0,40}"
_CONCURRENCY: Final = rf"Maximum concurrency for (?P<concurrency_tokens>{_COUNT}) tokens per request: (?P<max_concurrency>{_N})x"
_ACTUAL: Final = (
    rf"Actual usage is (?:(?P<weights_bytes>{_N}) GiB for weight|(?P<consumed_bytes>{_N}) GiB for consumed memory \(weights \+ non-torch\))"
    rf", (?P<peak_bytes>{_N}) GiB for peak activation, (?:(?P<non_torch_bytes>{_N}) GiB for non-torch memory, )?"
    rf"and (?P<cuda_graph_pool_bytes>{_N}) GiB for CUDAGraph memory"
)
_IN_USE: Final = rf"Current kv cache memory in use is (?P<available_kv_cache_bytes>{_N}) (?P<available_kv_cache_bytes_unit>GiB|bytes)"
_FORMS: Final = (
    ("Model loading took", rf"Model loading took (?P<weights_bytes>{_N}) Gi?B(?: memory)?(?: and (?P<load_seconds>{_N}) seconds)?"),
    ("Loading model weights took", rf"Loading model weights took (?P<weights_bytes>{_N}) Gi?B"),
    ("Loading weights took", rf"Loading weights took (?P<each_read_seconds>{_N}) seconds"),
    ("Available KV cache memory", rf"Available KV cache memory: (?P<available_kv_cache_bytes>{_N}) GiB"),
    (
        ("GPU KV cache size", "GPU + host KV cache size", "CPU KV cache size", "XPU KV cache size", "ROCM KV cache size"),
        rf"[A-Z]{{2,5}}(?: \+ host)? KV cache size: (?P<kv_cache_tokens>{_COUNT}) tokens(?:, {_CONCURRENCY})?",
    ),
    ("Maximum concurrency for", _CONCURRENCY),
    (
        "Graph capturing finished in",
        rf"Graph capturing finished in (?P<capture_seconds>{_N}) secs?, took (?P<cuda_graph_pool_bytes>{_N}) GiB",
    ),
    ("Estimated CUDA graph memory", rf"Estimated CUDA graph memory: (?P<cuda_graph_estimate_bytes>{_N}) GiB total"),
    (
        "CUDA graph pool memory",
        rf"CUDA graph pool memory: (?P<cuda_graph_pool_bytes>{_N}) GiB \(actual\), (?P<cuda_graph_estimate_bytes>{_N}) GiB \(estimated\)",
    ),
    (
        "CUDA graph memory profiling is enabled",
        rf"CUDA graph memory profiling is enabled.{{0,200}}?--gpu-memory-utilization=(?P<gpu_memory_utilization>{_N}) is equivalent to "
        rf"--gpu-memory-utilization=(?P<utilization_without_graphs>{_N}) without",
    ),
    (
        "Free memory on device",
        rf"Free memory on device(?: [\w:]{{1,20}})? \((?P<free_bytes>{_N})/(?P<total_bytes>{_N}) GiB\) on startup\.?"
        rf"(?: (?:Desired GPU memory utilization is|is less than desired GPU memory utilization) \((?P<gpu_memory_utilization>{_N}), "
        rf"(?P<requested_bytes>{_N}) GiB\)\.)?(?: {_ACTUAL}(?:.{{0,400}}?{_IN_USE})?)?",
    ),
    ("Actual usage is", rf"{_ACTUAL}(?:.{{0,400}}?{_IN_USE})?"),
    (
        "the current vLLM instance can use",
        rf"the current vLLM instance can use total_gpu_memory \((?P<total_bytes>{_N})GiB\) x gpu_memory_utilization "
        rf"\((?P<gpu_memory_utilization>{_N})\) = (?P<requested_bytes>{_N})GiB",
    ),
    (
        "model weights take",
        rf"model weights take (?P<weights_bytes>{_N})GiB; non_torch_memory takes (?P<non_torch_bytes>{_N})GiB; "
        rf"PyTorch activation peak memory takes (?P<activation_bytes>{_N})GiB; "
        rf"the rest of the memory reserved for KV Cache is (?P<available_kv_cache_bytes>{_N})GiB",
    ),
    (
        "Memory profiling takes",
        rf"Memory profiling takes (?P<profile_seconds>{_N}) seconds(?:\. Total non KV cache memory: {_N}GiB; torch peak memory increase: "
        rf"(?:(?P<activation_bytes>{_N})GiB; non-torch forward increase memory: (?P<non_torch_bytes>{_N})GiB"
        rf"|{_N}GiB; total consumed \(from mem_get_info\): (?P<consumed_bytes>{_N})GiB); weights memory: (?P<weights_bytes>{_N})GiB)?",
    ),
    (
        "Initial free memory",
        rf"Initial free memory:? (?P<free_bytes>{_N}) GiB(?:; Requested memory: (?P<gpu_memory_utilization>{_N}) \(util\), "
        rf"(?P<requested_bytes>{_N}) GiB|, reserved (?P<available_kv_cache_bytes>{_N}) ?GiB memory for KV Cache as specified)",
    ),
    (
        "init engine (profile, create kv cache",
        rf"init engine \(profile, create kv cache, warmup model\) took (?P<init_seconds>{_N}) s(?:econds)?"
        rf"(?: \(compilation: (?P<compile_seconds>{_N}) s)?",
    ),
    ("torch.compile t", rf"torch\.compile (?:takes|took) (?P<each_compile_seconds>{_N}) s in total"),
    (
        "torch.compile and initial",
        rf"torch\.compile and initial profiling/warmup run together took (?P<each_compile_seconds>{_N}) s in total",
    ),
    ("Using max model len", rf"Using max model len (?P<max_model_len>{_COUNT})"),
    ("Auto-fit max_model_len", rf"Auto-fit max_model_len: reduced from {_COUNT} to (?P<fitted_model_len>{_COUNT})"),
    ("Resolved architecture", r"Resolved architecture: (?P<architecture>\w{1,120})"),
    ("vLLM API server version", r"vLLM API server version (?P<server_version>[^\s,]{1,80})"),
    ("vLLM server version", r"vLLM server version (?P<server_version>[^\s,]{1,80}), serving model (?P<model>\S{1,300})"),
    (
        ("Initializing a V", "Initializing an LLM"),
        r"Initializing an? (?:(?P<engine>V\d) )?LLM engine \(v(?P<engine_version>[^\s()]{1,80})\) with config: (?P<config>.*)",
    ),
    ("non-default args", r"non-default args: (?P<arguments>\{.*)"),
    ("args: Namespace(", r"args: (?P<arguments>Namespace\(.*)"),
    (
        ("Using default MoE config", "Using configuration from", "Using default W8A8"),
        r".{0,600}?device_name=(?P<gpu_product>[\w-]{1,80}?)(?:,|\.json)",
    ),
    ("Application startup complete", r"Application startup complete(?P<ready>)"),
)


def _starts(begins: str | tuple[str, ...]) -> tuple[str, ...]:
    return (begins,) if isinstance(begins, str) else begins


_COMPILED: Final[tuple[tuple[tuple[str, ...], Pattern[str]], ...]] = tuple((_starts(one), re.compile(form)) for one, form in _FORMS)
_BEGINS: Final = tuple(begin for begins, _ in _COMPILED for begin in begins)
# The same of lines that were wrapped, where spaces may be lost.
_LOOSE: Final = tuple(
    (tuple(begin.replace(" ", "") for begin in _starts(one)), re.compile(form.replace(" ", " ?"))) for one, form in _FORMS
)
_WRAPPED: Final = tuple({begin[:3] for begin in _BEGINS})
_LOGO: Final = re.compile(r"(?:[ ▄█▀]+)(?:version +(?P<server_version>[\w.+-]{1,80})|model +(?P<model>\S{1,300}))$")
_UVICORN: Final = "INFO:     "


def found_in(line: Line) -> Match[str] | None:
    """What the message says, taken together with the lines after it where a narrow terminal wrapped it."""
    message = line.message.removeprefix(_UVICORN)
    if "█" in message:
        return _LOGO.match(message)
    at = message.find("torch.compile ", 0, 80)
    if at > 0:  # a draft's compilation is tagged with its name
        message = message[at:]
    found = _match(message)
    if not line.following or not message.startswith(_WRAPPED):
        return found
    # Of a wrapped line the first half may be a form by itself: what gives most counts.
    return max(found, _loosely("".join((message, *line.following))), key=_given)


def _given(match: Match[str] | None) -> int:
    return 0 if match is None else 1 + sum(group is not None for group in match.groupdict().values())


def _match(message: str) -> Match[str] | None:
    if not message.startswith(_BEGINS):
        return None
    for begins, form in _COMPILED:
        if message.startswith(begins) and (found := form.match(message)) is not None:
            return found
    return None


def _loosely(text: str) -> Match[str] | None:
    beginning = text[:80].replace(" ", "")
    for begins, form in _LOOSE:
        if beginning.startswith(begins) and (found := form.match(text)) is not None:
            return found
    return None
