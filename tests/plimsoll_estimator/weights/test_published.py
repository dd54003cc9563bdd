"""Families without a row of vLLM's own classes, held against the parameter counts that the hub publishes for their checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.published import H100, INTERNVIT_6B, INTERNVIT_300M, created_bytes, internvl_hf, padding_bytes, rope_bytes

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve import resolve

QWEN2_500M: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151674,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
QWEN2_32B: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 151674,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
INTERNLM2_1_8B: dict[str, Any] = {
    "model_type": "internlm2",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 92553,
    "max_position_embeddings": 32768,
}


def internvl(tower: dict[str, Any], llm: dict[str, Any]) -> dict[str, Any]:
    chat = {"qkv_bias": tower["hidden_size"] == 1024}
    return {
        "architectures": ["InternVLChatModel"],
        "vision_config": {**tower, **chat},
        "llm_config": llm,
        "select_layer": -1,
        "downsample_ratio": 0.5,
    }


# (model, config, published parameters, bytes vLLM creates beyond them: rope tables, attention scalars, rows of padding)
PUBLISHED: list[tuple[str, dict[str, Any], int, int]] = [
    (
        "OpenGVLab/InternVL3-1B",
        internvl(INTERNVIT_300M, QWEN2_500M),
        938_193_024,
        rope_bytes(64, 32768) + 24 * 16 + padding_bytes(151674, 896, 2),
    ),
    (
        "OpenGVLab/InternVL3-1B-hf",
        internvl_hf(INTERNVIT_300M, QWEN2_500M),
        938_193_024,
        rope_bytes(64, 32768) + 24 * 16 + padding_bytes(151674, 896, 2),
    ),
    (
        "OpenGVLab/InternVL2-2B",
        internvl(INTERNVIT_300M, INTERNLM2_1_8B),
        2_205_754_368,
        rope_bytes(128, 32768) + 24 * 16 + padding_bytes(92553, 2048, 2),
    ),
    (
        "OpenGVLab/InternVL3-38B",
        internvl(INTERNVIT_6B, QWEN2_32B),
        38_388_164_992,
        rope_bytes(128, 32768) + 64 * 16 + padding_bytes(151674, 5120, 2),
    ),
]

LFM2_ATTENDS = (2, 6, 10, 14, 18, 21)
OTHERS: list[tuple[str, dict[str, Any], str, int, int]] = [
    (
        "bigscience/bloom-560m",
        {
            "architectures": ["BloomForCausalLM"],
            "model_type": "bloom",
            "n_embed": 1024,
            "num_attention_heads": 16,
            "n_layer": 24,
            "vocab_size": 250880,
        },
        "0.33.0",
        559_214_592,
        24 * 16,
    ),
    (
        "bigscience/bloom",
        {
            "architectures": ["BloomForCausalLM"],
            "model_type": "bloom",
            "n_embed": 14336,
            "num_attention_heads": 112,
            "n_layer": 70,
            "vocab_size": 250880,
        },
        "0.33.0",
        176_247_271_424,
        70 * 16,
    ),
    (
        "mosaicml/mpt-7b (6,649,286,656: the sum of its class's own shapes, not checked against a published file)",
        {
            "architectures": ["MPTForCausalLM"],
            "model_type": "mpt",
            "d_model": 4096,
            "n_heads": 32,
            "n_layers": 32,
            "vocab_size": 50432,
            "no_bias": True,
        },
        "0.19.1",
        6_649_286_656,
        32 * 16,
    ),
    (
        "swiss-ai/Apertus-8B-2509 (the activations' two buffers are not counted)",
        {
            "architectures": ["ApertusForCausalLM"],
            "hidden_size": 4096,
            "intermediate_size": 21504,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 131072,
            "max_position_embeddings": 65536,
            "tie_word_embeddings": False,
        },
        "0.33.0",
        8_053_338_176,
        32 * (16 + 4) + rope_bytes(128, 65536),
    ),
    (
        "ibm-ai-platform/Bamba-9B-v1 (A in float32)",
        {
            "architectures": ["BambaForCausalLM"],
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "max_position_embeddings": 262144,
            "attn_layer_indices": [9, 18, 27],
            "attn_rotary_emb": 64,
            "mamba_d_state": 128,
            "mamba_n_heads": 128,
            "tie_word_embeddings": False,
        },
        "0.19.1",
        9_780_235_392,
        3 * 16 + 64 * 262144 * 2 + 29 * (128 * 2 + (8192 + 2 * 128) * 4 * 2),
    ),
    (
        "LiquidAI/LFM2-8B-A1B (float32 corrections are not counted)",
        {
            "architectures": ["Lfm2MoeForCausalLM"],
            "model_type": "lfm2_moe",
            "hidden_size": 2048,
            "intermediate_size": 7168,
            "moe_intermediate_size": 1792,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_experts": 32,
            "num_dense_layers": 2,
            "use_expert_bias": True,
            "layer_types": ["full_attention" if i in LFM2_ATTENDS else "conv" for i in range(24)],
            "vocab_size": 65536,
            "max_position_embeddings": 128000,
        },
        "0.33.0",
        8_339_929_856,
        6 * 16 + rope_bytes(64, 128000) + 22 * 32 * 4,
    ),
    (
        "inclusionAI/Ling-lite",
        {
            "architectures": ["BailingMoeForCausalLM"],
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "num_experts": 64,
            "num_shared_experts": 2,
            "first_k_dense_replace": 0,
            "vocab_size": 126464,
            "max_position_embeddings": 16384,
            "tie_word_embeddings": False,
        },
        "0.33.0",
        16_801_974_272,
        28 * 16 + rope_bytes(128, 16384),
    ),
    (
        "inclusionAI/Ling-mini-2.0 (router and corrections in float32)",
        {
            "architectures": ["BailingMoeV2ForCausalLM"],
            "hidden_size": 2048,
            "intermediate_size": 5120,
            "moe_intermediate_size": 512,
            "num_hidden_layers": 20,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 256,
            "num_shared_experts": 1,
            "first_k_dense_replace": 1,
            "use_qk_norm": True,
            "moe_router_enable_expert_bias": True,
            "router_dtype": "fp32",
            "partial_rotary_factor": 0.5,
            "vocab_size": 157184,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
        },
        "0.33.0",
        16_255_643_392,
        20 * 16 + rope_bytes(64, 32768) + 19 * 256 * (2048 + 1) * 2,
    ),
    (
        "HuggingFaceTB/SmolVLM-256M-Instruct",
        {
            "architectures": ["Idefics3ForConditionalGeneration"],
            "scale_factor": 4,
            "vision_config": {
                "hidden_size": 768,
                "num_attention_heads": 12,
                "num_hidden_layers": 12,
                "intermediate_size": 3072,
                "image_size": 512,
                "patch_size": 16,
            },
            "text_config": {
                "model_type": "llama",
                "hidden_size": 576,
                "intermediate_size": 1536,
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "vocab_size": 49280,
                "max_position_embeddings": 8192,
            },
        },
        "0.33.0",
        256_484_928,
        30 * 16 + rope_bytes(64, 8192),
    ),
]


@pytest.mark.parametrize(("model", "config", "version", "parameters", "beyond"), OTHERS, ids=[row[0] for row in OTHERS])
def test_other_families_have_their_published_parameters(
    model: str, config: dict[str, Any], version: str, parameters: int, beyond: int
) -> None:
    assert created_bytes(config, version) == 2 * parameters + beyond


@pytest.mark.parametrize(("row", "version"), [(2, "0.29.0"), (4, "0.24.0")])
def test_classes_that_were_removed_have_no_rules_afterwards(row: int, version: str) -> None:
    """registry.py of 0.33.0: MPT was supported until 0.28, Bamba until 0.23."""
    with pytest.raises(Unsupported, match=r"does not know .*; releases from 0\.8 until before"):
        resolve(HfConfig(OTHERS[row][1]), EngineArgs(), H100, EngineVersion.parse(version))


KIMI_LINEAR_FULL = (4, 8, 12, 16, 20, 24, 27)
KIMI_LINEAR: dict[str, Any] = {
    "architectures": ["KimiLinearForCausalLM"],
    "model_type": "kimi_linear",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "moe_intermediate_size": 1024,
    "num_hidden_layers": 27,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "num_experts": 256,
    "num_shared_experts": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "mla_use_nope": True,
    "vocab_size": 163840,
    "tie_word_embeddings": False,
    "linear_attn_config": {
        "full_attn_layers": list(KIMI_LINEAR_FULL),
        "kda_layers": [i for i in range(1, 28) if i not in KIMI_LINEAR_FULL],
        "num_heads": 32,
        "head_dim": 128,
        "short_conv_kernel_size": 4,
    },
}


@pytest.mark.parametrize(("version", "wide_corrections"), [("0.19.1", 0), ("0.33.0", 26 * 256)])
def test_kimi_linear_has_its_published_parameters(version: str, wide_corrections: int) -> None:
    """49,122,681,728 on the hub; decay, its bias, convolutions (and newer corrections) are in float32; scalars of 7 layers."""
    wide = 20 * (4096 + 32 + 3 * 4096 * 4) + wide_corrections
    assert created_bytes(KIMI_LINEAR, version) == 2 * (49_122_681_728 + wide) + 7 * 16


@pytest.mark.parametrize("version", ["0.19.1", "0.33.0"])
@pytest.mark.parametrize(("model", "config", "parameters", "beyond"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_created_bytes_are_the_published_parameters(model: str, config: dict[str, Any], parameters: int, beyond: int, version: str) -> None:
    assert created_bytes(config, version) == 2 * parameters + beyond


def test_25_heads_of_the_large_tower_stay_whole_on_two_ranks() -> None:
    """intern_vit.py: attention of a tower whose heads do not divide is not split; its MLP is."""
    config = internvl(INTERNVIT_6B, QWEN2_32B)
    one, two = created_bytes(config, "0.33.0"), created_bytes(config, "0.33.0", tp=2)
    spared = 45 * (4 * 3200 * 3200 * 2) // 2
    projector = (12800 * 5120 + 5120 * 5120) * 2 // 2
    assert spared + projector < two - one // 2 < spared + projector + (16 << 20)


def test_internvl_chat_generates_although_its_class_is_named_model() -> None:
    """vLLM 0.33.0 config/model.py: the suffix ChatModel is tried before Model."""
    gpu = H100
    config = HfConfig(internvl(INTERNVIT_300M, QWEN2_500M))
    assert resolve(config, EngineArgs(), gpu, EngineVersion.parse("0.33.0")).runner == "generate"
