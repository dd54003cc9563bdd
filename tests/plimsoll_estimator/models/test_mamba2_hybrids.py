"""Bamba, Falcon-H1 and Zamba 2: Mamba 2 beside attention. Expected values are those of Transformers 5.24's config classes."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Attention, Mamba2

ZAMBA: dict[str, Any] = {"model_type": "zamba2"}


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("BambaConfig: without a list nothing attends", {}, "12M"),
        ("the listed layers attend", {"attn_layer_indices": [2, 5]}, "2M 1A 2M 1A 6M"),
    ],
)
def test_bamba_attends_where_listed(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert mixed(shape_of("BambaForCausalLM", model_type="bamba", num_hidden_layers=12, **config)) == layers, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "dims"),
    [
        ("FalconH1Config", {}, (1024, 128, 8)),
        ("null channels are mamba_expand times the hidden size", {"mamba_d_ssm": None}, (8192, 128, 64)),
        ("a head's width follows from both", {"mamba_d_ssm": 3072, "mamba_n_heads": 24}, (3072, 24, 128)),
        ("and may be stated", {"mamba_d_ssm": 3072, "mamba_n_heads": 24, "mamba_d_head": 128}, (3072, 24, 128)),
    ],
)
def test_falcon_h1_has_both_in_every_layer(sentence: str, config: dict[str, Any], dims: tuple[int, int, int]) -> None:
    shape = shape_of("FalconH1ForCausalLM", model_type="falcon_h1", **config)
    assert mixed(shape) == "32MA"
    state = shape.layers[0].mixer(Mamba2)
    assert (state.inner, state.heads, state.head_dim) == dims, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "key"),
    [
        ("heads must divide the channels", {"mamba_n_heads": 60}, "mamba_n_heads"),
        ("a stated width must be what follows", {"mamba_d_head": 32}, "mamba_d_head"),
    ],
)
def test_heads_that_are_not_the_inner_channels_are_refused_by_name(sentence: str, config: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidInput, match=key):
        shape_of("BambaForCausalLM", model_type="bamba", **config)


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("Zamba2Config: nine of 54", {}, "6M 1MA 5M 1MA 5M 1MA 5M 1MA 5M 1MA 5M 1MA 5M 1MA 4M 1MA 3M 1MA 2M"),
        (
            "a list of numbers alone says nothing", {"hybrid_layer_ids": [0, 1]},
            "6M 1MA 5M 1MA 5M 1MA 5M 1MA 5M 1MA 5M 1MA 5M 1MA 4M 1MA 3M 1MA 2M",
        ),
        (
            "the list of kinds wins over the numbers",
            {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "hybrid_layer_ids": [0]}, "1M 1MA 1M 1MA",
        ),
    ],
)  # fmt: skip
def test_zamba_attends_in_front_of_hybrid_layers(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert mixed(shape_of("Zamba2ForCausalLM", **ZAMBA, **config)) == layers, sentence


def test_zamba_has_heads_twice_as_wide_each_with_keys_of_its_own() -> None:
    shape = shape_of("Zamba2ForCausalLM", **ZAMBA)
    wide = Attention(heads=32, kv_heads=32, head_dim=160, v_head_dim=160)
    assert shape.layers[6].mixers == (Mamba2(inner=5120, heads=8, head_dim=640, groups=1, state=64, kernel=4), wide)
    assert (shape.layers[0].ffn is None, shape.layers[6].ffn is None) == (True, False)


def test_zamba_layers_that_are_not_those_listed_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"num_hidden_layers.*number of layers listed, 54"):
        shape_of("Zamba2ForCausalLM", **ZAMBA, num_hidden_layers=10)


def test_a_layer_kind_without_a_rule_is_named() -> None:
    with pytest.raises(Unsupported, match="'retention'"):
        shape_of("Zamba2ForCausalLM", **ZAMBA, num_hidden_layers=1, layers_block_type=["retention"])
