"""Weights per rank against vLLM's own model classes, and what must hold for every model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.folders import DATA as DATA_FOLDER
from tests.plimsoll_estimator.layouts import resolved_args

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.errors import EngineRefusal, EstimatorError, InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Gpu, ResolvedArgs
from plimsoll_estimator.weights import weights_per_stage

DATA = json.loads((DATA_FOLDER / "weights_cases.json").read_text())
CAPABILITIES = {"h100": (9, 0), "h200": (9, 0), "b200": (10, 0), "a100": (8, 0), "l40s": (8, 9)}


def resolved_for(case: dict[str, Any], **changes: Any) -> ResolvedArgs:
    args = {**case["engine_args"], **changes}
    gpu = Gpu(product=case["gpu"], total_memory_bytes=80 << 30, interconnect="nvlink", compute_capability=CAPABILITIES[case["gpu"]])
    return resolved_args(
        version=case["version"],
        gpu=gpu,
        given=EngineArgs.from_mapping(args),
        architecture=case["architecture"],
        dtype=case["dtype"],
        quantization=case["quantization"],
        tp=args.get("tensor_parallel_size", 1),
        pp=args.get("pipeline_parallel_size", 1),
        data_parallel_size=args.get("data_parallel_size", 1),
        enable_expert_parallel=args.get("enable_expert_parallel", False),
        max_model_len=case["max_model_len"],
        block_size=16,
        runner="pooling" if case["architecture"].endswith("Model") else "generate",
    )


def config_for(case: dict[str, Any]) -> HfConfig:
    return HfConfig(DATA["configs"][case["model"]])


def name_of(case: dict[str, Any]) -> str:
    sizes = "-".join(f"{key}={value}" for key, value in case["engine_args"].items())
    return f"{case['model']}@{case['version']}-{sizes or 'tp1'}"


@pytest.mark.parametrize("case", DATA["cases"], ids=name_of)
def test_created_bytes_are_those_of_the_engines_model_classes(case: dict[str, Any]) -> None:
    stages = weights_per_stage(config_for(case), resolved_for(case))
    assert [stage.created_bytes for stage in stages] == case["created_bytes"]


ONE_RANK = [case for case in DATA["cases"] if not case["engine_args"]]


@pytest.mark.parametrize("case", ONE_RANK, ids=name_of)
def test_weights_per_rank_never_grow_with_tensor_parallelism(case: dict[str, Any]) -> None:
    last = None
    for tp in (1, 2, 4, 8):
        try:
            (stage,) = weights_per_stage(config_for(case), resolved_for(case, tensor_parallel_size=tp))
        except EngineRefusal:
            continue
        assert last is None or stage.created_bytes <= last
        last = stage.created_bytes
    assert last is not None


@pytest.mark.parametrize("case", ONE_RANK, ids=name_of)
def test_two_stages_hold_at_least_what_one_stage_holds(case: dict[str, Any]) -> None:
    (whole,) = weights_per_stage(config_for(case), resolved_for(case))
    try:
        stages = weights_per_stage(config_for(case), resolved_for(case, pipeline_parallel_size=2))
    except EngineRefusal:
        return
    assert sum(stage.created_bytes for stage in stages) >= whole.created_bytes
    assert max(stage.created_bytes for stage in stages) <= whole.created_bytes


LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
    "tie_word_embeddings": False,
}
LLAMA_CASE: dict[str, Any] = {
    "version": "0.33.0",
    "gpu": "h100",
    "engine_args": {},
    "architecture": "LlamaForCausalLM",
    "dtype": "bfloat16",
    "quantization": None,
    "max_model_len": 131072,
}


@pytest.mark.parametrize(("tp", "expected"), [(1, 16_094_077_440), (2, 8_064_082_432)])
def test_llama_8b_has_the_bytes_vllm_logs(tp: int, expected: int) -> None:
    """14.9889 GiB at tp 1 as logged in vLLM pull request 17122; 7.51 GiB at tp 2."""
    (stage,) = weights_per_stage(HfConfig(LLAMA_8B), resolved_for(LLAMA_CASE, tensor_parallel_size=tp))
    assert stage.created_bytes == expected
    assert 0 <= stage.loaded_bytes - expected <= 2 << 20


QWEN_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize(
    ("version", "logged_gib"),
    [("0.19.0", 14.25), ("0.25.0", 14.29)],
    ids=["blocks split above 20 MiB", "blocks never split above 20 MiB"],
)
def test_loaded_bytes_hold_what_the_allocator_does_not_split_off(version: str, logged_gib: float) -> None:
    """Qwen2.5-7B: "Model loading took" 14.25 GiB on H100 (0.19.0) and 14.29 GiB on A40 (0.25.0); created are 14.19 GiB."""
    case = {**LLAMA_CASE, "architecture": "Qwen2ForCausalLM", "version": version}
    (stage,) = weights_per_stage(HfConfig(QWEN_7B), resolved_for(case))
    assert round(stage.loaded_bytes / 2**30, 2) == logged_gib
    assert round(stage.created_bytes / 2**30, 2) == 14.19


GROUP_128 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True, "dynamic": False}
CHANNEL_FP8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}
TOKEN_FP8 = {"num_bits": 8, "type": "float", "strategy": "token", "symmetric": True, "dynamic": True}


def compressed(weights: dict[str, Any], activations: dict[str, Any] | None, layout: str) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {"quant_method": "compressed-tensors", "format": layout, "ignore": ["lm_head"], "config_groups": {"group_0": group}}


FP8_BLOCK = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
MODELOPT = {"quant_method": "modelopt", "ignore": ["lm_head"]}
# Bytes of Llama-3.1-8B on one rank, built on the meta device by vLLM 0.33.0; scales of the KV cache add up to 36 bytes a layer.
STORED = [
    ("eight bits by channel", "compressed-tensors", compressed(CHANNEL_FP8, TOKEN_FP8, "float-quantized"), 9_120_261_184),
    ("fp8 by block", "fp8", FP8_BLOCK, 9_116_459_776),
    ("fp8 by tensor", "modelopt", {**MODELOPT, "quant_algo": "FP8"}, 9_114_757_632),
    ("GPTQ, four bits", "auto_gptq", GPTQ, 5_761_409_536),
    ("four bits packed", "compressed-tensors", compressed(GROUP_128, None, "pack-quantized"), 5_734_149_184),
    ("NVFP4", "modelopt_fp4", {**MODELOPT, "quant_algo": "NVFP4"}, 6_061_304_640),
]


@pytest.mark.parametrize(("sentence", "method", "settings", "expected"), STORED, ids=[row[0] for row in STORED])
def test_llama_8b_quantised(sentence: str, method: str, settings: dict[str, Any], expected: int) -> None:
    config = HfConfig({**LLAMA_8B, "quantization_config": settings})
    (stage,) = weights_per_stage(config, resolved_for({**LLAMA_CASE, "quantization": method}))
    assert abs(stage.created_bytes - expected) <= 36 * 32


def test_symmetric_gptq_zeros_are_dropped_after_loading() -> None:
    config = HfConfig({**LLAMA_8B, "quantization_config": GPTQ})
    (stage,) = weights_per_stage(config, resolved_for({**LLAMA_CASE, "quantization": "auto_gptq"}))
    zeros = 32 * (4096 * (6144 + 4096 + 28672) + 14336 * 4096) // 128 // 2
    assert stage.created_bytes - stage.loaded_bytes == zeros


def test_run_time_fp8_rests_in_half_the_linear_weights() -> None:
    (plain,) = weights_per_stage(HfConfig(LLAMA_8B), resolved_for(LLAMA_CASE))
    (online,) = weights_per_stage(HfConfig(LLAMA_8B), resolved_for({**LLAMA_CASE, "quantization": "fp8_per_tensor"}))
    linears = 32 * (4096 * (6144 + 4096 + 28672) + 14336 * 4096)
    assert plain.loaded_bytes - online.loaded_bytes == pytest.approx(linears, rel=1e-3)


def test_heads_that_tensor_parallelism_does_not_divide_are_refused() -> None:
    with pytest.raises(EngineRefusal, match="32 is not divisible by 3"):
        weights_per_stage(HfConfig(LLAMA_8B), resolved_for(LLAMA_CASE, tensor_parallel_size=3))


def test_an_unknown_architecture_names_what_resembles_it() -> None:
    args = replace(resolved_for(LLAMA_CASE), architecture="LlamaForCausalLMs")
    with pytest.raises(Unsupported, match="LlamaForCausalLM") as caught:
        weights_per_stage(HfConfig(LLAMA_8B), args)
    assert caught.value.reason == "UnsupportedArchitecture"


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
@pytest.mark.parametrize("value", [None, -1, "many", 1.5, [4096], {}, True])
def test_a_garbled_dimension_is_invalid_input_naming_the_key(key: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=key):
        weights_per_stage(HfConfig({**LLAMA_8B, key: value}), resolved_for(LLAMA_CASE))


@pytest.mark.parametrize("case", ONE_RANK, ids=name_of)
def test_a_config_without_dimensions_is_refused_not_guessed(case: dict[str, Any]) -> None:
    with pytest.raises(EstimatorError):
        weights_per_stage(HfConfig({"architectures": [case["architecture"]]}), replace(resolved_for(case), quantization=None))


FAMILIES = list({case["architecture"]: case for case in ONE_RANK}.values())


@pytest.mark.parametrize("case", FAMILIES, ids=name_of)
@pytest.mark.parametrize("value", [0, "x", [], {}, 1e12], ids=repr)
def test_a_garbled_value_is_refused_or_sized_but_never_a_crash(case: dict[str, Any], value: object) -> None:
    """Every key of the root and of one nested level, one at a time; a traceback fails the test."""
    config, args = DATA["configs"][case["model"]], resolved_for(case)
    garbled = [{**config, key: value} for key in config]
    nested = [(key, part) for key, part in config.items() if isinstance(part, dict) and key != "quantization_config"]
    garbled += [{**config, key: {**part, inner: value}} for key, part in nested for inner in part]
    for data in garbled:
        try:
            stages = weights_per_stage(HfConfig(data), args)
        except EstimatorError:
            continue
        assert stages[0].created_bytes > 0
        assert stages[0].loaded_bytes > 0


def test_an_unknown_quantisation_names_what_resembles_it() -> None:
    with pytest.raises(Unsupported, match="compressed-tensors") as caught:
        weights_per_stage(HfConfig(LLAMA_8B), resolved_for({**LLAMA_CASE, "quantization": "compressed-tensor"}))
    assert caught.value.reason == "UnsupportedQuantization"


@pytest.mark.parametrize(
    ("sentence", "settings", "method", "tp", "words"),
    [
        ("fp8 blocks wider than a rank's part", FP8_BLOCK, "fp8", 16, "not divisible by weight quantization block_k = 128"),
        (
            "a group that spans two ranks",
            compressed({**GROUP_128, "group_size": 512}, None, "p"),
            "compressed-tensors",
            16,
            "group_size=512",
        ),
    ],
)
def test_shapes_a_quantisation_refuses(sentence: str, settings: dict[str, Any], method: str, tp: int, words: str) -> None:
    config = HfConfig({**LLAMA_8B, "num_key_value_heads": 16, "quantization_config": settings, "head_dim": 72})
    with pytest.raises(EngineRefusal, match=words):
        weights_per_stage(config, resolved_for({**LLAMA_CASE, "quantization": method}, tensor_parallel_size=tp))


# Built by vLLM 0.33.0's classes on the meta device from shapes of the default configurations.
OTHERS: list[tuple[str, dict[str, Any], int]] = [
    (
        "FalconH1ForCausalLM",
        {"num_hidden_layers": 32, "vocab_size": 128000, "max_position_embeddings": 8192, "mamba_d_ssm": 1024, "mamba_n_heads": 128},
        17_032_593_920,
    ),
    (
        "GraniteMoeSharedForCausalLM",
        {
            "num_key_value_heads": 32,
            "vocab_size": 32000,
            "intermediate_size": 11008,
            "num_local_experts": 8,
            "max_position_embeddings": 2048,
        },
        74_078_757_376,
    ),
]


@pytest.mark.parametrize(("architecture", "shape", "expected"), OTHERS, ids=[row[0] for row in OTHERS])
def test_models_without_an_oracle_row(architecture: str, shape: dict[str, Any], expected: int) -> None:
    config = {key: value for key, value in LLAMA_8B.items() if key != "rope_scaling"}
    (stage,) = weights_per_stage(HfConfig({**config, **shape}), resolved_for({**LLAMA_CASE, "architecture": architecture}))
    assert stage.created_bytes == expected


MTP = {"num_speculative_tokens": 1, "speculative_method": "mtp"}


def test_multi_token_prediction_adds_its_layer_to_the_last_stage() -> None:
    case = next(case for case in DATA["cases"] if case["architecture"] == "DeepseekV3ForCausalLM" and not case["engine_args"])
    config = HfConfig({**DATA["configs"][case["model"]], "num_nextn_predict_layers": 1})
    plain = resolved_for(case)
    drafting = replace(plain, num_speculative_tokens=1, given=EngineArgs.from_mapping(MTP))
    (without,), (with_draft,) = weights_per_stage(config, plain), weights_per_stage(config, drafting)
    added = with_draft.created_bytes - without.created_bytes
    assert 11.3e9 < added < 11.8e9
