"""What vLLM makes of its arguments differently from release to release: defaults, names, limits and checks.

Read by the modules of `resolve`, and by whoever asks what a release can do. Defaults that are lists of models or tiers are rows of
data/engine_defaults.json. Knows no model and no GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.releases import Releases

NODES_SINCE: Final = EngineVersion(0, 11, 1)
"""vLLM starts one engine on several nodes by itself (--nnodes); before, only on a Ray cluster made beforehand."""
_NIXL: Final = frozenset({"NixlConnector"})
_OFFLOADING: Final = _NIXL | {"SimpleCPUOffloadConnector"}
_MOONCAKE: Final = _OFFLOADING | {"MooncakeConnector"}
_MULTI: Final = _MOONCAKE | {"DecodeBenchConnector", "MultiConnector", "OffloadingConnector"}
_STORES: Final = _MULTI | {"ExampleHiddenStatesConnector", "MooncakeStoreConnector"}
_BOTH_WAYS: Final = _STORES | {"NixlPullConnector", "NixlPushConnector"}
_SPARSE: Final = _BOTH_WAYS | {"HiSparseConnector", "MoRIIOConnector"}
_FIRST: Final = ("llama",)
_QWEN: Final = (*_FIRST, "qwen")
_SECOND: Final = (*_QWEN, "minicpm", "gpt_oss")
_THIRD: Final = (*_SECOND, "hunyuan_vl", "hunyuan_v1_dense", "afmoe", "nemotron_h")
_FOURTH: Final = (*_THIRD, "deepseek_v2", "deepseek_v3", "kimi_k2", "kimi_k25")
_FIFTH: Final = (*_FOURTH, "minimax_m2", "gemma4")
_V2_NEVER: Final = frozenset({"suffix", "medusa", "mlp_speculator", "custom", "custom_class"})
_V2_WITHOUT_NGRAM: Final = _V2_NEVER | {"ngram", "ngram_gpu"}
_V2_WITHOUT_DRAFTS: Final = _V2_WITHOUT_NGRAM | {"draft_model"}
_DRAFTS: Final = frozenset({"eagle", "eagle3", "ngram_gpu"})
_MODELOPT: Final = ("FP8", "NVFP4")
_MODELOPT_LATER: Final = (*_MODELOPT, "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    gpu_memory_utilization: float = 0.90
    """Its default (config/cache.py)."""
    schedules_async: bool = False
    """Scheduling runs ahead of the GPU by default (config/vllm.py)."""
    schedules_pooling_async: bool = False
    """For pooling models too, as long as it did (0.14 to 0.19)."""
    schedules_stages_async: bool = False
    """For pipeline stages too; 0.33 again only with the second model runner."""
    schedules_drafts_async: frozenset[str] = frozenset({"eagle", "eagle3"})
    """Methods of speculative decoding beside which it does, prediction modules aside (config/vllm.py)."""
    schedules_async_by_runner: bool = False
    """The second model runner schedules so whatever drafts and stages there are."""
    v2_runner: Literal["none", "qwen3", "dense", "all"] = "none"
    """Which models get the second model runner by themselves (config/vllm.py: use_v2_model_runner)."""
    v2_runner_takes_lora: bool = False
    """The second runner serves adapters."""
    v2_runner_lacks: frozenset[str] = _V2_WITHOUT_DRAFTS | {"dflash", "dspark"}
    """Methods of speculative decoding that it does not have (config/vllm.py: _get_v2_model_runner_unsupported_features)."""
    v2_runner_stages_eagle3: bool = False
    """EAGLE-3 drafts for it beside pipeline stages."""
    caches_state_prefixes: bool = False
    """Prefix caching is on by default for models of nothing but states (engine/arg_utils.py, models/config.py: MambaModelConfig)."""
    caches_hybrid_prefixes: bool = False
    """Prefix caching is on by default for hybrids too (engine/arg_utils.py: "and not is_hybrid" before)."""
    caches_pooled_prefixes: bool = False
    """It is for either where they pool (engine/arg_utils.py of 0.11.1, config/model.py: attn_type since, a pooler's "decoder")."""
    drafts_beside_last_states: bool = True
    """Drafts run beside prefix caching that keeps the last states; not so in 0.15 and 0.16 (models/config.py: MambaModelConfig)."""
    makes_mistral_parser: bool = False
    """Mistral's reasoning parser is made at the start, and takes Mistral's tokenizer alone (config/reasoning.py: initialize_token_ids)."""
    reads_mamba2: bool = True
    """A Mamba 2 config, which has no attention heads, is read; for a while they were looked for (model_arch_config_convertor.py:
    get_total_num_kv_heads has a class of its own for "mamba" and "falcon_mamba" alone)."""
    packs_deepseek_cache: bool = True
    """DeepSeek-V3.2 keeps an fp8 cache in its packed form on every GPU (models/config.py: DeepseekV32ForCausalLM)."""
    glm_fp8_cache: bool = False
    """GLM's sparse attention keeps an fp8 cache on Blackwell by default (models/config.py)."""
    counts_batches_in_flight: bool = False
    """The window formulas count a batch of tokens for each batch in flight, not one (config/vllm.py)."""
    prefix_lm_floor: bool = False
    """max_num_batched_tokens is raised to one item of a model whose image tokens attend to one another (engine/arg_utils.py)."""
    spark_is_small: bool = False
    """Capability 12.1 gets the batches of small GPUs whatever its memory (engine/arg_utils.py: get_batch_defaults)."""
    captures_by_seqs: bool = False
    """Graphs end at twice the sequences; before, at 512 however few there are (config/scheduler.py, later config/vllm.py)."""
    lowers_seqs: bool = False
    """The default of sequences is at most a step's tokens; before, a start with fewer tokens stops (engine/arg_utils.py)."""
    lowers_tokens: bool = False
    """The default of tokens is at most what all sequences can hold, and never below its tier (engine/arg_utils.py)."""
    captures_drafts: bool = False
    """A sequence counts with its drafted tokens there (config/vllm.py: _set_cudagraph_sizes)."""
    eager_beside_engines: bool = True
    """Engines of data parallelism run without graphs (platforms/cuda.py: "DP is currently not supported with CUDA Graphs")."""
    eager_for_8bit_bitsandbytes: bool = True
    """Checkpoints that bitsandbytes stored in 8 bits run without graphs (config/model.py: _verify_bnb_config)."""
    captures_gpt_oss_to: int = 0
    """gpt-oss has graphs up to so many sequences, where this is above 0 (models/config.py)."""
    captures_blackwell_to_1024: bool = False
    """So has every model on Blackwell of capability 10 (config/vllm.py: _set_cudagraph_sizes)."""
    always_chunks: bool = True
    """Generators have their prompts chunked whatever is asked for (engine/arg_utils.py: _set_default_args_v1)."""
    limits_need_a_modality: bool = True
    """limit_mm_per_prompt is refused beside a text model (config.py: _init_multimodal_config)."""
    renders_beside_cache: bool = False
    """Several threads may render beside the processor's cache, but for pooling models (config/model.py: __post_init__)."""
    bounds_long_prefill: bool = False
    """A prompt may not count as long above max_model_len; before, only beside several partial prefills (config/scheduler.py)."""
    spans_nodes: bool = False
    """One engine may run on several nodes without Ray (--nnodes)."""
    engines_on_nodes: bool = False
    """Whole engines of data parallelism may (--data-parallel-size-local, -address, -start-rank, --headless: entrypoints/cli/serve.py)."""
    holds_drafts_beside_adapters: bool = False
    """With adapters a step must hold every sequence with its drafted tokens (engine/arg_utils.py: create_engine_config)."""
    shards_grouped_queries: bool = False
    """Decode context parallelism takes grouped queries; before, the attention layer had to return the softmax sums that only MLA's did."""
    yarn_keeps_maximum: bool = False
    """The length of a config with YaRN is its stated maximum, not the original times the factor (config/model.py)."""
    lora_ranks: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 320, 512)
    """config/lora.py: MaxLoRARanks."""
    lora_vocabulary: int = 257024
    """The largest untied vocabulary with adapters (lora/layers/logits_processor.py)."""
    draft_models: Literal["older core", "refused", "taken"] = "older core"
    """Speculative decoding with a model of its own: first on V0 alone (engine/arg_utils.py), then not yet again (config/speculative.py)."""
    names_eagle_classes: bool = False
    """An EAGLE draft's class is called after the draft's own; before, one class served all (transformers_utils/configs/eagle.py)."""
    eagle_in_stages: bool = False
    """EAGLE's drafts run beside pipeline stages; before, a draft had to have them too (config/speculative.py: draft_parallel_config)."""
    draft_modules_in_stages: bool = True
    """So do prediction modules, whose classes had stages up to 0.13 (models/deepseek_mtp.py, models/qwen3_next_mtp.py)."""
    seeks_no_modules_of: frozenset[str] = frozenset({"Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM"})
    """Classes whose whole config has a type that is none of those with modules (config/speculative.py: hf_config_override)."""
    eagle3_targets: tuple[str, ...] | None = _FIRST
    """Words of the target's text model type that EAGLE-3 is allowed for, where the release lists them (config/speculative.py)."""
    names_inc: bool = False
    """auto-round is called inc (quantization/__init__.py)."""
    names_gpt_oss_mxfp4: bool = False
    """gpt-oss has a method of its own, gpt_oss_mxfp4 (quantization/__init__.py)."""
    names_auto_gptq: bool = False
    """One method, auto_gptq, for all GPTQ checkpoints (quantization/__init__.py)."""
    names_auto_awq: bool = False
    """One method, auto_awq, for all AWQ checkpoints (quantization/__init__.py)."""
    names_modelopt_algorithms: tuple[str, ...] | None = None
    """What the settings file that ModelOpt writes beside a config may name; others are refused (config.py, later
    transformers_utils/model_arch_config_convertor.py: _normalize_quantization_config). None: nobody looks."""
    reads_unnamed_settings: bool = False
    """Settings of quantisation that name no method are passed over; before, the empty name is no method's (_verify_quantization)."""
    modelopt_overrides: bool = False
    """ModelOpt's classes take their checkpoints whatever the argument says (quantization/modelopt.py: override_quantization_method)."""
    marlin_capability: int = 80
    """The least compute capability of Marlin's kernels (quantization/utils/marlin_utils.py: query_marlin_supported_quant_types)."""
    reads_compressed_mxfp4: bool = False
    """compressed-tensors in MXFP4 go to the method mxfp4."""
    mxfp4_keeps_linears: bool = False
    """MXFP4 leaves linear layers that a checkpoint has not quantised as they are; before, they stop it (quantization/mxfp4.py)."""
    made_online: frozenset[str] = frozenset()
    """Formats of checkpoints that are made as a checkpoint without any is loaded (config/quantization.py: _ONLINE_SHORTHANDS)."""
    sampler_stops: Literal["none", "first", "both"] = "none"
    """Whose sampler stops a start that asks for FlashInfer's on a GPU it lacks: no runner's, the first's or the second's too."""
    refuses_act_order: bool = False
    """GPTQ with groups in activation order is no longer read (quantization/utils/gptq_utils.py)."""
    takes_e5m2_without_scheme: bool = False
    """An fp8_e5m2 cache beside compressed-tensors without a `kv_cache_scheme` is let through (attention/layer.py)."""
    connector_stops_groups: Literal["always", "unless asked", "by its kind"] = "always"
    """Whether a KV connector switches the hybrid KV cache manager off (config/vllm.py)."""
    connectors_of_groups: frozenset[str] = frozenset()
    """Connectors that work with it (kv_connector/v1: SupportsHMA), of which some only where it is asked for."""
    events_stop_groups: bool = True
    """So do events of the cache."""
    eagle_stops_chunks: bool = False
    """So does EAGLE for a model whose attention is in chunks; before, such attention was never in groups."""
    longrope_starts_short: bool = False
    """The default length of LongRoPE is the original one (config/model.py: _get_and_verify_max_len)."""
    modelopt_overrides_fp4: bool = False
    """Its classes claim settings that are called modelopt_fp4 as well (quantization/modelopt.py: _extract_modelopt_quant_algo)."""
    convert_pools: bool = False
    """A model whose head is converted pools, unless a runner is named (config/model.py: _get_runner_type)."""
    granite_is_hybrid: bool = False
    """GraniteMoeHybrid is one without a single state too: Transformers renames its layers' types (config/model.py: is_hybrid)."""
    modelopt_declares_cache: bool = False
    """ModelOpt's `kv_cache_quant_algo` is the cache's dtype (utils/torch_utils.py: resolve_kv_cache_dtype_string)."""
    scheme_declares_cache: bool = False
    """So is the `kv_cache_scheme` of compressed-tensors (attention/layer.py)."""
    cache_dtype_must_agree: bool = False
    """A float16 or bfloat16 cache must be of the model's dtype (config/vllm.py)."""


