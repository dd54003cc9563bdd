"""Which variables spec.template.env may set for the engine: by prefix what vLLM, its libraries and the driver read, by name the rest.

Asked by the checks. A library's prefix is closed: a name in it is let through when it is known to leave GPU memory and the plan's
figures as they are, or when its text is counted (`request.variables`), and refused when nobody here has looked at it. Names of nobody's
prefix are the user's own. What loads code into the engine is named apart: whether it may is the administrator's choice. Sources:
vllm/envs.py of 0.8 to 0.33, and what NCCL, NVSHMEM, CUDA, PyTorch, Triton and CPython say of their own. Pure; knows no API and no verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from plimsoll_estimator import EngineVersion
from plimsoll_operator.api import EnvVar
from plimsoll_operator.decision.request.variables import is_counted, why_not_counted

# What stands in front of the names that each of them reads. Longer ones need not be listed apart.
_CLOSED: Final = (
    "AITER_", "AMD_", "CUBLAS", "CUDA_", "CUDNN_", "CUTE_DSL_", "CUTLASS_", "DEEPEP_", "DEEP_EP_", "DG_JIT_", "FLASHINFER_",
    "FLASH_ATTENTION_", "GPU_DEVICE_", "GPU_FORCE_", "GPU_MAX_", "GPU_SINGLE_", "HIPBLAS", "HIP_", "HSA_", "LMCACHE_", "LWS_",
    "MOONCAKE_", "NCCL_", "NIXL_", "NVIDIA_", "NVSHMEM_", "NVTE_", "OMPI_", "PYTORCH_", "RAY_", "RCCL_", "ROCM_", "ROCR_", "TILELANG_",
    "TORCH", "TRITON_", "UCC_", "UCX_", "VLLM_", "XFORMERS_",
)  # fmt: skip
# Of those, what is known to move nothing: where files are kept, what is logged, which network is used, how long is waited.
LET_THROUGH: Final = frozenset({
    "CUDA_CACHE_DISABLE", "CUDA_CACHE_MAXSIZE", "CUDA_CACHE_PATH", "CUDA_COREDUMP_FILE", "CUDA_ENABLE_COREDUMP_ON_EXCEPTION", "CUDA_HOME",
    "CUDA_LAUNCH_BLOCKING", "CUDA_PATH", "DG_JIT_CACHE_DIR", "FLASHINFER_LOGLEVEL", "FLASHINFER_WORKSPACE_BASE",
    "CUDA_DEVICE_ORDER", "NCCL_ASYNC_ERROR_HANDLING",
    "NCCL_CROSS_NIC", "NCCL_DEBUG", "NCCL_DEBUG_FILE", "NCCL_DEBUG_SUBSYS", "NCCL_HOSTID", "NCCL_IGNORE_CPU_AFFINITY", "NCCL_NET",
    "NCCL_NET_GDR_LEVEL", "NCCL_P2P_DISABLE", "NCCL_P2P_LEVEL", "NCCL_SHM_DISABLE", "NCCL_TIMEOUT", "NCCL_TOPO_FILE",
    "NIXL_LOG_LEVEL", "NVIDIA_DRIVER_CAPABILITIES", "TORCHINDUCTOR_COMPILE_THREADS", "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_CONFIG_ROOT", "VLLM_DISABLE_COMPILE_CACHE", "VLLM_MAX_AUDIO_CLIP_FILESIZE_MB", "VLLM_NIXL_SIDE_CHANNEL_HOST",
    "VLLM_NIXL_SIDE_CHANNEL_PORT",
    "NCCL_SOCKET_FAMILY", "NCCL_SOCKET_IFNAME", "NCCL_TOPO_DUMP_FILE", "NVIDIA_TF32_OVERRIDE",
    "NVSHMEM_BOOTSTRAP_UID_SOCK_FAMILY", "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME", "NVSHMEM_DEBUG", "NVSHMEM_DEBUG_FILE",
    "NVSHMEM_DEBUG_SUBSYS", "NVSHMEM_ENABLE_NIC_PE_MAPPING", "NVSHMEM_HCA_LIST", "NVSHMEM_HCA_PE_MAPPING", "NVSHMEM_IB_GID_INDEX",
    "NVSHMEM_IB_SL", "NVSHMEM_IB_TRAFFIC_CLASS", "RAY_DEDUP_LOGS", "TORCHINDUCTOR_CACHE_DIR", "TORCH_CPP_LOG_LEVEL",
    "TORCH_CUDA_ARCH_LIST", "TORCH_DISTRIBUTED_DEBUG", "TORCH_HOME", "TORCH_LOGS", "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "TORCH_NCCL_BLOCKING_WAIT", "TORCH_NCCL_DUMP_ON_TIMEOUT", "TORCH_NCCL_ENABLE_MONITORING", "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC",
    "TORCH_SHOW_CPP_STACKTRACES", "TORCH_TRACE", "TRITON_CACHE_DIR", "TRITON_HOME", "UCX_LOG_LEVEL", "UCX_NET_DEVICES", "VLLM_API_KEY",
    "VLLM_ASSETS_CACHE", "VLLM_AUDIO_FETCH_TIMEOUT", "VLLM_CACHE_ROOT", "VLLM_CONFIGURE_LOGGING", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
    "VLLM_DO_NOT_TRACK", "VLLM_ENGINE_ITERATION_TIMEOUT_S", "VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS",
    "VLLM_HOST_IP", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "VLLM_IMAGE_FETCH_TIMEOUT", "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH",
    "VLLM_LOG_BATCHSIZE_INTERVAL", "VLLM_LOG_STATS_INTERVAL", "VLLM_LOOPBACK_IP", "VLLM_MEDIA_URL_ALLOW_REDIRECTS",
    "VLLM_NO_DEPRECATION_WARNING", "VLLM_NO_USAGE_STATS", "VLLM_RINGBUFFER_WARNING_INTERVAL", "VLLM_RPC_BASE_PATH", "VLLM_RPC_TIMEOUT",
    "VLLM_SLEEP_WHEN_IDLE", "VLLM_TOOL_PARSE_REGEX_TIMEOUT_SECONDS", "VLLM_TORCH_PROFILER_DIR", "VLLM_TRACE_FUNCTION",
    "VLLM_USAGE_SOURCE", "VLLM_USAGE_STATS_SERVER", "VLLM_VIDEO_FETCH_TIMEOUT", "VLLM_WORKER_MULTIPROC_METHOD",
})  # fmt: skip
LET_THROUGH_PREFIXES: Final = ("NCCL_IB_", "VLLM_LOGGING_")
# The plan's own, without a prefix of their own: ranks and addresses of a replica's processes.
_PLANS: Final = frozenset({"LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"})
# Without a prefix too: the host allocator's tunables, loading that goes by way of the GPU, and how much a streamer holds.
_COUNTED: Final = frozenset({"GLIBC_TUNABLES", "RUNAI_STREAMER_MEMORY_LIMIT", "SAFETENSORS_FAST_GPU"})

# What makes the engine's processes run code that neither image nor arguments name.
_CODE: Final = frozenset({
    "BASH_ENV", "BROWSER", "GCONV_PATH", "NCCL_NET_PLUGIN", "NCCL_PROFILER_PLUGIN", "NCCL_TUNER_PLUGIN", "PATH",
    "TRITON_CUOBJDUMP_PATH",
    "TRITON_LIBCUDA_PATH", "TRITON_NVDISASM_PATH", "TRITON_PTXAS_PATH", "VLLM_ALLOW_INSECURE_SERIALIZATION", "VLLM_CUDART_SO_PATH",
    "VLLM_LOGGING_CONFIG_PATH", "VLLM_NCCL_SO_PATH", "VLLM_PLUGINS", "VLLM_SERVER_DEV_MODE", "CC", "CXX", "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS", "CUDA_HOME", "CUDA_PATH", "COMPILER_PATH", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "GCC_EXEC_PREFIX",
    "LIBRARY_PATH",
    # Libraries that the libraries load: of OpenSSL, libfabric and RDMA.
    "FI_PROVIDER_PATH", "IBV_DRIVERS", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "RDMAV_DRIVERS",
    # Compiled kernels and pickled graphs are taken from there, and Python's own modules from below the home.
    "CUDA_CACHE_PATH", "DG_JIT_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE", "HOME", "TORCHINDUCTOR_CACHE_DIR", "TORCH_HOME", "TRITON_CACHE_DIR",
    "TEMP", "TMP", "TMPDIR", "TRITON_HOME", "TVM_FFI_CACHE_DIR", "VLLM_CACHE_ROOT", "XDG_CACHE_HOME",
})  # fmt: skip
_CODE_PREFIXES: Final = ("LD_", "PYTHON", "VLLM_LORA_RESOLVER_")
_QUIET_PYTHON: Final = frozenset({
    "PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONIOENCODING",
    "PYTHONNOUSERSITE", "PYTHONSAFEPATH", "PYTHONTRACEMALLOC", "PYTHONUNBUFFERED", "PYTHONUTF8",
})  # fmt: skip

# What to do instead, for those that a field or an argument of the API stands for.
_INSTEAD: Final = {
    "RUNAI_STREAMER_MEMORY_LIMIT": "say memory_limit in --model-loader-extra-config, which is counted",
    "VLLM_ALL2ALL_BACKEND": "leave the choice to the release, whose default is what was counted",
    "VLLM_MODEL_REDIRECT_PATH": "name the model in spec.model",
    "VLLM_USE_MODELSCOPE": "name the model in spec.model and give its shape by a ModelProfile",
}


def loads_code(name: str) -> bool:
    """Whether a variable of this name lets the engine load code from somewhere else."""
    return name not in _QUIET_PYTHON and (name in _CODE or name.startswith(_CODE_PREFIXES))


def moves_the_plan(name: str) -> str | None:
    """Why the engine may not have a variable of this name, as the end of a sentence that begins with it; None where it may.

    Of one that is counted its text decides, not its name.
    """
    if name in _PLANS:
        return "is the plan's own: the pods of a replica are told it"
    if name in _COUNTED:
        return f"moves memory while weights are loaded, which was counted without it: {_INSTEAD.get(name, 'leave it out')}"
    if is_counted(name) or not name.startswith(_CLOSED) or name in LET_THROUGH or name.startswith(LET_THROUGH_PREFIXES) or loads_code(name):
        return None
    prefix = next(one for one in _CLOSED if name.startswith(one))
    instead = _INSTEAD.get(name, "leave it out; where a field of spec.engine or an argument means the same, use that")
    return f"may move GPU memory or what the plan was worked out from, as variables of {prefix}* do: {instead}"


def first_that_moves_the_plan(env: Iterable[EnvVar], version: EngineVersion) -> tuple[str, str] | None:
    """The first that the engine may not have, and why: unknown by name, or counted and of a text that the release does not know."""
    for variable in env:
        name = variable.name
        why = why_not_counted(variable, version) if is_counted(name) else moves_the_plan(name)
        if why is not None:
            return name, why
    return None
