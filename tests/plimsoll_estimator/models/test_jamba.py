"""Jamba: periods and offsets of attention and experts."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.mixers import Experts, Mamba1, Mlp

JAMBA: dict[str, Any] = {"model_type": "jamba", "num_hidden_layers": 8}


def test_layers_of_a_published_model() -> None:
    shape = shipped("ai21labs/AI21-Jamba-1.5-Mini")
    assert mixed(shape) == "4M 1A 7M 1A 7M 1A 7M 1A 3M"
    assert shape.layers[0].mixers == (Mamba1(inner=8192, state=16, kernel=4, dt_rank=256),)
    assert [layer.ffn for layer in shape.layers[:2]] == [Mlp(width=14336), Experts(count=16, per_token=2, width=14336)]


@pytest.mark.parametrize(
    ("sentence", "config", "layers", "routed"),
    [
        ("JambaConfig", {}, "4M 1A 3M", [1, 3, 5, 7]),
        ("periods of the file", {"attn_layer_period": 4, "attn_layer_offset": 0, "expert_layer_period": 4}, "1A 3M 1A 3M", [1, 5]),
        ("one expert alone is an MLP", {"num_experts": 1}, "4M 1A 3M", []),
        ("Transformers spells the number of experts otherwise too", {"num_local_experts": 1}, "4M 1A 3M", []),
    ],
)
def test_layers_are_those_of_the_config_class(sentence: str, config: dict[str, Any], layers: str, routed: list[int]) -> None:
    shape = shape_of("JambaForCausalLM", **JAMBA, **config)
    assert mixed(shape) == layers, sentence
    assert [i for i, layer in enumerate(shape.layers) if layer.routed] == routed, sentence


def test_a_period_of_no_layers_is_named() -> None:
    with pytest.raises(InvalidInput, match="attn_layer_period"):
        shape_of("JambaForCausalLM", **JAMBA, attn_layer_period=0)