_RELEASES: Final = Releases(
    ArgumentRules(),
    (EngineVersion(0, 9), {"engines_on_nodes": True, "names_eagle_classes": True}),
    (EngineVersion(0, 9, 1), {"eager_beside_engines": False}),
    (
        EngineVersion(0, 10),
        {
            "modelopt_overrides": True,
            "eagle_stops_chunks": True,
            "captures_by_seqs": True,
            "draft_models": "refused",
        },
    ),
    (
        EngineVersion(0, 10, 1),
        {
            "eagle3_targets": _QWEN,
            "limits_need_a_modality": False,
            "names_modelopt_algorithms": _MODELOPT,
            "captures_gpt_oss_to": 1024,
            "lowers_seqs": True,
        },
    ),
    (EngineVersion(0, 11), {"eagle3_targets": _SECOND, "captures_gpt_oss_to": 992, "reads_unnamed_settings": True}),
    (
        NODES_SINCE,
        {
            "spans_nodes": True,
            "lora_ranks": (1, *ArgumentRules().lora_ranks),
            "shards_grouped_queries": True,
            "holds_drafts_beside_adapters": True,
            "mxfp4_keeps_linears": True,
            "always_chunks": False,
            "captures_gpt_oss_to": 1024,
            "lowers_tokens": True,
            "longrope_starts_short": True,
            "caches_state_prefixes": True,
            "caches_pooled_prefixes": True,
        },
    ),
    (EngineVersion(0, 12), {"caches_state_prefixes": False, "sampler_stops": "first"}),
    (EngineVersion(0, 13), {"connector_stops_groups": "unless asked", "captures_drafts": True}),
    (
        EngineVersion(0, 14),
        {
            "schedules_async": True,
            "schedules_pooling_async": True,
            "draft_modules_in_stages": False,
            "modelopt_declares_cache": True,
            "marlin_capability": 75,
            "reads_mamba2": False,
            "names_modelopt_algorithms": _MODELOPT_LATER,
        },
    ),
    (
        EngineVersion(0, 15),
        {
            "draft_models": "taken",
            "names_inc": True,
            "schedules_stages_async": True,
            "scheme_declares_cache": True,
            "drafts_beside_last_states": False,
        },
    ),
    (EngineVersion(0, 17), {"eagle3_targets": _THIRD, "lora_vocabulary": 258048, "drafts_beside_last_states": True}),
    (
        EngineVersion(0, 18),
        {
            "reads_mamba2": True,
            "eagle3_targets": _FOURTH,
            "connectors_of_groups": _NIXL,
            "schedules_drafts_async": _DRAFTS,
            "packs_deepseek_cache": False,
        },
    ),
    (EngineVersion(0, 19), {"eagle3_targets": _FIFTH, "connectors_of_groups": _OFFLOADING}),
    (
        EngineVersion(0, 20),
        {
            "gpu_memory_utilization": 0.92,
            "makes_mistral_parser": True,
            "schedules_pooling_async": False,
            "prefix_lm_floor": True,
            "names_gpt_oss_mxfp4": True,
            "events_stop_groups": False,
            "connectors_of_groups": _MOONCAKE,
            "schedules_drafts_async": _DRAFTS | {"dflash"},
        },
    ),
    (EngineVersion(0, 21), {"v2_runner": "qwen3", "connectors_of_groups": _MULTI}),
    (
        EngineVersion(0, 22),
        {
            "convert_pools": True,
            "names_auto_gptq": True,
            "eagle3_targets": None,
            "connectors_of_groups": _STORES,
            "modelopt_overrides_fp4": True,
        },
    ),
    (EngineVersion(0, 23), {"connector_stops_groups": "by its kind", "sampler_stops": "both"}),
    (
        EngineVersion(0, 24),
        {
            "made_online": frozenset({"mxfp8"}),
            "names_auto_awq": True,
            "connectors_of_groups": _BOTH_WAYS,
        },
    ),
    (
        EngineVersion(0, 25),
        {
            "v2_runner": "dense",
            "granite_is_hybrid": True,
            "v2_runner_takes_lora": True,
            "v2_runner_lacks": _V2_WITHOUT_DRAFTS,
            "schedules_drafts_async": _DRAFTS | {"dflash", "dspark"},
        },
    ),
    (EngineVersion(0, 26), {"counts_batches_in_flight": True, "reads_compressed_mxfp4": True, "takes_e5m2_without_scheme": True}),
    (EngineVersion(0, 27), {"renders_beside_cache": True, "bounds_long_prefill": True, "makes_mistral_parser": False}),
    (
        EngineVersion(0, 28),
        {
            "made_online": frozenset({"mxfp4", "mxfp8"}),
            "caches_hybrid_prefixes": True,
            "captures_blackwell_to_1024": True,
            "eager_for_8bit_bitsandbytes": False,
            "schedules_drafts_async": _DRAFTS | {"dflash", "dspark", "draft_model"},
            "seeks_no_modules_of": frozenset(),
        },
    ),
    (EngineVersion(0, 29), {"v2_runner": "all", "granite_is_hybrid": False}),
    (
        EngineVersion(0, 30),
        {
            "v2_runner_stages_eagle3": True,
            "yarn_keeps_maximum": True,
            "spark_is_small": True,
            "eagle_in_stages": True,
            "draft_modules_in_stages": True,
            "connectors_of_groups": _SPARSE,
        },
    ),
    (EngineVersion(0, 31), {"refuses_act_order": True, "v2_runner_lacks": _V2_WITHOUT_NGRAM}),
    (EngineVersion(0, 32), {"v2_runner_lacks": _V2_NEVER, "glm_fp8_cache": True}),
    (
        EngineVersion(0, 33),
        {
            "cache_dtype_must_agree": True,
            "connectors_of_groups": _SPARSE | {"UMBPStoreConnector"},
            "schedules_stages_async": False,
            "schedules_async_by_runner": True,
            "names_modelopt_algorithms": (*_MODELOPT_LATER, "MIXED_PRECISION"),
        },
    ),
)


def spans_nodes(version: EngineVersion, engines_per_node: int = 0) -> bool:
    """Whether this release may run on several nodes without a Ray cluster made beforehand.

    One engine on several, or with `engines_per_node` so many whole engines of data parallelism on each.
    """
    rules = argument_rules(version)
    return rules.spans_nodes or (engines_per_node > 0 and rules.engines_on_nodes)


@lru_cache(maxsize=64)
def argument_rules(version: EngineVersion) -> ArgumentRules:
    """The switches of `version`."""
    return _RELEASES.of(version)
