"""What each release makes of the user's arguments: one row a sentence."""

from typing import Any

import pytest

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
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
}
MIXTRAL = {**LLAMA, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 8, "rope_scaling": None}
JAMBA = {**LLAMA, "architectures": ["JambaForCausalLM"], "model_type": "jamba", "rope_scaling": None}
DEEPSEEK = {**LLAMA, "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "kv_lora_rank": 512, "n_routed_experts": 256}
H100, A100, B200, L4, T4 = (
    "NVIDIA-H100-80GB-HBM3",
    "NVIDIA-A100-SXM4-80GB",
    "NVIDIA-B200",
    "NVIDIA-L4",
    "Tesla-T4",
)


def resolved(config: dict[str, Any], version: str, product: str = H100, **arguments: Any) -> ResolvedArgs:
    return resolve(HfConfig(config), EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(version))


def rope(**values: Any) -> dict[str, Any]:
    return {**LLAMA, "max_position_embeddings": 32768, "rope_scaling": values}


YARN = rope(type="yarn", factor=4.0, original_max_position_embeddings=32768)
NO_MAXIMUM = {**LLAMA, "max_position_embeddings": None, "rope_scaling": None}

WHISPER: dict[str, Any] = {
    "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 1280, "vocab_size": 51866,
    "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "num_hidden_layers": 32,
    "decoder_layers": 32, "decoder_attention_heads": 20, "decoder_ffn_dim": 5120,
}  # fmt: skip


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


TWELVE_HEADS = {**LLAMA, "num_attention_heads": 12}
GPTQ = {"quant_method": "gptq", "bits": 4, "sym": True, "group_size": 128, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
FBGEMM = {**LLAMA, "quantization_config": {"quant_method": "fbgemm_fp8"}}


@pytest.mark.parametrize(
    ("version", "product", "seqs", "tokens"),
    [
        ("0.8.3", L4, 1024, 2048),
        ("0.8.3", H100, 1024, 8192),
        ("0.8.4", A100, 256, 2048),
        ("0.8.5", A100, 1024, 8192),
        ("0.10.2", A100, 256, 2048),
        ("0.19.0", H100, 1024, 8192),
        ("0.25.1", B200, 1024, 8192),
        ("0.30.0", B200, 1024, 16384),
        ("0.33.0", L4, 256, 2048),
    ],
)
def test_batch_defaults_follow_the_gpu_tier_of_the_release(version: str, product: str, seqs: int, tokens: int) -> None:
    answer = resolved(LLAMA, version, product)
    assert (answer.max_num_seqs, answer.max_num_batched_tokens) == (seqs, tokens)


@pytest.mark.parametrize(
    ("arguments", "seqs", "tokens"),
    [
        ({"max_num_seqs": 2, "max_model_len": 512}, 2, 1024),
        ({"max_num_batched_tokens": 64}, 64, 64),
        ({"enable_chunked_prefill": False, "max_model_len": 20000}, 1024, 20000),
    ],
)
def test_defaults_bend_to_what_is_given(arguments: dict[str, Any], seqs: int, tokens: int) -> None:
    answer = resolved(LLAMA, "0.33.0", **arguments)
    assert (answer.max_num_seqs, answer.max_num_batched_tokens) == (seqs, tokens)


@pytest.mark.parametrize(("version", "utilisation"), [("0.8.5", 0.90), ("0.19.1", 0.90), ("0.20.0", 0.92), ("0.33.0", 0.92)])
def test_the_default_utilisation_rose_at_0_20_2(version: str, utilisation: float) -> None:
    assert resolved(LLAMA, version).gpu_memory_utilization == utilisation


@pytest.mark.parametrize(
    ("sentence", "config", "version", "length"),
    [
        ("llama3 ropes are already scaled", LLAMA, "0.33.0", 131072),
        ("linear ropes multiply", rope(rope_type="linear", factor=4.0), "0.33.0", 131072),
        (
            "yarn multiplies its original length up to 0.25",
            YARN,
            "0.25.1",
            131072,
        ),
        ("yarn keeps the maximum from then on", YARN, "0.30.0", 32768),
        (
            "longrope defaults to its short length",
            {**rope(type="longrope"), "max_position_embeddings": 131072, "original_max_position_embeddings": 4096},
            "0.33.0",
            4096,
        ),
        ("gemma-3 is already scaled", {**rope(rope_type="linear", factor=8.0), "model_type": "gemma3_text"}, "0.19.0", 32768),
        ("nothing known means 2048", {**NO_MAXIMUM, "model_type": "novel", "auto_map": {}}, "0.33.0", 2048),
        (
            "the class's own default fills a gap",
            {**without(LLAMA, "max_position_embeddings", "rope_scaling"), "model_type": "qwen2"},
            "0.19.0",
            32768,
        ),
        ("a null is no gap: Transformers fills nothing in", {**NO_MAXIMUM, "model_type": "qwen2"}, "0.19.0", 2048),
    ],
)
def test_the_length_is_derived_as_the_release_does(sentence: str, config: dict[str, Any], version: str, length: int) -> None:
    assert resolved(config, version).max_model_len == length, sentence


def test_a_longrope_model_may_be_asked_for_its_long_length() -> None:
    config = {**rope(type="longrope"), "max_position_embeddings": 131072, "original_max_position_embeddings": 4096}
    assert resolved(config, "0.33.0", max_model_len=131072).max_model_len == 131072


@pytest.mark.parametrize(
    ("settings", "version", "product", "name"),
    [
        (GPTQ, "0.19.1", H100, "gptq_marlin"),
        (GPTQ, "0.19.1", T4, "gptq_marlin"),
        (GPTQ, "0.13.0", T4, "gptq"),
        (GPTQ, "0.33.0", H100, "auto_gptq"),
        (AWQ, "0.19.1", H100, "awq_marlin"),
        (AWQ, "0.25.1", H100, "auto_awq"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "0.33.0", H100, "modelopt_fp4"),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "MIXED_PRECISION"}}, "0.33.0", H100, "modelopt_mixed"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "0.33.0", L4, "fp8"),
        ({"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"}, "0.33.0", H100, "mxfp4"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "0.33.0", H100, "compressed-tensors"),
        ({"quant_algo": "FP8"}, "0.33.0", H100, None),
    ],
)
def test_the_quantisation_carries_the_name_of_its_release(settings: dict[str, Any], version: str, product: str, name: str | None) -> None:
    dtype = "float16" if product == T4 else None
    assert resolved({**LLAMA, "quantization_config": settings}, version, product, dtype=dtype).quantization == name


