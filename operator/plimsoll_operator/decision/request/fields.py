"""Which field of the API an argument of vLLM is pinned by, and so which field a refusal speaks of.

Read by `steps`, `request`, `moves` and `wording`. The estimator names arguments (`Check.about`, `InvalidInput.field`) and knows no API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator import InvalidInput

_EXTRA_ARGS: Final = "spec.engine.extraArgs"

FIELD_OF: Final[Mapping[str, str]] = {
    "dtype": "spec.engine.dtype",
    "quantization": "spec.engine.quantization",
    "kv_cache_dtype": "spec.engine.kvCacheDtype",
    "tensor_parallel_size": "spec.engine.tensorParallelSize",
    "pipeline_parallel_size": "spec.engine.pipelineParallelSize",
    "data_parallel_size": "spec.engine.dataParallelSize",
    "enable_expert_parallel": "spec.engine.expertParallel",
    "decode_context_parallel_size": "spec.engine.decodeContextParallelSize",
    "nnodes": "spec.placement.maxNodesPerReplica",
    "max_model_len": "spec.engine.maxModelLen",
    "max_num_seqs": "spec.engine.maxNumSeqs",
    "max_num_batched_tokens": "spec.engine.maxNumBatchedTokens",
    "gpu_memory_utilization": "spec.engine.gpuMemoryUtilization",
    "block_size": "spec.engine.blockSize",
    "enforce_eager": "spec.engine.enforceEager",
    "enable_prefix_caching": "spec.engine.enablePrefixCaching",
    "enable_chunked_prefill": "spec.engine.enableChunkedPrefill",
    "enable_lora": "spec.engine.lora",
    "max_loras": "spec.engine.lora.maxLoras",
    "max_lora_rank": "spec.engine.lora.maxLoraRank",
    "num_speculative_tokens": "spec.engine.speculative.numSpeculativeTokens",
    "speculative_method": "spec.engine.speculative.method",
    "speculative_model_config": "spec.engine.speculative.model",
    # Arguments without a field of their own
    "allow_deprecated_quantization": _EXTRA_ARGS,
    "trust_remote_code": _EXTRA_ARGS,
    "kv_cache_memory_bytes": _EXTRA_ARGS,
    "limit_mm_per_prompt": _EXTRA_ARGS,
    "disable_hybrid_kv_cache_manager": _EXTRA_ARGS,
    "kv_events_config": _EXTRA_ARGS,
    "kv_transfer_config": _EXTRA_ARGS,
    "hf_overrides": _EXTRA_ARGS,
    "eplb_config": _EXTRA_ARGS,
    "enable_eplb": _EXTRA_ARGS,
    "num_redundant_experts": _EXTRA_ARGS,
    "async_scheduling": _EXTRA_ARGS,
    "api_server_count": _EXTRA_ARGS,
    "max_cpu_loras": _EXTRA_ARGS,
    "enable_sleep_mode": _EXTRA_ARGS,
    "mm_processor_cache_gb": _EXTRA_ARGS,
    "loader_buffer_bytes": _EXTRA_ARGS,
    "weights_on_host": _EXTRA_ARGS,
    "reserved_gpu_bytes": _EXTRA_ARGS,
    "reserved_host_bytes": _EXTRA_ARGS,
    "unruled": _EXTRA_ARGS,
    "swap_space": _EXTRA_ARGS,
    "runner": _EXTRA_ARGS,
    "max_cudagraph_capture_size": _EXTRA_ARGS,
    "cpu_offload_gb": _EXTRA_ARGS,
    "mamba_cache_dtype": _EXTRA_ARGS,
    "mamba_ssm_cache_dtype": _EXTRA_ARGS,
    "skip_mm_profiling": _EXTRA_ARGS,
    "mm_encoder_tp_mode": _EXTRA_ARGS,
    "reads_files_whole": _EXTRA_ARGS,
    "limits_unshared_objects": _EXTRA_ARGS,
    "renders_beside_cache": _EXTRA_ARGS,
    "long_prefill_token_threshold": _EXTRA_ARGS,
    "parses_mistral_reasoning": _EXTRA_ARGS,
    "reads_mistral_config": _EXTRA_ARGS,
    "attention_backend": _EXTRA_ARGS,
    # What is no argument
    "official_image": "spec.engine.image",
    "flashinfer_installed": "spec.engine.image",
    "use_flashinfer_sampler": "spec.template",
    "deep_gemm_installed": "spec.engine.image",
    "use_deep_gemm": "spec.template",
    "deep_gemm_warmup": "spec.template",
    "compile_cache": "spec.template",
    "model_config": "spec.model.name",
    "gpu": "spec.placement",
    "engine_version": "spec.engine.image",
}
"""By the name in EngineArgs or in the batch contract."""


def engine_field(argument: str) -> str:
    """The name inside spec.engine, for sentences and for values that may move."""
    return FIELD_OF[argument].removeprefix("spec.engine.")


def field_of_input(error: InvalidInput) -> str:
    """The field that bad input came from: flags from extraArgs, config keys from the profile, arguments from their own."""
    top, _, rest = error.field.partition(".")
    if top == "spec":
        return error.field
    if top == "engine_args":
        return FIELD_OF.get(rest, "spec.engine")
    if top.startswith("-") or top == "extraArgs":
        return _EXTRA_ARGS
    return FIELD_OF[top] if top in ("gpu", "engine_version") else "spec.model.profile"
