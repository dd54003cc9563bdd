"""MiMo-V2: heads of windowed and of full layers (vLLM 0.32.0's mimo_v2.py), what Transformers 5 saves and fills in otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Attention, Experts

SILENT: dict[str, Any] = {"architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", "num_hidden_layers": 8}


def test_windowed_layers_have_other_heads() -> None:
    shape = shipped("XiaomiMiMo/MiMo-V2-Flash")
    assert seen(shape) == "1f4s" + "1f5s" * 7 + "1f"
    assert routed(shape) == list(range(1, 48))
    assert shape.layers[0].mixer(Attention) == Attention(heads=64, kv_heads=4, head_dim=192, v_head_dim=128)
    assert shape.layers[1].mixer(Attention) == Attention(heads=64, kv_heads=8, head_dim=192, v_head_dim=128, seen="sliding", window=128)
    assert shape.experts == Experts(count=256, per_token=8, width=2048)


@pytest.mark.parametrize(
    ("sentence", "keys", "windows", "layers"),
    [
        ("MiMoV2FlashConfig's own", {}, "1f4s1f2s", [1, 2, 3, 4, 5, 6, 7]),
        ("Transformers 5 lists them", {"layer_types": ["full_attention"] * 8, "mlp_layer_types": ["sparse"] * 8}, "8f", list(range(8))),
        ("the pattern wins", {"hybrid_layer_pattern": [1] * 8, "layer_types": ["full_attention"] * 8}, "8s", [1, 2, 3, 4, 5, 6, 7]),
        ("experts by entry", {"moe_layer_freq": [0, 0, 1, 1, 0, 0, 1, 1]}, "1f4s1f2s", [2, 3, 6, 7]),
        ("a number alone is nowhere", {"moe_layer_freq": 1}, "1f4s1f2s", []),
    ],
)
def test_layers_are_placed_as_the_class_does(sentence: str, keys: dict[str, Any], windows: str, layers: list[int]) -> None:
    shape = shape_of({**SILENT, **keys})
    assert (seen(shape), routed(shape)) == (windows, layers), sentence


@pytest.mark.parametrize(
    ("sentence", "keys", "value_width"),
    [("a value is as wide as its own layer's key", {"swa_head_dim": 96}, 96), ("unless told", {"swa_v_head_dim": 64}, 64)],
)
def test_values_of_windowed_layers(sentence: str, keys: dict[str, Any], value_width: int) -> None:
    assert shape_of({**SILENT, **keys}).layers[1].mixer(Attention).v_head_dim == value_width, sentence


def test_a_width_of_0_is_named() -> None:
    with pytest.raises(InvalidInput, match="swa_head_dim"):
        shape_of({**SILENT, "swa_head_dim": 0})


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SILENT, "layer_types": ["ring_attention"] * 8})


@pytest.mark.parametrize(("named", "modules"), [(None, 1), (0, 1), (1, 1), (3, 1)])
def test_vllm_drafts_with_the_first_module_alone_a_windowed_layer(named: int | None, modules: int) -> None:
    shape = shape_of({**SILENT, "num_nextn_predict_layers": named})
    local = shape.layers[1].mixer(Attention)
    assert [layer.mixers for layer in shape.predictions] == [(local,)] * modules
    assert not any(layer.routed for layer in shape.predictions)