def test_gpt_oss_has_a_method_and_a_capture_size_of_its_own() -> None:
    config = {**LLAMA, "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}
    assert resolved(config, "0.33.0").quantization == "gpt_oss_mxfp4"
    assert resolved(config, "0.19.1").quantization == "mxfp4"
    assert resolved(config, "0.19.1", max_num_seqs=128).max_cudagraph_capture_size == 1024


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}, "fp8_e4m3"),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}, "fp8_e4m3"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, "auto"),
    ],
)
def test_the_checkpoint_may_declare_the_cache_dtype_and_the_argument_wins(settings: dict[str, Any], dtype: str) -> None:
    config = {**LLAMA, "quantization_config": settings}
    assert resolved(config, "0.33.0").kv_cache_dtype == dtype
    assert resolved(config, "0.33.0", kv_cache_dtype="bfloat16").kv_cache_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("config", "version", "arguments", "v2"),
    [
        (LLAMA, "0.19.0", {}, False),
        (LLAMA, "0.25.1", {}, True),
        (MIXTRAL, "0.25.1", {}, False),
        (JAMBA, "0.25.1", {}, False),
        (MIXTRAL, "0.33.0", {}, True),
        (JAMBA, "0.33.0", {"speculative_method": "suffix", "num_speculative_tokens": 2}, False),
        ({**LLAMA, "architectures": ["Qwen3ForCausalLM"]}, "0.22.1", {}, True),
        ({**LLAMA, "architectures": ["Qwen3ForCausalLM"]}, "0.22.1", {"enable_lora": True}, False),
    ],
)
def test_the_runner_is_the_one_the_release_picks(config: dict[str, Any], version: str, arguments: dict[str, Any], v2: bool) -> None:
    assert resolved(config, version, **arguments).uses_v2_model_runner is v2


@pytest.mark.parametrize(
    ("version", "arguments", "in_flight"),
    [
        ("0.25.1", {}, 8192),
        ("0.33.0", {}, 16384),
        ("0.33.0", {"pipeline_parallel_size": 2}, 24576),
        ("0.33.0", {"runner": "pooling"}, 8192),
    ],
)
def test_tokens_in_flight_count_every_batch_under_way(version: str, arguments: dict[str, Any], in_flight: int) -> None:
    assert resolved(LLAMA, version, **arguments).max_in_flight_tokens == in_flight


