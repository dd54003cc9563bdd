"""OLMo 1 to 3, OLMoE, Flex-OLMo and OLMo Hybrid, read as their classes read them."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Attention, DeltaNet, Experts, Mlp

HYBRID: dict[str, Any] = {"model_type": "olmo_hybrid", "num_hidden_layers": 8}


def test_olmo_3_sees_a_window_in_three_of_four_layers() -> None:
    for shape in (shipped("allenai/Olmo-3-7B-Instruct"), shape_of("Olmo3ForCausalLM", model_type="olmo3")):
        windows = [mixer.window for layer in shape.layers for mixer in layer.mixers if isinstance(mixer, Attention)]
        assert windows == [4096, 4096, 4096, 0] * 8


def test_a_list_of_windows_that_is_not_as_long_as_the_layers_are_many_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"layer_types.*must name each of the 2 layers"):
        shape_of("Olmo3ForCausalLM", model_type="olmo3", num_hidden_layers=2, layer_types=["full_attention"] * 3)


def test_olmo_2_sees_everything() -> None:
    shape = shipped("allenai/OLMo-2-1124-7B")
    assert shape.mixers == (Attention(heads=32, kv_heads=32, head_dim=128, v_head_dim=128),)
    assert {layer.ffn for layer in shape.layers} == {Mlp(width=11008)}


@pytest.mark.parametrize(
    ("architecture", "model_type", "experts"),
    [
        ("OlmoeForCausalLM", "olmoe", Experts(count=64, per_token=8, width=2048)),
        ("FlexOlmoForCausalLM", "flex_olmo", Experts(count=7, per_token=5, width=11008)),
    ],
)
def test_experts_are_as_wide_as_the_intermediate_size(architecture: str, model_type: str, experts: Experts) -> None:
    shape = shape_of(architecture, model_type=model_type)
    assert {layer.ffn for layer in shape.layers} == {experts}


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("OlmoHybridConfig: every fourth layer attends", HYBRID, "3D 1A 3D 1A"),
        ("and the last where there are fewer", {**HYBRID, "num_hidden_layers": 3}, "2D 1A"),
        ("a list wins", {**HYBRID, "layer_types": ["full_attention"] + ["linear_attention"] * 7}, "1A 7D"),
    ],
)
def test_hybrid_layers_are_those_of_the_config_class(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert mixed(shape_of("OlmoHybridForCausalLM", **config)) == layers, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "dims"),
    [
        ("OlmoHybridConfig: heads as attention's, keys three quarters of a head, values twice the keys", {}, (30, 30, 96, 192)),
        ("value heads of their own", {"linear_num_value_heads": 60}, (30, 60, 96, 192)),
        ("key heads change the keys' width", {"linear_num_key_heads": 15}, (15, 30, 192, 384)),
        ("a width in the file wins", {"linear_key_head_dim": 64, "linear_value_head_dim": 64}, (30, 30, 64, 64)),
    ],
)
def test_states_are_those_of_the_config_class(sentence: str, config: dict[str, Any], dims: tuple[int, ...]) -> None:
    state = shape_of("OlmoHybridForCausalLM", **HYBRID, **config).layers[0].mixer(DeltaNet)
    assert (state.key_heads, state.value_heads, state.key_dim, state.value_dim) == dims, sentence
    assert not state.checkpoints, "its class exports no states from within a prefill"


def test_a_layer_kind_without_a_rule_is_named() -> None:
    with pytest.raises(Unsupported, match="'retention'"):
        shape_of("OlmoHybridForCausalLM", **HYBRID, layer_types=["retention"] * 8)
