"""fp8 made of a checkpoint in bfloat16: what loading holds beside, by release, against starts that were reported."""

from __future__ import annotations

import pytest

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.prepared import Prepared

GIB = 1 << 30
H100, L40S = "NVIDIA-H100-80GB-HBM3", "NVIDIA-L40S"
QWEN_15_MOE, QWEN_3_30B, QWEN_25_32B = "Qwen/Qwen1.5-MoE-A2.7B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen2.5-32B-Instruct"


def prepared(name: str, version: str, product: str = H100, quantization: str | None = "fp8", tp: int = 1) -> Prepared:
    config = lookup(name)
    assert config is not None, name
    args = EngineArgs(quantization=quantization, max_model_len=8192, tensor_parallel_size=tp)
    found = prepare(HfConfig(config.as_mapping()), args, gpu_from(product), EngineVersion.parse(version))
    assert isinstance(found, Prepared)
    return found


def test_what_stays_is_as_logged() -> None:
    """github.com/vllm-project/vllm/pull/31914: 26.67 GiB in bfloat16, 13.94 GiB after quantising."""
    stage = prepared(QWEN_15_MOE, "0.15.0").stages[0]
    assert stage.created_bytes / GIB == pytest.approx(26.67, abs=0.01)
    assert stage.loaded_bytes / GIB == pytest.approx(13.94, abs=0.05)


# Of Qwen3-30B-A3B: w13 and w2 of a layer's 128 experts; of Qwen2.5-32B: gate and up. Weights, so bytes once quantised.
EXPERTS, GATE_UP = 128 * 3 * 2048 * 768, 2 * 5120 * 27648


