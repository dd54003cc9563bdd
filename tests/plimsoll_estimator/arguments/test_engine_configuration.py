"""What real vLLM made of argument lists that were put to its own configuration, kind by kind: one row a sentence."""

from typing import Any

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import ResolvedArgs

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


def resolved(config: HfConfig | dict[str, Any], release: str, product: str = "NVIDIA-H100-80GB-HBM3", **arguments: Any) -> ResolvedArgs:
    config = HfConfig(config) if isinstance(config, dict) else config
    return resolve(config, EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(release))


def shipped(name: str) -> HfConfig:
    config = catalogue.lookup(name)
    assert config is not None
    return config


def refusal(config: HfConfig | dict[str, Any], release: str, **arguments: Any) -> Check:
    with pytest.raises(EngineRefusal) as caught:
        resolved(config, release, **arguments)
    return caught.value.reason


@pytest.mark.parametrize(
    ("release", "arguments", "largest"),
    [
        # config.py of 0.8.5: [1, 2, 4] + range(8, 513, 8), up to max_num_batched_tokens; config.py of 0.9.2: cuda_graph_sizes = [512].
        ("0.8.5", {"max_num_seqs": 64}, 512),
        ("0.9.2", {"max_num_seqs": 8}, 512),
        ("0.9.2", {"max_num_seqs": 8, "max_num_batched_tokens": 256}, 256),
        # config/scheduler.py of 0.10.0: min(max_num_seqs * 2, 512).
        ("0.10.0", {"max_num_seqs": 64}, 128),
        # config/vllm.py: drafts count from 0.13.0 on (decode_query_len).
        ("0.12.0", {"max_num_seqs": 16, "speculative_method": "ngram", "num_speculative_tokens": 3}, 32),
        ("0.13.0", {"max_num_seqs": 16, "speculative_method": "ngram", "num_speculative_tokens": 3}, 128),
    ],
)
def test_how_far_graphs_reach_is_the_releases_own(release: str, arguments: dict[str, Any], largest: int) -> None:
    assert resolved(LLAMA, release, **arguments).max_cudagraph_capture_size == largest


