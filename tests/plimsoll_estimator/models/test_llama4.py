"""Llama 4: chunks in the layers that rotate, experts by step (Llama4TextConfig and vLLM 0.32.0's llama4.py)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Experts, Mlp

SILENT: dict[str, Any] = {"architectures": ["Llama4ForCausalLM"], "model_type": "llama4_text", "num_hidden_layers": 8}


@pytest.mark.parametrize(
    ("name", "layers", "count"),
    [
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", list(range(48)), 16),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", list(range(1, 48, 2)), 128),
    ],
)
def test_shipped_models_see_chunks_in_three_of_four_layers(name: str, layers: list[int], count: int) -> None:
    shape = shipped(name)
    assert seen(shape) == "3c1f" * 12
    assert routed(shape) == layers
    assert shape.experts == Experts(count=count, per_token=1, width=8192, shared=8192)
    assert shape.multimodal


@pytest.mark.parametrize(
    ("sentence", "keys", "windows", "layers"),
    [
        ("Llama4TextConfig's own", {}, "3c1f3c1f", list(range(8))),
        ("an empty list means the default", {"no_rope_layers": []}, "3c1f3c1f", list(range(8))),
        ("layers that do not rotate see everything", {"no_rope_layers": [1, 0] * 4}, "1c1f1c1f1c1f1c1f", list(range(8))),
        ("another interval", {"no_rope_layer_interval": 2}, "1c1f1c1f1c1f1c1f", list(range(8))),
        ("no chunks where the file says null", {"attention_chunk_size": None}, "8f", list(range(8))),
        ("every second layer", {"interleave_moe_layer_step": 2}, "3c1f3c1f", [1, 3, 5, 7]),
        ("a step of 0 is nowhere", {"interleave_moe_layer_step": 0}, "3c1f3c1f", []),
        ("vLLM does not read `moe_layers`", {"moe_layers": [0]}, "3c1f3c1f", list(range(8))),
    ],
)
def test_the_class_fills_in_chunks_and_experts(sentence: str, keys: dict[str, Any], windows: str, layers: list[int]) -> None:
    shape = shape_of({**SILENT, **keys})
    assert (seen(shape), routed(shape)) == (windows, layers), sentence
    assert {layer.ffn for layer in shape.layers if not layer.routed} <= {Mlp(width=16384)}


def test_an_interval_of_0_is_named() -> None:
    with pytest.raises(InvalidInput, match="no_rope_layer_interval"):
        shape_of({**SILENT, "no_rope_layer_interval": 0})


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SILENT, "layer_types": ["ring_attention"] * 8})
