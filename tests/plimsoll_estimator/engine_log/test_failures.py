"""Why an engine ended: what vLLM, PyTorch, NCCL and the hub write, as people published it or as the releases' sources have it."""

import pytest

from plimsoll_estimator import FailureCause, failure_of

GIB = 1 << 30
CORE = "(EngineCore pid=316) ERROR 11-21 10:00:20 [core.py:1231] "
ECHO = "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
KV_REFUSAL = (
    "ValueError: To serve at least one request with the models's max seq len (131072), (4.54 GiB KV cache is "
    "needed, which is larger than "
    "the available KV cache memory (1.71 GiB). Based on the available memory, the estimated maximum model length is 49344."
)
MEMORY_TAKEN = (
    "ValueError: Free memory on device (31.44/47.38 GiB) on startup is less than desired GPU memory utilization (0.95, 45.01 GiB). Decrease"
)
CUDA_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB. GPU 0 has a total capacity of "
    "93.09 GiB of which 739.81 MiB "
    "is free. Including non-PyTorch memory"
)
CAUSES = [
    pytest.param(  # https://github.com/vllm-project/vllm/issues/27508
        KV_REFUSAL,
        "KvCacheTooSmall",
        id="0.11's wording",
    ),
    pytest.param(  # https://github.com/gpustack/gpustack/issues/1800
        "ValueError: The model's max seq len (8192) is larger than the maximum number of tokens that can be stored in KV cache (2400). Try",
        "KvCacheTooSmall",
        id="the V0 engine's wording",
    ),
    pytest.param("ValueError: No available memory for the cache blocks. Try increasing", "NoKvCacheMemory", id="nothing left"),
    pytest.param("ValueError: Cannot auto-fit max_model_len: not enough GPU memory", "NoKvCacheMemory", id="not one token"),
    pytest.param(  # https://github.com/vllm-project/vllm/issues/20305
        MEMORY_TAKEN,
        "GpuMemoryTaken",
        id="somebody else's memory",
    ),
    pytest.param(  # https://github.com/vllm-project/vllm-omni/pull/1842
        "ValueError: Free memory on device cuda:0 (111.99/139.8 GiB) on startup is less than desired GPU memory "
        "utilization (0.95, 132.81 GiB).",
        "GpuMemoryTaken",
        id="with the device's name",
    ),
    pytest.param("AssertionError: Error in memory profiling. Initial free memory 3.1 GiB, current", "GpuMemoryChanged", id="it came back"),
    pytest.param(  # https://github.com/vllm-project/vllm/issues/28143
        CUDA_MEMORY,
        "CudaOutOfMemory",
        id="PyTorch's allocator",
    ),
    pytest.param(
        "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering",
        "SamplerOutOfMemory",
        id="the sampler",
    ),
    pytest.param("torch.distributed.DistBackendError: NCCL error in: ../ProcessGroupNCCL.cpp:3384", "NcclFailed", id="NCCL"),
    pytest.param("RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO)", "NcclFailed", id="vLLM's own NCCL"),
    pytest.param("torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device", "NoKernel", id="kernel"),
    pytest.param(
        "ValueError: The quantization method awq_marlin is not supported for the current GPU. Minimum capability: 80. "
        "Current capability: 75.",
        "CapabilityTooLow",
        id="an old GPU",
    ),
    pytest.param(
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has 7.5",
        "CapabilityTooLow",
        id="bfloat16 on a T4",
    ),
    pytest.param("OSError: You are trying to access a gated repo.", "ModelGated", id="gated"),
    pytest.param("huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-6)", "ModelGated", id="gated, the hub"),
    pytest.param(
        "OSError: org/nothing is not a local folder and is not a valid model identifier listed on", "ModelNotFound", id="no model"
    ),
    pytest.param("  Value error, Invalid repository ID or local directory specified: '/models/x'.", "ModelNotFound", id="no folder"),
    pytest.param(
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.",
        "DownloadFailed",
        id="no hub",
    ),
    pytest.param(
        "  Value error, Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures: dict_keys([])",
        "ArchitectureUnknown",
        id="no class",
    ),
    pytest.param(
        "ValueError: The checkpoint you are trying to load has model type `foo` but Transformers does not recognize this architecture.",
        "ArchitectureUnknown",
        id="no configuration class",
    ),
    pytest.param(
        "ValueError: Loading org/x requires you to execute the configuration file in that repo. set `trust_remote_code=True`",
        "RemoteCodeNotTrusted",
        id="code of the repository",
    ),
    pytest.param("OSError: [Errno 28] No space left on device", "DiskFull", id="disk"),
    pytest.param("RuntimeError: [enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory", "HostMemory", id="host"),
    pytest.param("RuntimeError: The NVIDIA driver on your system is too old (found version 12020)", "DriverTooOld", id="driver"),
    pytest.param("RuntimeError: Failed to infer device type, please set the environment variable", "NoGpu", id="no GPU"),
    pytest.param("RuntimeError: No CUDA GPUs are available", "NoGpu", id="no GPU in the container"),
    pytest.param(
        "  Value error, World size (4) is larger than the number of available GPUs (2) in this node.", "TooFewGpus", id="too few GPUs"
    ),
    pytest.param("torch.AcceleratorError: CUDA error: an illegal memory access was encountered", "GpuFault", id="illegal access"),
    pytest.param("OSError: [Errno 98] Address already in use", "PortInUse", id="port"),
    pytest.param("PermissionError: [Errno 13] Permission denied: '/root/.cache'", "NotPermitted", id="permission"),
    pytest.param("  Value error, max_num_batched_tokens (512) is smaller than max_model_len (8192).", "InvalidConfiguration", id="a rule"),
    pytest.param("TypeError: type 'array.array' is not subscriptable", "Other", id="what nobody knows"),
]