@pytest.mark.parametrize(
    ("sentence", "config", "product", "arguments", "reason"),
    [
        ("heads must divide", LLAMA, H100, {"tensor_parallel_size": 3}, "HeadsNotDivisible"),
        (
            "key-value heads must divide or be divided",
            {**LLAMA, "num_attention_heads": 12},
            H100,
            {"tensor_parallel_size": 6},
            "KvHeadsNotDivisible",
        ),
        ("a context beyond the model's is refused", LLAMA, H100, {"max_model_len": 131073}, "ContextTooLong"),
        ("tokens must cover sequences", LLAMA, H100, {"max_num_seqs": 64, "max_num_batched_tokens": 32}, "TokensBelowSeqs"),
        (
            "unchunked prefill takes a whole prompt",
            LLAMA,
            H100,
            {"enable_chunked_prefill": False, "max_num_batched_tokens": 2048},
            "TokensBelowContext",
        ),
        ("dense models have no experts to spread", LLAMA, H100, {"enable_expert_parallel": True}, "NoExperts"),
        ("bfloat16 needs Ampere when asked for", LLAMA, T4, {"dtype": "bfloat16"}, "DtypeUnsupported"),
        (
            "decode context parallelism needs replicated heads",
            LLAMA,
            H100,
            {"tensor_parallel_size": 8, "decode_context_parallel_size": 2},
            "DecodeContextParallelNeedsTensorParallel",
        ),
        (
            "and no more ranks than copies",
            LLAMA,
            H100,
            {"tensor_parallel_size": 16, "decode_context_parallel_size": 4},
            "DecodeContextParallelTooLarge",
        ),
        (
            "and must divide the ranks",
            DEEPSEEK,
            H100,
            {"tensor_parallel_size": 8, "decode_context_parallel_size": 3},
            "DecodeContextParallelNotDivisible",
        ),
        (
            "pipelines need a class that has them",
            WHISPER,
            H100,
            {"pipeline_parallel_size": 2},
            "PipelineParallelUnsupported",
        ),
        (
            "a method needs its generation",
            {**LLAMA, "quantization_config": {"quant_method": "mxfp4"}},
            T4,
            {"dtype": "float16"},
            "QuantizationUnsupportedOnGpu",
        ),
        (
            "deprecated methods are refused",
            FBGEMM,
            H100,
            {},
            "DeprecatedQuantization",
        ),
        ("removed methods are unknown", LLAMA, H100, {"quantization": "bitsandbytes"}, "UnknownQuantization"),
        (
            "argument and checkpoint must agree",
            {**LLAMA, "quantization_config": {"quant_method": "fp8"}},
            H100,
            {"quantization": "awq"},
            "QuantizationMismatch",
        ),
    ],
)
def test_what_vllm_would_refuse(sentence: str, config: dict[str, Any], product: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(EngineRefusal) as caught:
        resolved(config, "0.33.0", product, **arguments)
    assert caught.value.reason == reason, sentence


def test_latent_attention_takes_any_dividing_decode_context_parallel_size() -> None:
    assert resolved(DEEPSEEK, "0.33.0", tensor_parallel_size=8, decode_context_parallel_size=4).decode_context_parallel_size == 4


@pytest.mark.parametrize(
    ("stated", "product", "runner", "dtype"),
    [
        ("float32", H100, None, "bfloat16"),
        ("float32", H100, "pooling", "float16"),
        ("bfloat16", T4, None, "float16"),
        (None, H100, None, "bfloat16"),
        ("float16", H100, None, "float16"),
    ],
)
def test_automatic_dtypes(stated: str | None, product: str, runner: str | None, dtype: str) -> None:
    assert resolved({**LLAMA, "torch_dtype": stated}, "0.19.0", product, runner=runner).dtype == dtype


@pytest.mark.parametrize(
    ("config", "version", "on"),
    [(LLAMA, "0.19.0", True), (JAMBA, "0.19.0", False), (JAMBA, "0.25.1", False), (JAMBA, "0.33.0", True)],
)
def test_prefix_caching_came_to_hybrids_late(config: dict[str, Any], version: str, on: bool) -> None:
    assert resolved(config, version).enable_prefix_caching is on


def test_a_config_without_architectures_becomes_a_pooling_model_of_its_base_class() -> None:
    answer = resolved({**LLAMA, "architectures": None}, "0.33.0")
    assert (answer.architecture, answer.runner, answer.async_scheduling) == ("LlamaModel", "pooling", False)


@pytest.mark.parametrize(("model_type", "name"), [("opt", "OPTModel"), ("seed_oss", "SeedOssModel"), ("ernie4_5_moe", "Ernie4_5_MoeModel")])
def test_base_classes_are_spelt_as_transformers_spells_them(model_type: str, name: str) -> None:
    config = {**LLAMA, "architectures": None, "model_type": model_type}
    assert resolved(config, "0.33.0").architecture == name


@pytest.mark.parametrize(("version", "refused"), [("0.19.1", True), ("0.25.1", False)])
def test_a_class_that_a_release_cannot_shard_takes_one_gpu_a_stage(version: str, refused: bool) -> None:
    config = {**LLAMA, "architectures": ["MllamaForConditionalGeneration"], "model_type": "mllama"}
    assert resolved(config, version).tensor_parallel_size == 1
    if refused:
        with pytest.raises(EngineRefusal, match="tensor parallelism"):
            resolved(config, version, tensor_parallel_size=2)
    else:
        assert resolved(config, version, tensor_parallel_size=2).tensor_parallel_size == 2


@pytest.mark.parametrize(("version", "reason"), [("0.7.3", "EngineTooOld"), ("1.0.0", "EngineUnknown")])
def test_releases_without_rules_are_unsupported(version: str, reason: str) -> None:
    with pytest.raises(Unsupported) as caught:
        resolved(LLAMA, version)
    assert caught.value.reason == reason


def test_a_newer_minor_is_extrapolated_and_marked() -> None:
    assert resolved(LLAMA, "0.34.0").extrapolated
    assert not resolved(LLAMA, "0.33.2").extrapolated


@pytest.mark.parametrize(
    "arguments",
    [{"dtype": "int7"}, {"runner": "walker"}, {"max_model_len": 0}, {"tensor_parallel_size": 0}, {"gpu_memory_utilization": 0.0}],
)
def test_bad_values_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolved(LLAMA, "0.33.0", **arguments)
    assert caught.value.field == f"engine_args.{next(iter(arguments))}"


@pytest.mark.parametrize(
    ("version", "chunks"),
    [("0.8.5", True), ("0.10.2", True), ("0.11.0", True), ("0.11.1", False), ("0.19.1", False)],  # engine/arg_utils.py of each
)
def test_generators_are_chunked_whatever_is_asked_until_0_11_0(version: str, chunks: bool) -> None:
    found = resolved(LLAMA, version, enable_chunked_prefill=False, max_model_len=4096, max_num_batched_tokens=4096)
    assert found.enable_chunked_prefill is chunks
    if chunks:
        assert resolved(LLAMA, version, enable_chunked_prefill=False, max_num_batched_tokens=2048).max_num_batched_tokens == 2048


@pytest.mark.parametrize(("version", "refused"), [("0.8.5", True), ("0.9.2", True), ("0.10.0", True), ("0.10.1", False), ("0.19.1", False)])
def test_limits_of_images_beside_a_text_model_were_refused_until_0_10_0(version: str, refused: bool) -> None:
    """vllm/config.py: _init_multimodal_config; gone in vllm/config/__init__.py of 0.10.1."""
    if refused:
        with pytest.raises(EngineRefusal, match="only supported for multimodal models"):
            resolved(LLAMA, version, limit_mm_per_prompt={"image": 2})
    else:
        assert resolved(LLAMA, version, limit_mm_per_prompt={"image": 2})


@pytest.mark.parametrize("method", ["fbgemm_fp8", "experts_int8", "ptpc_fp8"])
def test_methods_deprecated_in_0_14_0_need_leave(method: str) -> None:
    """quantization/__init__.py: DEPRECATED_QUANTIZATION_METHODS of 0.14.0, absent in 0.13.0."""
    with pytest.raises(EngineRefusal, match="without --allow-deprecated-quantization"):
        resolved(LLAMA, "0.14.0", quantization=method)
    for version, leave in (("0.14.0", True), ("0.13.0", None)):
        config = {**LLAMA, "quantization_config": {"quant_method": method}}
        assert resolved(config, version, allow_deprecated_quantization=leave).quantization == method


def test_a_method_that_a_release_no_longer_has_is_unknown_there() -> None:
    with pytest.raises(EngineRefusal, match=r"knows no quantization method bitsandbytes: it is one from 0\.8\.0 to 0\.27\.1"):
        resolved(LLAMA, "0.28.0", quantization="bitsandbytes")
