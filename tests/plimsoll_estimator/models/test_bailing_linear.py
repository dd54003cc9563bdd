"""Ling 2.5 and Ring 2.5: what vLLM 0.32.0's own classes build on the meta device and its planner plans, and how layers are read.

No published config is at hand: `SILENT` is what BailingMoeV2_5Config (which checkpoints bring along) fills in, 20 layers in groups of
five, and `LARGE` has Ling 2.6 flash's 32 layers in groups of eight, with query ranks, biases and a router of 16 bits.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.built import Planned, answered, planned
from tests.plimsoll_estimator.models.hybrids import mixed
from tests.plimsoll_estimator.models.reading import routed, shape_of

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Experts, Latent, Lightning, Mlp

SILENT: dict[str, Any] = {"architectures": ["BailingMoeV2_5ForCausalLM"], "model_type": "bailing_hybrid", "dtype": "bfloat16"}
SAID: dict[str, Any] = {
    "vocab_size": 157184, "hidden_size": 2048, "intermediate_size": 5120, "num_hidden_layers": 20, "num_attention_heads": 16,
    "num_key_value_heads": 4, "use_qkv_bias": False, "use_bias": False, "max_position_embeddings": 32768, "rope_theta": 600000.0,
    "num_experts": 256, "num_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "first_k_dense_replace": 1,
    "head_dim": 128, "use_qk_norm": True, "moe_router_enable_expert_bias": True, "layer_group_size": 5, "group_norm_size": 4,
    "kv_lora_rank": 512, "q_lora_rank": None, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
    "partial_rotary_factor": 0.5, "score_function": "sigmoid", "router_dtype": "fp32", "tie_word_embeddings": False,
}  # fmt: skip
LARGE: dict[str, Any] = {
    **SILENT, **SAID, "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "layer_group_size": 8, "q_lora_rank": 1536,
    "intermediate_size": 9216, "moe_intermediate_size": 1024, "group_norm_size": 8, "max_position_embeddings": 131072,
    "moe_shared_expert_intermediate_size": 2048, "router_dtype": "bf16", "use_qkv_bias": True, "use_qk_norm": False,
}  # fmt: skip
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "fmt": "e4m3"}
ONE_GPU = Planned(
    says="one GPU", created=(32901434432,), blocks=18204, tokens=8284842, concurrency=252.83333333333334, block_size=512
)  # fmt: skip


@pytest.mark.parametrize(
    ("config", "row"),
    [
        (SILENT, ONE_GPU),
        ({**SILENT, **SAID}, ONE_GPU),
        (
            SILENT,
            Planned(
                says="two", args={"tensor_parallel_size": 2}, created=(16479652928,), blocks=36408, tokens=8772186,
                concurrency=267.70588235294116, block_size=256,
            ),
        ),
        (
            SILENT,
            Planned(
                says="two stages", args={"pipeline_parallel_size": 2}, created=(15676865568, 17232957472), blocks=36408, tokens=16569685,
                concurrency=505.6666666666667, block_size=512,
            ),
        ),
        (
            SILENT,
            Planned(
                says="a cache of 8 bits, in longer blocks", args={"kv_cache_dtype": "fp8"}, created=(32901434432,), blocks=18204,
                tokens=14912716, concurrency=455.1, block_size=1024,
            ),
        ),
        (
            SILENT,
            Planned(
                says="short contexts", args={"max_model_len": 4096, "max_num_seqs": 64}, created=(32901434432,), blocks=18204,
                tokens=4660224, concurrency=1137.75, block_size=512,
            ),
        ),
        (
            SILENT,
            Planned(
                says="one state a request", args={"enable_prefix_caching": False}, created=(32901434432,), blocks=18204, tokens=8772186,
                concurrency=267.70588235294116, block_size=512,
            ),
        ),
        (
            SILENT,
            Planned(
                says="little memory", gib=0.25, created=(32901434432,), blocks=113, tokens=51427, concurrency=1.5694444444444444,
                block_size=512,
            ),
        ),
        (
            {**SILENT, "moe_intermediate_size": 1024, "hidden_size": 3072},
            Planned(
                says="shared experts as wide as routed ones", created=(95421289536,), blocks=18204, tokens=8284842,
                concurrency=252.83333333333334, block_size=512,
            ),
        ),
        (
            LARGE,
            Planned(
                says="large", created=(209188215872,), blocks=9102, tokens=8401530, concurrency=64.09859154929578, block_size=1024
            ),
        ),
        (
            LARGE,
            Planned(
                says="large on eight", args={"tensor_parallel_size": 8}, created=(26295835712,), blocks=72817, tokens=9194864,
                concurrency=70.15125240847784, block_size=128,
            ),
        ),
        (
            LARGE,
            Planned(
                says="large in three stages", args={"pipeline_parallel_size": 3, "tensor_parallel_size": 2},
                created=(34162440208, 36653857808, 33929095200), blocks=36408, tokens=17674331, concurrency=134.84444444444443,
                block_size=512,
            ),
        ),
        (
            {**SILENT, "quantization_config": FP8},
            Planned(
                says="blocks of 8 bits", created=(17122646080,), blocks=18204, tokens=8284842, concurrency=252.83333333333334,
                block_size=512,
            ),
        ),
        (
            {**SILENT, "quantization_config": FP8},
            Planned(
                says="blocks of 8 bits on four", args={"tensor_parallel_size": 4}, created=(4320527104,), blocks=72817, tokens=9038134,
                concurrency=275.8219696969697, block_size=128,
            ),
        ),
    ],
    ids=lambda given: given.says if isinstance(given, Planned) else "of",
)  # fmt: skip
def test_it_is_built_and_planned_as_by_the_engine(config: dict[str, Any], row: Planned) -> None:
    assert planned(config, "0.32.0", row) == row


def test_the_engine_refuses_more_ranks_than_groups_of_the_norm() -> None:
    """ "tp_size must be <= group_norm_size for local rms norm"."""
    reply = answered(SILENT, "0.32.0", {"tensor_parallel_size": 8})
    assert (reply["verdict"], reply["reason"]) == ("refused", Check.NOT_DIVISIBLE)
    assert "group_norm_size (4)" in reply["message"]


def test_tables_of_rotation_were_in_float32_and_a_latent_layer_s_half_as_wide_before_0_20_1() -> None:
    """Read from bailing_moe_linear.py of 0.20.0: 64 then 32 channels of 4 bytes, afterwards 64 and 64 of 2, for 32768 positions."""
    created = [answered(SILENT, version, {})["ranks"][0]["weights_created_bytes"] for version in ("0.20.0", "0.20.1")]
    assert created[0] - created[1] == 32768 * (64 * 4 + 32 * 4 - 64 * 2 - 64 * 2)


@pytest.mark.parametrize(
    ("sentence", "keys", "told"),
    [
        ("the class's groups of five", {}, "4L 1V 4L 1V 4L 1V 4L 1V"),
        ("the file's", {"layer_group_size": 8, "num_hidden_layers": 16}, "7L 1V 7L 1V"),
        ("a rest of lightning attention", {"layer_group_size": 8, "num_hidden_layers": 18}, "7L 1V 7L 1V 2L"),
        ("a group that no layer ends", {"layer_group_size": 32}, "20L"),
    ],
)
def test_the_last_layer_of_every_group_is_latent(sentence: str, keys: dict[str, Any], told: str) -> None:
    assert mixed(shape_of({**SILENT, **keys})) == told, sentence


def test_mixers() -> None:
    shape = shape_of(SILENT)
    assert shape.layers[0].mixer(Lightning) == Lightning(heads=16, head_dim=128)
    assert shape.layers[4].mixer(Latent) == Latent(
        heads=16, q_lora_rank=0, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
    )
    assert shape.hybrid


@pytest.mark.parametrize(
    ("sentence", "keys", "first", "block"),
    [
        ("behind one dense layer", {}, 1, Experts(count=256, per_token=8, width=512, shared=512)),
        ("everywhere", {"first_k_dense_replace": 0}, 0, Experts(count=256, per_token=8, width=512, shared=512)),
        (
            "shared ones of a width of their own",
            {"num_shared_experts": 2, "moe_shared_expert_intermediate_size": 768},
            1, Experts(count=256, per_token=8, width=512, shared=1536),
        ),
        ("none shared", {"num_shared_experts": 0}, 1, Experts(count=256, per_token=8, width=512)),
        ("one expert is none", {"num_experts": 1}, 20, Mlp(width=5120)),
    ],
)  # fmt: skip
def test_experts(sentence: str, keys: dict[str, Any], first: int, block: Experts | Mlp) -> None:
    shape = shape_of({**SILENT, **keys})
    assert routed(shape) == list(range(first, 20)), sentence
    assert shape.layers[-1].ffn == block, sentence


@pytest.mark.parametrize("group", [0, 1])
def test_a_model_without_lightning_attention_has_no_rule(group: int) -> None:
    """The planner would still align its blocks as of a hybrid, since the class says that it is one."""
    with pytest.raises(Unsupported, match="without lightning attention"):
        shape_of({**SILENT, "layer_group_size": group})


@pytest.mark.parametrize("key", ["kv_lora_rank", "v_head_dim", "moe_intermediate_size"])
def test_a_width_of_nothing_is_named(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        shape_of({**SILENT, key: 0})
    assert refused.value.field.endswith(key)


def test_ling_3_is_another_class_of_the_same_type() -> None:
    with pytest.raises(Unsupported, match="BailingMoeV3ForCausalLM"):
        shape_of({**SILENT, "architectures": ["BailingMoeV3ForCausalLM"]})