@pytest.mark.parametrize(("error", "cause"), CAUSES)
def test_a_cause_is_known_logged_or_in_a_traceback_and_not_its_echo(error: str, cause: str) -> None:
    headed = failure_of(f"{CORE}EngineCore failed to start.\n{CORE}{error}\n{ECHO}\n")
    plain = failure_of(f'Traceback (most recent call last):\n  File "x.py", line 1, in y\n{error}\n{ECHO}\n')
    for found in (headed, plain):
        assert found is not None
        assert found.cause == cause
        assert found.words == error


def test_the_figures_of_a_message_are_its_own() -> None:
    refusal, taken, memory = (failure_of(text) for text in (KV_REFUSAL, MEMORY_TAKEN, CUDA_MEMORY))
    assert refusal is not None
    assert taken is not None
    assert memory is not None
    assert refusal.needed_bytes is not None
    assert refusal.available_bytes is not None
    assert (refusal.needed_bytes.value_bytes, refusal.available_bytes.value_bytes) == (round(4.54 * GIB), round(1.71 * GIB))
    assert (refusal.max_model_len, refusal.estimated_max_model_len) == (131072, 49344)
    assert taken.needed_bytes is not None
    assert taken.needed_bytes.value_bytes == round(45.01 * GIB)
    assert memory.available_bytes is not None
    assert (memory.available_bytes.value_bytes, memory.available_bytes.off_by_bytes) == (round(739.81 * (1 << 20)), 5243)


def test_a_message_wrapped_by_a_terminal_is_whole() -> None:
    # https://github.com/SergiioB/intel-arc-pro-b70-inference-cookbook/issues/4
    found = failure_of(
        "(EngineCore pid=316) ValueError: To serve at least one request with the model's max seq len (100000), (4.26 GiB KV cach\n"
        "e is needed, which is larger than the available KV cache memory (4.25 GiB). Based on the avai\n"
        "lable memory, the estimated maximum model length is 99840.\n"
    )
    assert found is not None
    assert (found.cause, found.max_model_len, found.estimated_max_model_len) == (FailureCause.KV_CACHE_TOO_SMALL, 100000, 99840)


def test_the_parser_s_refusal_names_the_argument() -> None:
    unknown = failure_of("usage: vllm serve [model_tag] [options]\nvllm: error: unrecognized arguments: --no-such-flag\n")
    value = failure_of("vllm serve: error: argument --kv-cache-dtype: invalid choice: 'int3' (choose from 'auto')\n")
    assert unknown is not None
    assert value is not None
    assert (unknown.cause, unknown.about) == (FailureCause.UNKNOWN_ARGUMENT, "--no-such-flag")
    assert (value.cause, value.about) == (FailureCause.UNKNOWN_ARGUMENT, "--kv-cache-dtype")


def test_the_first_known_cause_counts_and_says_whose_it_is() -> None:
    found = failure_of(
        "(Worker_TP0 pid=1) ValueError: something odd\n"
        "(Worker_TP1 pid=2) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
        "(Worker_TP0 pid=1) torch.distributed.DistBackendError: NCCL error in: x.cpp:1\n" + ECHO
    )
    assert found is not None
    assert (found.cause, found.worker) == (FailureCause.CUDA_OUT_OF_MEMORY, "TP1")


@pytest.mark.parametrize(
    "text",
    [
        ECHO,
        "INFO 11-21 10:00:20 [x.py:1] If out-of-memory error occurs during cudagraph capture, consider decreasing it",
        "WARNING 11-21 10:00:20 [x.py:1] ImportError: no module named deep_gemm",
        "ERROR 11-21 10:00:20 [fa_utils.py:177] Cannot use FA version 2 is not supported due to FA2 is only supported on devices",
        '    raise RuntimeError(f"CUDA out of memory occurred when warming up sampler with "',
        "[ERROR] `min_frames` is part of Qwen3VLVideoProcessorInitKwargs, but not documented.",
    ],
)
def test_a_warning_an_echo_and_source_code_are_no_cause(text: str) -> None:
    assert failure_of(text) is None


REQUEST = "(APIServer pid=1) ERROR 11-21 10:00:20 [serving_chat.py:231] "
SERVES = "(APIServer pid=1) INFO:     Application startup complete.\n"


@pytest.mark.parametrize("before", ["", SERVES], ids=["the end of a log", "a whole log"])
def test_what_single_requests_fail_of_is_not_why_the_engine_ended(before: str) -> None:
    request = f"{REQUEST}requests.exceptions.ConnectionError: HTTPSConnectionPool(host='a'): Max retries exceeded with url: /a.png\n"
    found = failure_of(f"{before}{request}{CORE}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n{ECHO}\n")
    assert found is not None
    assert found.cause == FailureCause.CUDA_OUT_OF_MEMORY


def test_what_engines_say_because_their_server_has_ended_is_no_cause() -> None:
    found = failure_of(f"{REQUEST}OSError: [Errno 98] Address already in use\n(EngineCore pid=3) KeyboardInterrupt: terminated\n")
    assert found is not None
    assert found.cause == FailureCause.PORT_IN_USE