@pytest.mark.parametrize(
    ("sentence", "name", "version", "tp", "largest", "halves", "largests"),
    [
        ("the whole model in bfloat16, then one module's fp8 beside it", QWEN_3_30B, "0.12.0", 1, EXPERTS, 1, 1),
        ("every original and all that is made of them", QWEN_3_30B, "0.13.0", 1, EXPERTS, 2, 0),
        ("one module's original", QWEN_3_30B, "0.16.0", 1, EXPERTS, 0, 2),
        ("dense models alike", QWEN_25_32B, "0.11.0", 1, GATE_UP, 1, 1),
        ("and divided", QWEN_25_32B, "0.33.0", 2, GATE_UP // 2, 0, 2),
    ],
)
def test_originals_are_held_as_long_as_the_release_holds_them(
    sentence: str, name: str, version: str, tp: int, largest: int, halves: int, largests: int
) -> None:
    """model_executor/layers/quantization/fp8.py: process_weights_after_loading, Fp8OnlineMoEMethod, Fp8OnlineLinearMethod."""
    stage = prepared(name, version, tp=tp).stages[0]
    quantised = stage.created_bytes - stage.loaded_bytes
    assert stage.largest_transient_bytes == halves * quantised + largests * largest, sentence


@pytest.mark.parametrize(
    ("sentence", "name", "product", "version", "quantization", "reason"),
    [
        ("one card holds the model in bfloat16", QWEN_3_30B, H100, "0.13.0", None, None),
        ("but not fp8 made of it", QWEN_3_30B, H100, "0.13.0", "fp8", "OutOfMemoryLoading"),
        ("nor a release later", QWEN_3_30B, H100, "0.14.0", "fp8", "OutOfMemoryLoading"),
        ("as it had before", QWEN_3_30B, H100, "0.12.0", "fp8", None),
        ("and has again", QWEN_3_30B, H100, "0.16.0", "fp8", None),
        ("what bfloat16 does not fit, fp8 did not either", QWEN_25_32B, L40S, "0.11.2", "fp8", "OutOfMemoryLoading"),
        ("and now does", QWEN_25_32B, L40S, "0.16.0", "fp8", None),
    ],
)
def test_a_card_must_hold_what_loading_holds(
    sentence: str, name: str, product: str, version: str, quantization: str | None, reason: str | None
) -> None:
    """github.com/vllm-project/vllm/pull/32773: Qwen3-30B-A3B on one 80 GB card, "0.13.0 and 0.14.0 are affected"."""
    answer = prepared(name, version, product, quantization).estimate()
    assert answer.reason == reason, (sentence, answer.message)
    if reason:
        assert answer.message is not None
        assert "a checkpoint that is quantised already" in answer.message


def test_a_checkpoint_that_is_quantised_has_no_originals() -> None:
    for name in ("Qwen/Qwen3-30B-A3B-FP8", "openai/gpt-oss-20b"):
        assert prepared(name, "0.13.0", quantization=None).stages[0].largest_transient_bytes == 0


def test_blocks_that_are_made_of_whole_weights_refuse_no_output() -> None:
    """quantization/online/fp8.py calls no validate_fp8_block_shape: the last block of a matrix is as wide as what is left (0.25.1)."""
    config = HfConfig(
        {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2048,
            "vocab_size": 32000, "num_hidden_layers": 1, "num_attention_heads": 16, "num_key_value_heads": 1,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        }
    )  # fmt: skip
    found = prepare(config, EngineArgs(quantization="fp8_per_block", max_model_len=2048), gpu_from(H100), EngineVersion(0, 25, 1))
    assert isinstance(found, Prepared)
    weights = [(1024 + 64 + 64, 1024), (1024, 1024), (2 * 2048, 1024), (1024, 2048)]
    made = sum(n * k + -(-n // 128) * (k // 128) * 4 for n, k in weights)
    kept = 2 * (2 * 32000 * 1024 + 3 * 1024)
    rotations, scales_of_the_cache = 8192 * 64 * 2 * 4, 24
    assert found.stages[0].loaded_bytes == made + kept + rotations + scales_of_the_cache


def test_inputs_that_groups_do_not_divide_have_no_rule() -> None:
    """Gemma 4's experts and blocks are 2112 wide: 0.25.1 builds them, and what quantises 2112 activations in groups of 128 is unknown."""
    with pytest.raises(Unsupported, match="2112 inputs"):
        prepared("google/gemma-4-26B-A4B-it", "0.25.1", quantization="fp8_per_block")


@pytest.mark.parametrize(
    ("name", "quantization", "version"),
    [
        # fused_moe/layer.py: FusedMoE.weight_loader cuts experts of three dimensions for mxfp4 (0.11.1 to 0.19.1); parameters of half
        # the width take no whole ones (quantization/mxfp4.py: create_weights). 0.28.0 makes MXFP4 while it loads.
        (QWEN_3_30B, "mxfp4", "0.11.1"),
        (QWEN_3_30B, "mxfp4", "0.19.1"),
        (QWEN_15_MOE, "mxfp4", "0.26.0"),
        (QWEN_3_30B, "gpt_oss_mxfp4", "0.33.0"),
    ],
)
def test_experts_in_bfloat16_do_not_go_into_parameters_of_four_bits(name: str, quantization: str, version: str) -> None:
    config = lookup(name)
    assert config is not None
    found = prepare(config, EngineArgs(quantization=quantization), gpu_from(H100), EngineVersion.parse(version))
    assert not isinstance(found, Prepared)
    assert found.reason == "QuantizationNeedsCheckpoint"
    assert f"of vLLM {version} loads experts that are stored in MXFP4" in f"{found.message}"


def test_a_dense_model_stays_as_it_is_where_mxfp4_is_of_experts() -> None:
    """quantization/mxfp4.py of 0.19.1: "MXFP4 linear layer is not implemented - falling back to UnquantizedLinearMethod"."""
    plain, given = (prepared(QWEN_25_32B, "0.19.1", quantization=one).stages[0] for one in (None, "mxfp4"))
    assert plain.loaded_bytes == given.loaded_bytes