@pytest.mark.parametrize(("release", "eager"), [("0.8.5", True), ("0.19.1", True), ("0.27.1", True)])
def test_a_checkpoint_that_bitsandbytes_stored_in_8_bits_has_no_graphs(release: str, eager: bool) -> None:
    """config/model.py: _verify_bnb_config, until 0.27.1."""
    stored = {**LLAMA, "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    answer = resolved(stored, release, dtype="float16")
    assert (answer.enforce_eager, answer.max_cudagraph_capture_size) == (eager, 0)
    in_4bit = {**LLAMA, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    assert not resolved(in_4bit, release, dtype="float16").enforce_eager


GEMMA = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16"}


@pytest.mark.parametrize(("release", "dtype"), [("0.8.4", "bfloat16"), ("0.8.5", "float16"), ("0.9.0", "bfloat16")])
def test_one_release_looks_for_the_dtype_of_the_language_model_alone(release: str, dtype: str) -> None:
    """config.py of 0.8.5: `config.get_text_config().torch_dtype`; Gemma 3 states its dtype at the root, which others read first."""
    assert resolved(shipped("google/gemma-3-27b-it"), release).dtype == dtype


def test_the_dtype_of_a_vision_tower_counts_where_nothing_else_states_one() -> None:
    """config.py of 0.8.1 and later: config.vision_config.torch_dtype, where root and language model have none."""
    raw = dict(shipped("google/gemma-3-27b-it").as_mapping())
    raw.pop("torch_dtype")
    raw["vision_config"] = {**raw["vision_config"], "torch_dtype": "bfloat16"}
    assert resolved(raw, "0.8.2").dtype == "bfloat16"
    assert resolved(raw, "0.8.5").dtype == "bfloat16"


MODELOPT = "nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4"


@pytest.mark.parametrize("release", ["0.25.1", "0.32.0"])
def test_a_settings_file_of_modelopt_names_an_algorithm_that_the_release_reads(release: str) -> None:
    """transformers_utils/model_arch_config_convertor.py: "Unknown ModelOpt quant algo: MIXED_PRECISION", until 0.32.0."""
    assert refusal(shipped(MODELOPT), release) is Check.QUANTIZATION_UNSUPPORTED
    assert resolved(shipped(MODELOPT), "0.33.0").quantization == "modelopt_mixed"


def test_fp8_per_channel_is_no_algorithm_before_0_14() -> None:
    settings = {"producer": {"name": "modelopt"}, "quant_method": "modelopt", "quantization": {"quant_algo": "FP8_PB_WO"}}
    assert refusal({**LLAMA, "quantization_config": settings}, "0.13.0") is Check.QUANTIZATION_UNSUPPORTED
    assert resolved({**LLAMA, "quantization_config": settings}, "0.14.0").quantization == "modelopt"


@pytest.mark.parametrize(
    ("model", "release", "wanted", "method"),
    [
        # quantization/mxfp4.py: override_quantization_method of GptOssMxfp4Config looks at the checkpoint alone.
        ("openai/gpt-oss-120b", "0.32.0", "torchao", "gpt_oss_mxfp4"),
        ("openai/gpt-oss-20b", "0.20.0", "fp8", "gpt_oss_mxfp4"),
        # models/deepseek_v41/quant_config.py: override_quantization_method looks at the model type.
        ("nvidia/DeepSeek-V4-Pro-NVFP4", "0.32.0", "auto_awq", "deepseek_v4_fp8"),
    ],
)
def test_a_method_that_claims_its_checkpoints_does_so_whatever_the_argument_says(
    model: str, release: str, wanted: str, method: str
) -> None:
    assert resolved(shipped(model), release, quantization=wanted).quantization == method


def test_auto_round_claims_its_checkpoints_too_since_it_is_called_inc() -> None:
    """quantization/inc.py of 0.15.0: override_quantization_method; before, the argument had to agree."""
    stored = {**LLAMA, "quantization_config": {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}}
    assert resolved(stored, "0.15.0", quantization="gptq").quantization == "inc"
    assert refusal(stored, "0.14.1", quantization="gptq") is Check.QUANTIZATION_MISMATCH


@pytest.mark.parametrize(
    ("release", "arguments", "ahead"),
    [
        # config/vllm.py: "pipeline_parallel_size > 1" of 0.14.0 alone, and of 0.33.0 beside the first runner.
        ("0.14.0", {"pipeline_parallel_size": 2}, False),
        ("0.15.0", {"pipeline_parallel_size": 2}, True),
        ("0.33.0", {"pipeline_parallel_size": 2}, True),
        # EagleModelTypes, NgramGPUTypes and, from 0.28.0 on, draft_model.
        ("0.19.1", {"speculative_method": "ngram_gpu", "num_speculative_tokens": 2}, True),
        ("0.17.1", {"speculative_method": "ngram", "num_speculative_tokens": 2}, False),
        ("0.27.1", {"speculative_method": "draft_model", "num_speculative_tokens": 2, "speculative_model_config": HfConfig(LLAMA)}, False),
        ("0.28.0", {"speculative_method": "draft_model", "num_speculative_tokens": 2, "speculative_model_config": HfConfig(LLAMA)}, True),
    ],
)
def test_what_scheduling_runs_ahead_of_is_the_releases_own(release: str, arguments: dict[str, Any], ahead: bool) -> None:
    assert resolved(LLAMA, release, **arguments).async_scheduling is ahead


@pytest.mark.parametrize(
    ("release", "method", "draft", "taken"),
    [
        # transformers_utils/configs/eagle.py makes Eagle3Qwen3ForCausalLM of it; models/registry.py has that from 0.24.0 on.
        ("0.19.1", "eagle3", "Qwen3ForCausalLM", False),
        ("0.25.1", "eagle3", "Qwen3ForCausalLM", True),
        ("0.19.1", "eagle3", "LlamaForCausalLMEagle3", True),
        ("0.19.1", "eagle", "Qwen2ForCausalLM", False),
        ("0.19.1", "eagle", "LlamaForCausalLM", True),
    ],
)
def test_an_eagle_draft_is_of_a_class_that_the_release_has(release: str, method: str, draft: str, taken: bool) -> None:
    given: dict[str, Any] = {
        "speculative_method": method,
        "num_speculative_tokens": 2,
        "speculative_model_config": HfConfig({**LLAMA, "architectures": [draft], "num_hidden_layers": 1}),
    }
    if taken:
        assert resolved(LLAMA, release, **given).num_speculative_tokens == 2
    else:
        assert refusal(LLAMA, release, **given) is Check.SPECULATIVE_DRAFT_UNSUPPORTED


def test_a_draft_model_runs_on_the_older_core_before_0_10() -> None:
    """engine/arg_utils.py: _is_v1_supported_oracle falls back for it, and V0 drafts with a model."""
    given: dict[str, Any] = {"speculative_method": "draft_model", "num_speculative_tokens": 2, "speculative_model_config": HfConfig(LLAMA)}
    with pytest.raises(Unsupported) as caught:
        resolved(LLAMA, "0.8.5", **given)
    assert caught.value.reason is Check.ENGINE_FALLS_BACK
    assert refusal(LLAMA, "0.10.2", **given) is Check.SPECULATIVE_METHOD_UNSUPPORTED


@pytest.mark.parametrize(
    ("flag", "release", "taken"),
    [
        # vllm/config/scheduler.py: watermark: float = Field(default=..., ge=0.0, lt=1.0), since 0.24.0.
        ("--watermark=1", "0.32.0", False),
        ("--watermark=0.5", "0.32.0", True),
        # vllm/config/scheduler.py: stream_interval: int = Field(default=1, ge=1), since 0.11.1.
        ("--stream-interval=0", "0.19.1", False),
        ("--stream-interval=1", "0.19.1", True),
        # vllm/config/observability.py: kv_cache_metrics_sample: float = Field(default=0.01, gt=0, le=1).
        ("--kv-cache-metrics-sample=0", "0.19.1", False),
        ("--kv-cache-metrics-sample=1", "0.19.1", True),
        # vllm/config/parallel.py: data_parallel_rpc_port, bounded from 0.28.0 on.
        ("--data-parallel-rpc-port=0", "0.27.1", True),
        ("--data-parallel-rpc-port=0", "0.28.0", False),
    ],
)
def test_a_number_outside_the_bounds_of_the_releases_configuration_is_refused(flag: str, release: str, taken: bool) -> None:
    if taken:
        parse_extra_args([flag], EngineVersion.parse(release))
    else:
        with pytest.raises(InvalidInput, match="in vLLM") as caught:
            parse_extra_args([flag], EngineVersion.parse(release))
        assert caught.value.field == flag.partition("=")[0]


def test_a_level_of_optimization_is_a_number() -> None:
    """config/vllm.py: "Input should be 0, 1, 2 or 3 ... input_value='O2'"; -O2 is the other spelling."""
    release = EngineVersion.parse("0.19.1")
    parse_extra_args(["--optimization-level=2"], release)
    with pytest.raises(InvalidInput):
        parse_extra_args(["--optimization-level=O2"], release)


@pytest.mark.parametrize(
    ("args", "release", "taken"),
    [
        # engine/arg_utils.py: "data_parallel_backend can only be ray or mp".
        (["--data-parallel-backend=ray"], "0.19.1", True),
        (["--data-parallel-backend=nccl"], "0.19.1", False),
        # engine/arg_utils.py of 0.11.1: _check_feature_supported; the flags are gone in 0.27.0.
        (["--max-long-partial-prefills=2"], "0.19.1", False),
        (["--max-num-partial-prefills=1"], "0.19.1", True),
        (["--logits-processor-pattern=x"], "0.14.1", False),
        # config/observability.py: a list of single words, and from 0.11.1 on beside an endpoint.
        (["--collect-detailed-traces=worker,model", "--otlp-traces-endpoint=x"], "0.14.1", False),
        (["--collect-detailed-traces=all", "--otlp-traces-endpoint=x"], "0.14.1", True),
        (["--collect-detailed-traces=all"], "0.14.1", False),
        (["--collect-detailed-traces=all"], "0.10.2", True),
    ],
)
def test_what_the_parser_takes_and_the_configuration_does_not_is_refused(args: list[str], release: str, taken: bool) -> None:
    if taken:
        parse_extra_args(args, EngineVersion.parse(release))
    else:
        with pytest.raises(InvalidInput, match="in vLLM"):
            parse_extra_args(args, EngineVersion.parse(release))


@pytest.mark.parametrize(
    ("model", "release", "given", "taken"),
    [
        # config/speculative.py: verify_with_parallel_config of a draft in as many stages as its target, until 0.29.0.
        ("meta-llama/Llama-3.1-8B-Instruct", "0.19.1", {"speculative_method": "eagle"}, False),
        ("meta-llama/Llama-3.1-8B-Instruct", "0.32.0", {"speculative_method": "eagle"}, True),
        # models/deepseek_mtp.py has SupportsPP until 0.13.0.
        ("deepseek-ai/DeepSeek-V3", "0.11.2", {"speculative_method": "deepseek_mtp"}, True),
        ("deepseek-ai/DeepSeek-V3", "0.19.1", {"speculative_method": "mtp"}, False),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.25.1", {"speculative_method": "mtp"}, False),
        ("meta-llama/Llama-3.1-8B-Instruct", "0.19.1", {"speculative_method": "ngram"}, True),
    ],
)
def test_drafts_run_beside_pipeline_stages_where_the_release_lets_them(
    model: str, release: str, given: dict[str, Any], taken: bool
) -> None:
    draft = HfConfig({**LLAMA, "num_hidden_layers": 1}) if given["speculative_method"] == "eagle" else None
    arguments = {**given, "num_speculative_tokens": 1, "pipeline_parallel_size": 2, "speculative_model_config": draft}
    if taken:
        assert resolved(shipped(model), release, **arguments).pipeline_parallel_size == 2
    else:
        assert refusal(shipped(model), release, **arguments) is Check.PIPELINE_PARALLEL_UNSUPPORTED


@pytest.mark.parametrize(
    ("model", "release", "read"),
    [
        # transformers_utils/config.py: _CONFIG_REGISTRY, and the CONFIG_MAPPING of the Transformers of that day; asked of 0.8.5 to 0.32.0.
        ("Qwen/Qwen-7B", "0.19.1", False),
        ("baichuan-inc/Baichuan2-7B-Chat", "0.19.1", False),
        ("XiaomiMiMo/MiMo-7B-Base", "0.33.0", False),
        ("openbmb/MiniCPM3-4B", "0.19.1", False),
        ("openbmb/MiniCPM3-4B", "0.25.1", True),
        ("deepseek-ai/DeepSeek-V2-Lite", "0.10.0", False),
        ("deepseek-ai/DeepSeek-V2-Lite", "0.11.2", True),
        ("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", "0.8.5", True),
        ("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", "0.32.0", False),
        ("moonshotai/Kimi-K2.5", "0.32.0", True),
    ],
)
def test_a_config_that_only_the_checkpoints_code_reads_needs_the_flag(model: str, release: str, read: bool) -> None:
    config = shipped(model)
    if read:
        resolved(config, release, trust_remote_code=False)
    else:
        assert refusal(config, release, trust_remote_code=False) is Check.CONFIG_CLASS_UNKNOWN
    resolved(config, release, trust_remote_code=True)
    resolved(config, release)  # nobody told


def test_the_refusal_says_what_to_write_and_which_release_reads_it_without() -> None:
    with pytest.raises(EngineRefusal) as caught:
        resolved(shipped("openbmb/MiniCPM3-4B"), "0.19.1", trust_remote_code=False)
    assert "--trust-remote-code" in str(caught.value)
    assert "vLLM 0.25.0 and later read it by themselves" in str(caught.value)


def test_beside_adapters_a_step_holds_every_sequence_with_its_drafts() -> None:
    """engine/arg_utils.py since 0.11.1: max_num_batched_tokens < max_num_seqs * (num_speculative_tokens + 1)."""
    given: dict[str, Any] = {"speculative_method": "ngram", "num_speculative_tokens": 7, "max_num_seqs": 256}
    assert refusal(LLAMA, "0.19.1", **given, max_num_batched_tokens=2047, enable_lora=True) is Check.TOKENS_BELOW_SEQS
    assert resolved(LLAMA, "0.19.1", **given, max_num_batched_tokens=2048, enable_lora=True).max_num_seqs == 256
    assert resolved(LLAMA, "0.19.1", **given, max_num_batched_tokens=1024).max_num_seqs == 256


@pytest.mark.parametrize("release", ["0.9.2", "0.10.1", "0.11.2", "0.32.0"])
@pytest.mark.parametrize("arguments", [{"num_redundant_experts": 8}, {"eplb_config": {"num_redundant_experts": 8}}])
def test_redundant_experts_are_for_balancing_alone(release: str, arguments: dict[str, Any]) -> None:
    """config/parallel.py: "num_redundant_experts is set to 8 but EPLB is not enabled"; config.py of 0.9.2: "should be used with EPLB"."""
    assert refusal(LLAMA, release, **arguments) is Check.EXPERTS_NOT_SPREAD
    assert resolved(LLAMA, release).given.redundant_experts == 0


MAMBA, QWEN_NEXT, JAMBA = "mistralai/Mamba-Codestral-7B-v0.1", "Qwen/Qwen3-Next-80B-A3B-Instruct", "ai21labs/AI21-Jamba-1.5-Mini"


@pytest.mark.parametrize(
    ("model", "release", "arguments", "caches"),
    [
        # models/config.py: MambaModelConfig. 0.10.2 and 0.11.0: "not yet supported", whatever is asked for.
        (MAMBA, "0.10.2", {"enable_prefix_caching": True}, False),
        (QWEN_NEXT, "0.11.0", {"enable_prefix_caching": True}, False),
        # 0.11.1 to 0.14: of classes that derive from SupportsMambaPrefixCaching.
        (MAMBA, "0.11.2", {"enable_prefix_caching": True}, True),
        (QWEN_NEXT, "0.11.2", {"enable_prefix_caching": True}, False),
        (QWEN_NEXT, "0.14.1", {"enable_prefix_caching": True}, False),
        # 0.15: mamba_cache_mode "align" for the others.
        (QWEN_NEXT, "0.15.0", {"enable_prefix_caching": True}, True),
        # engine/arg_utils.py: get_chunked_prefill_prefix_caching_defaults of 0.11.1 and 0.11.2 does not ask a pooling model for its states.
        (MAMBA, "0.11.2", {}, True),
        (MAMBA, "0.11.2", {"runner": "pooling"}, True),
        (MAMBA, "0.12.0", {}, False),
        # config/model.py of 0.12.0 to 0.32.0: attn_type of a pooling model is its pooler's, "decoder".
        (MAMBA, "0.12.0", {"runner": "pooling"}, True),
        (JAMBA, "0.14.1", {"runner": "pooling"}, True),
        (QWEN_NEXT, "0.14.1", {"runner": "pooling"}, False),
        (QWEN_NEXT, "0.19.1", {"runner": "pooling"}, True),
        (JAMBA, "0.32.0", {"runner": "pooling"}, True),
        (QWEN_NEXT, "0.11.2", {"runner": "pooling"}, False),
        (JAMBA, "0.11.2", {}, False),
        (JAMBA, "0.11.2", {"runner": "pooling"}, True),
    ],
)
def test_whose_states_are_kept_for_prefixes_is_the_releases_own(model: str, release: str, arguments: dict[str, Any], caches: bool) -> None:
    assert resolved(shipped(model), release, **arguments).enable_prefix_caching is caches


@pytest.mark.parametrize(
    ("release", "reads"), [("0.13.0", True), ("0.14.0", False), ("0.14.1", False), ("0.17.1", False), ("0.18.0", True)]
)
def test_attention_heads_of_mamba_2_were_looked_for_in_between(release: str, reads: bool) -> None:
    """0.14.1: AttributeError: 'Mamba2Config' object has no attribute 'num_attention_heads'; Falcon-Mamba is of another type."""
    if reads:
        resolved(shipped(MAMBA), release)
    else:
        assert refusal(shipped(MAMBA), release) is Check.UNSUPPORTED_MODEL_VERSION
    resolved(shipped("tiiuae/falcon-mamba-7b"), release)


QWEN_CODER, MISTRAL = "Qwen/Qwen2.5-Coder-14B-Instruct", "mistralai/Mistral-7B-Instruct-v0.3"
PARSER, FORMAT = Check.TOKENIZER_NOT_MISTRALS, Check.NO_MISTRAL_CONFIG


@pytest.mark.parametrize(
    ("model", "release", "words", "why"),
    [
        # config/reasoning.py of 0.20.0 to 0.26.0: parser_cls(tokenizer); "The tokenizer must be an instance of MistralTokenizer."
        (QWEN_CODER, "0.25.1", ["--reasoning-parser=mistral"], PARSER),
        ("google/gemma-3-27b-it", "0.20.0", ["--reasoning-parser=mistral"], PARSER),
        (QWEN_CODER, "0.25.1", ["--reasoning-parser=mistral", "--tokenizer-mode=mistral"], None),
        (QWEN_CODER, "0.25.1", ["--reasoning-parser=qwen3"], None),
        (MISTRAL, "0.25.1", ["--reasoning-parser=mistral"], None),
        # Before, a parser is made for each request; since 0.27.0 it takes any tokenizer (reasoning/mistral_reasoning_parser.py).
        (QWEN_CODER, "0.19.1", ["--reasoning-parser=mistral"], None),
        (QWEN_CODER, "0.27.0", ["--reasoning-parser=mistral"], None),
        # transformers_utils/config.py: "Failed to load mistral 'params.json' config", of every release.
        (QWEN_CODER, "0.8.5", ["--config-format=mistral"], FORMAT),
        (QWEN_CODER, "0.32.0", ["--config_format", "mistral"], FORMAT),
        (QWEN_CODER, "0.8.5", ["--config-format=hf"], None),
        (MISTRAL, "0.8.5", ["--config-format=mistral"], None),
    ],
)
def test_what_mistral_publishes_goes_with_its_models_alone(model: str, release: str, words: list[str], why: Check | None) -> None:
    given = parse_extra_args(words, EngineVersion.parse(release)).engine_args
    if why is None:
        resolved(shipped(model), release, **given)
    else:
        assert refusal(shipped(model), release, **given) is why


@pytest.mark.parametrize(("release", "reads"), [("0.8.5", False), ("0.10.2", False), ("0.11.0", True), ("0.25.1", True)])
def test_settings_that_name_no_method_are_passed_over_since_0_11(release: str, reads: bool) -> None:
    """config.py of 0.8.5: "Unknown quantization method: . Must be one of"; config/model.py of 0.11.0: `quant_method != "" else None`."""
    unnamed = {"quant_algo": "FP8", "producer": {"name": "modelopt"}}
    if reads:
        resolved({**LLAMA, "quantization_config": unnamed}, release)
    else:
        assert refusal({**LLAMA, "quantization_config": unnamed}, release) is Check.UNKNOWN_QUANTIZATION
