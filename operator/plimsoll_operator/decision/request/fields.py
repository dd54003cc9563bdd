"""Which field of the API an argument of vLLM is pinned by, and so which field a refusal speaks of.

Read by `steps`, `request`, `moves`, `wording` and whatever hands a sentence of the estimator on. The estimator names arguments
(`Check.about`, `InvalidInput.field`, and in its sentences) and knows no API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.serving import EXTRA_ARGS

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
    "allow_deprecated_quantization": EXTRA_ARGS,
    "trust_remote_code": EXTRA_ARGS,
    "kv_cache_memory_bytes": EXTRA_ARGS,
    "limit_mm_per_prompt": EXTRA_ARGS,
    "disable_hybrid_kv_cache_manager": EXTRA_ARGS,
    "kv_events_config": EXTRA_ARGS,
    "kv_transfer_config": EXTRA_ARGS,
    "hf_overrides": EXTRA_ARGS,
    "eplb_config": EXTRA_ARGS,
    "enable_eplb": EXTRA_ARGS,
    "num_redundant_experts": EXTRA_ARGS,
    "async_scheduling": EXTRA_ARGS,
    "api_server_count": EXTRA_ARGS,
    "max_cpu_loras": EXTRA_ARGS,
    "enable_sleep_mode": EXTRA_ARGS,
    "mm_processor_cache_gb": EXTRA_ARGS,
    "loader_buffer_bytes": EXTRA_ARGS,
    "weights_on_host": EXTRA_ARGS,
    "reserved_gpu_bytes": EXTRA_ARGS,
    "reserved_host_bytes": EXTRA_ARGS,
    "unruled": EXTRA_ARGS,
    "swap_space": EXTRA_ARGS,
    "runner": EXTRA_ARGS,
    "max_cudagraph_capture_size": EXTRA_ARGS,
    "cudagraph_capture_sizes": EXTRA_ARGS,
    "cudagraph_mode": EXTRA_ARGS,
    "flash_attn_version": EXTRA_ARGS,
    "cpu_offload_gb": EXTRA_ARGS,
    "mamba_cache_dtype": EXTRA_ARGS,
    "mamba_ssm_cache_dtype": EXTRA_ARGS,
    "skip_mm_profiling": EXTRA_ARGS,
    "mm_encoder_tp_mode": EXTRA_ARGS,
    "reads_files_whole": EXTRA_ARGS,
    "limits_unshared_objects": EXTRA_ARGS,
    "images_backend": EXTRA_ARGS,
    "processes_logprobs": EXTRA_ARGS,
    "renders_beside_cache": EXTRA_ARGS,
    "long_prefill_token_threshold": EXTRA_ARGS,
    "parses_mistral_reasoning": EXTRA_ARGS,
    "reads_mistral_config": EXTRA_ARGS,
    "convert": EXTRA_ARGS,
    "performance_mode": EXTRA_ARGS,
    "attention_backend": EXTRA_ARGS,
    # What is no argument
    "official_image": "spec.engine.image",
    "flashinfer_installed": "spec.engine.image",
    "use_flashinfer_sampler": "spec.template.env",
    "deep_gemm_installed": "spec.engine.image",
    "use_deep_gemm": "spec.template.env",
    "deep_gemm_warmup": "spec.template.env",
    "compile_cache": "spec.template",
    "model_config": "spec.model.name",
    "gpu": "spec.placement",
    "engine_version": "spec.engine.image",
}
"""By the name in EngineArgs or in the batch contract."""


def engine_field(argument: str) -> str:
    """The name inside spec.engine, for sentences and for values that may move."""
    return FIELD_OF[argument].removeprefix("spec.engine.")


def in_api_words(sentence: str) -> str:
    """A sentence of the estimator with each argument as the user writes it: max_num_seqs is maxNumSeqs, and what has no field a flag.

    Words that are the same in both, as dtype, stay; so does the dtype's value beside one.
    """
    return _NAMED.sub(lambda found: _written(found[1]), sentence)


def _written(argument: str) -> str:
    return f"--{argument.replace('_', '-')}" if FIELD_OF[argument] == EXTRA_ARGS else engine_field(argument).removeprefix("spec.")


_NAMED: Final = re.compile(rf"\b(?:engine_args\.)?({'|'.join(name for name in FIELD_OF if '_' in name)})\b")


_SAID_BY_FIELDS: Final = {"--model": "is what spec.model.name says: leave it out here"}


def said_of_input(error: InvalidInput) -> str:
    """The sentence of bad input, without its stop: the field as the user writes it, the value, the limit."""
    top, _, rest = error.field.partition(".")
    named = error.field
    if top == "engine_args" and rest in FIELD_OF:
        named = _written(rest) if FIELD_OF[rest] == EXTRA_ARGS else FIELD_OF[rest]
    elif top == "engine_version":
        named = FIELD_OF[top]
    return str(InvalidInput(named, error.value, _SAID_BY_FIELDS.get(error.field) or in_api_words(error.limit)))


def field_of_input(error: InvalidInput) -> str:
    """The field that bad input came from: flags from extraArgs, config keys from the profile, arguments from their own."""
    top, _, rest = error.field.partition(".")
    if top == "spec":
        return error.field
    if top == "engine_args":
        return FIELD_OF.get(rest, "spec.engine")
    if top.startswith("-") or top == "extraArgs":
        return EXTRA_ARGS
    return FIELD_OF[top] if top in ("gpu", "engine_version") else "spec.model.profile"
