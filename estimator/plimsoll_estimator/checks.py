"""Every reason of the estimator by name: the checks at which vLLM stops, the memory it runs out of, and the rules that are missing here.

Given by every part through `errors` and `resolved`, read by the operator. Knows vLLM's arguments by name; knows no field of the API.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

_Passes = Literal["nothing", "a layout", "memory"]
_NOTHING: Final = "nothing"
_LAYOUT: Final = "a layout"
_MEMORY: Final = "memory"


class Check(StrEnum):
    """A PascalCase reason, which argument it is about, and what beside that argument could pass it.

    `about` is a field of EngineArgs, or `model_config`, `gpu` or `engine_version` as in the batch contract. `depends_on_layout`:
    other parallel sizes or numbers of nodes could pass it. `of_memory`: it is bytes that are short.
    """

    about: str
    depends_on_layout: bool
    of_memory: bool

    def __new__(cls, reason: str, about: str, passes: _Passes) -> Check:  # noqa: D102
        member = str.__new__(cls, reason)
        member._value_ = reason
        member.about = about
        member.depends_on_layout = passes != _NOTHING
        member.of_memory = passes == _MEMORY
        return member

    # Types of weights, activations and cache
    DTYPE_UNSUPPORTED = "DtypeUnsupported", "dtype", _NOTHING
    """The GPU, the model or the quantisation method cannot run it (config/model.py: _get_and_verify_dtype, config/vllm.py)."""
    UNKNOWN_QUANTIZATION = "UnknownQuantization", "quantization", _NOTHING
    """The release has no such method (config/model.py: _verify_quantization)."""
    DEPRECATED_QUANTIZATION = "DeprecatedQuantization", "quantization", _NOTHING
    """Refused without --allow-deprecated-quantization (config/model.py: _verify_quantization)."""
    QUANTIZATION_MISMATCH = "QuantizationMismatch", "quantization", _NOTHING
    """The argument contradicts the checkpoint's own settings (config/model.py: _verify_quantization)."""
    QUANTIZATION_UNSUPPORTED = "QuantizationUnsupported", "quantization", _NOTHING
    """The method no longer reads such a checkpoint (quantization/auto_gptq.py, utils/gptq_utils.py)."""
    QUANTIZATION_UNSUPPORTED_ON_GPU = "QuantizationUnsupportedOnGpu", "quantization", _NOTHING
    """The compute capability is below the method's least (config/vllm.py: _get_quantization_config)."""
    QUANTIZATION_NEEDS_CHECKPOINT = "QuantizationNeedsCheckpoint", "quantization", _NOTHING
    """The method reads quantised checkpoints only, and this one is not (model_loader/weight_utils.py: get_quant_config, mxfp4.py)."""
    KV_CACHE_DTYPE_UNSUPPORTED = "KvCacheDtypeUnsupported", "kv_cache_dtype", _NOTHING
    """The checkpoint, the model's dtype or the GPU's attention backend cannot hold such a cache (attention/layer.py, config/vllm.py).

    As `unsupported`: no rule says how many bytes it takes."""

    # Lengths and batches
    CONTEXT_TOO_LONG = "ContextTooLong", "max_model_len", _NOTHING
    """Longer than the config derives (config/model.py: _get_and_verify_max_len)."""
    TOKENS_BELOW_SEQS = "TokensBelowSeqs", "max_num_batched_tokens", _NOTHING
    """A step must hold a token of each sequence (config/scheduler.py)."""
    TOKENS_BELOW_CONTEXT = "TokensBelowContext", "max_num_batched_tokens", _NOTHING
    """Without chunked prefill a step must hold a whole prompt (config/scheduler.py)."""
    CHUNKED_PREFILL_NEEDED = "ChunkedPrefillNeeded", "enable_chunked_prefill", _NOTHING
    """Prefix caching that keeps the last states wants prefill in chunks (model_executor/models/config.py, since 0.15)."""
    TOKENS_BELOW_STATE_BLOCK = "TokensBelowStateBlock", "max_num_batched_tokens", _NOTHING
    """Prefix caching that keeps the last states: a step must hold a block (config/vllm.py: validate_block_size, 0.18 to 0.26)."""

    # What a request may bring
    LIMITS_WITHOUT_MODALITY = "LimitsWithoutModality", "limit_mm_per_prompt", _NOTHING
    """Until 0.10.0 limits of images and videos are refused beside a text model (config.py: _init_multimodal_config)."""
    PROCESSOR_CACHE_NOT_SHARED = "ProcessorCacheNotShared", "limits_unshared_objects", _NOTHING
    """A limit of the shared processor cache beside another kind of cache (config/multimodal.py: _validate_multimodal_config)."""
    RENDERERS_SHARE_CACHE = "RenderersShareCache", "renders_beside_cache", _NOTHING
    """Several threads would render beside a processor cache that is not safe for them (config/model.py: __post_init__)."""
    TOKENIZER_NOT_MISTRALS = "TokenizerNotMistrals", "parses_mistral_reasoning", _NOTHING
    """Mistral's reasoning parser is made at the start and wants Mistral's tokenizer (config/reasoning.py: initialize_token_ids)."""
    LONG_PREFILL_ABOVE_CONTEXT = "LongPrefillAboveContext", "long_prefill_token_threshold", _NOTHING
    """Prompts count as long from more tokens on than a context has (config/scheduler.py: verify_max_model_len, since 0.27)."""

    # Files beside the weights
    NO_MISTRAL_CONFIG = "NoMistralConfig", "reads_mistral_config", _NOTHING
    """--config-format=mistral reads params.json, which only Mistral publishes (transformers_utils/config.py: load_params_config)."""

    # Parallel sizes
    HEADS_NOT_DIVISIBLE = "HeadsNotDivisible", "tensor_parallel_size", _LAYOUT
    """Attention heads over ranks (config/model.py: verify_with_parallel_config)."""
    KV_HEADS_NOT_DIVISIBLE = "KvHeadsNotDivisible", "tensor_parallel_size", _LAYOUT
    """Neither of KV heads and ranks divides the other (the attention classes of model_executor/models)."""
    NOT_DIVISIBLE = "NotDivisible", "tensor_parallel_size", _LAYOUT
    """Another width over ranks (distributed/utils.py: divide)."""
    QUANTIZATION_BLOCK_MISMATCH = "QuantizationBlockMismatch", "tensor_parallel_size", _LAYOUT
    """A rank's share cuts through blocks of weights (quantization/utils/fp8_utils.py: validate_fp8_block_shape)."""
    QUANTIZATION_GROUP_MISMATCH = "QuantizationGroupMismatch", "tensor_parallel_size", _LAYOUT
    """A rank's share cuts through groups of weights (the `create_weights` of the method)."""
    TOO_MANY_RANKS_FOR_EXPERTS = "TooManyRanksForExperts", "tensor_parallel_size", _LAYOUT
    """More ranks than experts (the mixture blocks of model_executor/models)."""
    TENSOR_PARALLEL_UNSUPPORTED = "TensorParallelUnsupported", "tensor_parallel_size", _LAYOUT
    """The release runs the class whole on one GPU (model_executor/models)."""
    PIPELINE_PARALLEL_UNSUPPORTED = "PipelineParallelUnsupported", "pipeline_parallel_size", _LAYOUT
    """The class has no stages (config/model.py: verify_with_parallel_config)."""
    NO_EXPERTS = "NoExperts", "enable_expert_parallel", _NOTHING
    """Whole experts were asked of a model without any (config/model.py: verify_with_parallel_config)."""
    EXPERTS_NOT_SPREAD = "ExpertsNotSpread", "enable_expert_parallel", _LAYOUT
    """Experts are to be balanced that are not whole on ranks, or are all on one (config/parallel.py: _validate_parallel_config)."""
    NODES_UNSUPPORTED = "NodesUnsupported", "nnodes", _LAYOUT
    """The release spans nodes only on a Ray cluster (engine/arg_utils.py: create_engine_config)."""
    NODES_NOT_DIVISIBLE = "NodesNotDivisible", "nnodes", _LAYOUT
    """Ranks or engines over nodes (engine/arg_utils.py: create_engine_config)."""
    DECODE_CONTEXT_PARALLEL_UNSUPPORTED = "DecodeContextParallelUnsupported", "decode_context_parallel_size", _NOTHING
    """The release has none, or none for these caches (v1/core/kv_cache_coordinator.py)."""
    DECODE_CONTEXT_PARALLEL_NOT_DIVISIBLE = "DecodeContextParallelNotDivisible", "decode_context_parallel_size", _LAYOUT
    """Ranks, or query heads of a KV head, over its size (config/parallel.py, config/model.py)."""
    DECODE_CONTEXT_PARALLEL_NEEDS_LATENT_ATTENTION = (
        "DecodeContextParallelNeedsLatentAttention", "decode_context_parallel_size", _NOTHING,
    )  # fmt: skip
    """Until 0.11.0 only latent attention returns its softmax sums (v1/worker/gpu_model_runner.py)."""
    DECODE_CONTEXT_PARALLEL_NEEDS_TENSOR_PARALLEL = (
        "DecodeContextParallelNeedsTensorParallel", "decode_context_parallel_size", _LAYOUT,
    )  # fmt: skip
    """More ranks than KV heads (config/model.py: verify_with_parallel_config)."""
    DECODE_CONTEXT_PARALLEL_TOO_LARGE = "DecodeContextParallelTooLarge", "decode_context_parallel_size", _LAYOUT
    """At most the ranks that share a KV head (config/model.py: verify_with_parallel_config)."""

    # Adapters and drafts
    LORA_UNSUPPORTED = "LoraUnsupported", "enable_lora", _NOTHING
    """The class does not implement SupportsLoRA (v1/worker/lora_model_runner_mixin.py)."""
    LORA_RANK_UNSUPPORTED = "LoraRankUnsupported", "max_lora_rank", _NOTHING
    """None of the release's ranks (config/lora.py)."""
    LORA_VOCABULARY_TOO_LARGE = "LoraVocabularyTooLarge", "enable_lora", _NOTHING
    """An untied head over the kernels' limit (lora/layers/logits_processor.py)."""
    SPECULATIVE_METHOD_UNSUPPORTED = "SpeculativeMethodUnsupported", "speculative_method", _NOTHING
    """The release does not have the method (config/speculative.py)."""
    SPECULATIVE_MODEL_MISSING = "SpeculativeModelMissing", "speculative_model_config", _NOTHING
    """The method needs a draft (config/speculative.py)."""
    SPECULATIVE_MODULES_MISSING = "SpeculativeModulesMissing", "speculative_method", _NOTHING
    """The model has no prediction modules, or the release no class for them (config/speculative.py: hf_config_override)."""
    SPECULATIVE_MODULES_UNCOUNTED = "SpeculativeModulesUncounted", "speculative_method", _NOTHING
    """The file does not say how many modules there are, and their class builds none without (model_executor/models/*_mtp.py)."""
    SPECULATIVE_TOKENS_UNEVEN = "SpeculativeTokensUneven", "num_speculative_tokens", _NOTHING
    """More tokens than modules must be a multiple of them (config/speculative.py)."""
    SPECULATIVE_TARGET_UNSUPPORTED = "SpeculativeTargetUnsupported", "speculative_method", _NOTHING
    """The class takes no EAGLE-3 drafts in this release (config/speculative.py, SupportsEagle3)."""
    SPECULATIVE_DRAFT_UNSUPPORTED = "SpeculativeDraftUnsupported", "speculative_model_config", _NOTHING
    """The release has no EAGLE class of this draft's (transformers_utils/configs/eagle.py, models/registry.py)."""
    SPECULATIVE_VOCABULARY_DIFFERS = "SpeculativeVocabularyDiffers", "speculative_model_config", _NOTHING
    """Draft and target must speak the same tokens (config/speculative.py: verify_equal_vocab_size_if_draft_model)."""

    # The model on this GPU and release
    NO_KERNELS = "NoKernels", "gpu", _NOTHING
    """The release's binaries, or those of its PyTorch, have no code for the GPU (the wheels' own libraries)."""
    NO_ATTENTION_BACKEND = "NoAttentionBackend", "gpu", _NOTHING
    """No backend of the release runs the model on this GPU (platforms/cuda.py: get_attn_backend_cls)."""
    FLASHINFER_SAMPLER_UNSUPPORTED = "FlashInferSamplerUnsupported", "use_flashinfer_sampler", _NOTHING
    """VLLM_USE_FLASHINFER_SAMPLER=1 on a GPU that FlashInfer is not taken for (v1/sample/ops/topk_topp_sampler.py, since 0.12)."""
    NO_ATTENTION_CACHE = "NoAttentionCache", "runner", _NOTHING
    """A generator that attends in both directions: its empty list of caches stops the planner until 0.25 (v1/core/kv_cache_utils.py)."""
    KV_PAGE_SIZES_DIFFER = "KvPageSizesDiffer", "kv_cache_dtype", _LAYOUT
    """Pages of the layers cannot be brought to one size (v1/core/kv_cache_utils.py: unify_kv_cache_spec_page_size)."""
    KV_CACHES_DIFFER = "KvCachesDiffer", "disable_hybrid_kv_cache_manager", _NOTHING
    """Without groups all layers must keep one kind of cache (v1/core/kv_cache_utils.py: unify_hybrid_kv_cache_specs)."""
    HYBRID_CACHE_UNSUPPORTED = "HybridCacheUnsupported", "disable_hybrid_kv_cache_manager", _NOTHING
    """Groups are asked for beside what excludes them (config/vllm.py; kv_connector/factory.py: create_connector)."""
    UNKNOWN_ROPE_TYPE = "UnknownRopeType", "model_config", _NOTHING
    """The release does not know the rope scaling (layers/rotary_embedding: get_rope)."""
    ROTARY_POSITIONS_REQUIRED = "RotaryPositionsRequired", "model_config", _NOTHING
    """The tower is built with rotary positions only (models/step3_vl.py)."""
    UNSUPPORTED_ATTENTION = "UnsupportedAttention", "model_config", _NOTHING
    """The class is built without such attention (models/kimi_linear.py)."""
    LANGUAGE_MODEL_UNNAMED = "LanguageModelUnnamed", "model_config", _NOTHING
    """The config behind a tower names no class, and Transformers lists none for its type (models/registry.py: inspect_model_cls)."""
    UNSUPPORTED_MODEL_VERSION = "UnsupportedModelVersion", "engine_version", _NOTHING
    """The release does not read this generation of the model (models/minicpmv.py, model_arch_config_convertor.py)."""

    # Memory, in the order of a start
    FREE_MEMORY_BELOW_REQUESTED = "FreeMemoryBelowRequested", "gpu_memory_utilization", _MEMORY
    """Less is free at the first snapshot than utilisation x total (v1/worker/utils.py: request_memory)."""
    OUT_OF_MEMORY_LOADING = "OutOfMemoryLoading", "tensor_parallel_size", _MEMORY
    """The weights exceed what is free (v1/worker/gpu_model_runner.py: load_model)."""
    OUT_OF_MEMORY_PROFILING = "OutOfMemoryProfiling", "max_num_batched_tokens", _MEMORY
    """Weights and the profile run exceed what is free (v1/worker/gpu_worker.py: determine_available_memory)."""
    OUT_OF_MEMORY_GRAPH_PROFILING = "OutOfMemoryGraphProfiling", "max_num_seqs", _MEMORY
    """The cache for capturing graphs on trial exceeds what is free (v1/worker/gpu_model_runner.py: profile_cudagraph_memory)."""
    NO_KV_CACHE_MEMORY = "NoKvCacheMemory", "gpu_memory_utilization", _MEMORY
    """Nothing is left for the cache (v1/core/kv_cache_utils.py: check_enough_kv_cache_memory)."""
    KV_CACHE_TOO_SMALL = "KvCacheTooSmall", "max_model_len", _MEMORY
    """One request of max_model_len tokens needs more than is left (v1/core/kv_cache_utils.py: check_enough_kv_cache_memory)."""
    CANNOT_FIT_MAX_MODEL_LEN = "CannotFitMaxModelLen", "max_model_len", _MEMORY
    """With max_model_len auto not one token fits (v1/core/kv_cache_utils.py: _auto_fit_max_model_len)."""
    STATE_BLOCKS_BELOW_SEQS = "StateBlocksBelowSeqs", "max_num_seqs", _MEMORY
    """Each sequence of a captured graph needs a state block (config/compilation.py)."""
    OUT_OF_MEMORY_KERNEL_WARM_UP = "OutOfMemoryKernelWarmUp", "max_num_batched_tokens", _MEMORY
    """DeepGEMM's warm-up finds too little beside the cache (model_executor/warmup/deep_gemm_warmup.py)."""
    OUT_OF_MEMORY_GRAPH_CAPTURE = "OutOfMemoryGraphCapture", "gpu_memory_utilization", _MEMORY
    """Graphs find too little beside the cache (v1/worker/gpu_model_runner.py: capture_model)."""
    OUT_OF_MEMORY_SAMPLER_WARM_UP = "OutOfMemorySamplerWarmUp", "max_num_seqs", _MEMORY
    """The sampler's warm-up finds too little beside the cache (v1/worker/gpu_worker.py: compile_or_warm_up_model)."""

    CONFIG_CLASS_UNKNOWN = "ConfigClassUnknown", "trust_remote_code", _NOTHING
    """Neither vLLM nor its Transformers reads the model type without the checkpoint's own code (transformers_utils/config.py)."""

    # No rule here: vLLM might start
    ENGINE_TOO_OLD = "EngineTooOld", "engine_version", _NOTHING
    """The release is older than the oldest with rules."""
    ENGINE_UNKNOWN = "EngineUnknown", "engine_version", _NOTHING
    """The release has another major version than those with rules."""
    ENGINE_FALLS_BACK = "EngineFallsBack", "engine_version", _NOTHING
    """Up to 0.10.2: the release runs it on the V0 engine (engine/arg_utils.py: _is_v1_supported_oracle)."""
    ENGINE_FALLS_BACK_FOR_STAGES = "EngineFallsBackForStages", "pipeline_parallel_size", _LAYOUT
    """Before 0.9.1: pipeline stages on the default executor run on the V0 engine (engine/arg_utils.py: _is_v1_supported_oracle)."""
    KERNELS_NOT_KNOWN = "KernelsNotKnown", "gpu", _NOTHING
    """Whether the release has code for the GPU depends on where its PyTorch is from, or nothing was published for the GPU's host."""
    UNKNOWN_GPU = "UnknownGpu", "gpu", _NOTHING
    """The product is in no table and nothing tells its generation."""
    UNKNOWN_GPU_MEMORY = "UnknownGpuMemory", "gpu", _NOTHING
    """Nothing tells how much memory the product has."""
    ARCHITECTURE_NOT_IN_RELEASE = "ArchitectureNotInRelease", "model_config", _NOTHING
    """Other releases register the class, this one does not (model_executor/models/registry.py)."""
    UNSUPPORTED_ARCHITECTURE = "UnsupportedArchitecture", "model_config", _NOTHING
    """No rule for the class, or for a variant of it."""
    UNSUPPORTED_LAYOUT = "UnsupportedLayout", "tensor_parallel_size", _LAYOUT
    """No rule for the class at these parallel sizes."""
    UNSUPPORTED_VISION_TOWER = "UnsupportedVisionTower", "model_config", _NOTHING
    """No rule for the vision tower."""
    UNSUPPORTED_AUDIO_TOWER = "UnsupportedAudioTower", "model_config", _NOTHING
    """No rule for the audio tower."""
    UNSUPPORTED_QUANTIZATION = "UnsupportedQuantization", "quantization", _NOTHING
    """No rule for how the method stores weights."""
    UNSUPPORTED_PATTERN = "UnsupportedPattern", "model_config", _NOTHING
    """No rule for a regular expression of the quantisation settings."""
    KV_CACHE_FAMILY = "KvCacheFamily", "model_config", _NOTHING
    """No rule for what the layers keep in the cache."""
    DECODE_CONTEXT_PARALLEL = "DecodeContextParallel", "decode_context_parallel_size", _NOTHING
    """Whether the release shards such caches is not known."""
    LORA_SUPPORT = "LoraSupport", "enable_lora", _NOTHING
    """Whether the class takes adapters in this release is not known."""
    SPECULATIVE_METHOD = "SpeculativeMethod", "speculative_method", _NOTHING
    """No rule for the method's memory, or whether the release has it is not known."""
