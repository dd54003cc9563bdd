"""Phi, Phi 3 and 4, Phi-3.5-MoE: a window that the file names is every layer's; experts in every layer."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Experts, Mlp

PHI3: dict[str, Any] = {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "num_hidden_layers": 4}
PHI: dict[str, Any] = {"architectures": ["PhiForCausalLM"], "model_type": "phi", "num_hidden_layers": 4}
PHIMOE: dict[str, Any] = {"architectures": ["PhiMoEForCausalLM"], "model_type": "phimoe", "num_hidden_layers": 4}


@pytest.mark.parametrize(
    ("name", "windows"),
    [("microsoft/Phi-3-mini-4k-instruct", "32s"), ("microsoft/phi-4", "40f"), ("microsoft/Phi-3.5-MoE-instruct", "32s")],
)
def test_a_lone_window_is_every_layer_s(name: str, windows: str) -> None:
    assert seen(shipped(name)) == windows


def test_experts_fill_every_layer() -> None:
    shape = shape_of(PHIMOE)
    assert routed(shape) == [0, 1, 2, 3]
    assert shape.experts == Experts(count=16, per_token=2, width=6400)


@pytest.mark.parametrize(
    ("sentence", "config", "heads", "width"),
    [
        ("PhiConfig's own", PHI, (32, 32, 64), 8192),
        ("Phi3Config: as many key-value heads as heads", PHI3, (32, 32, 96), 8192),
        ("a null means the same", {**PHI3, "num_key_value_heads": None}, (32, 32, 96), 8192),
        ("fewer where the file says so", {**PHI3, "num_key_value_heads": 8}, (32, 8, 96), 8192),
    ],
)
def test_dimensions_are_those_of_the_config_class(sentence: str, config: dict[str, Any], heads: tuple[int, int, int], width: int) -> None:
    shape = shape_of(config)
    assert (shape.size.heads, shape.size.kv_heads, shape.size.head_dim) == heads, sentence
    assert {layer.ffn for layer in shape.layers} == {Mlp(width=width)}


@pytest.mark.parametrize("name", ["microsoft/Phi-3-vision-128k-instruct", "microsoft/Phi-3.5-vision-instruct"])
def test_the_language_behind_a_tower_keeps_its_file_s_window(name: str) -> None:
    """vLLM builds it as a Llama, whose lone window is every layer's."""
    shape = shipped(name)
    assert (seen(shape), shape.size.hidden_size) == ("32s", 3072)
    assert shape.multimodal


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**PHI3, "layer_types": ["ring_attention"] * 4})
