"""LFM2: short convolutions and attention, read as Transformers 5.24's config classes read them."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Experts, Mlp, ShortConv

LFM2: dict[str, Any] = {"model_type": "lfm2", "num_hidden_layers": 8}
MOE: dict[str, Any] = {"model_type": "lfm2_moe", "num_hidden_layers": 4, "layer_types": ["conv", "conv", "full_attention", "conv"]}


def test_layers_of_a_published_model() -> None:
    shape = shipped("LiquidAI/LFM2-1.2B")
    assert mixed(shape) == "2C 1A 2C 1A 2C 1A 1C 1A 1C 1A 1C 1A 1C"
    assert shape.layers[0].mixers == (ShortConv(width=2048, kernel=3),)
    assert {layer.ffn for layer in shape.layers} == {Mlp(width=8192)}


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("Lfm2Config: without a list all attend", {}, "8A"),
        ("numbers", {"full_attn_idxs": [2, 5]}, "2C 1A 2C 1A 2C"),
        ("kinds win over numbers", {"full_attn_idxs": [2, 5], "layer_types": ["full_attention"] + ["conv"] * 7}, "1A 7C"),
    ],
)
def test_layers_that_attend_are_those_of_the_config_class(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert mixed(shape_of("Lfm2ForCausalLM", **LFM2, **config)) == layers, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "width"),
    [
        ("two thirds of the class's, rounded up to 256", {}, 8192),
        ("block_ff_dim wins over intermediate_size", {"block_ff_dim": 3000, "intermediate_size": 9000}, 2048),
        ("scaled", {"intermediate_size": 3000, "block_ffn_dim_multiplier": 1.5, "block_multiple_of": 1}, 3000),
        ("as it is where the file says so", {"intermediate_size": 3000, "block_auto_adjust_ff_dim": False}, 3000),
    ],
)
def test_widths_are_adjusted_as_the_class_does(sentence: str, config: dict[str, Any], width: int) -> None:
    shape = shape_of("Lfm2ForCausalLM", **LFM2, **config)
    assert (shape.layers[0].ffn, shape.size.intermediate_size) == (Mlp(width=width), width), sentence


def test_experts_follow_the_dense_layers() -> None:
    shape = shape_of("Lfm2MoeForCausalLM", **MOE)
    assert mixed(shape) == "2C 1A 1C"
    assert [layer.ffn for layer in shape.layers] == [Mlp(width=7168)] * 2 + [Experts(count=32, per_token=4, width=1792)] * 2


def test_the_head_is_tied_unless_the_file_says_otherwise() -> None:
    config = {"architectures": ["Lfm2ForCausalLM"], **LFM2}
    silent, untied = (created_bytes({**config, **more}, "0.33.0") for more in ({}, {"tie_embedding": False}))
    assert untied - silent == 65536 * 2560 * 2


def test_experts_need_a_list_of_layers() -> None:
    """Lfm2MoeConfig fills none in, and vLLM's Lfm2MoeModel asks for it."""
    with pytest.raises(InvalidInput, match="layer_types"):
        shape_of("Lfm2MoeForCausalLM", **{**MOE, "layer_types": None})


def test_a_layer_kind_without_a_rule_is_named() -> None:
    with pytest.raises(Unsupported, match="'mamba'"):
        shape_of("Lfm2ForCausalLM", **LFM2, layer_types=["mamba"] * 8)
