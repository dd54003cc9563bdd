"""ERNIE 4.5: which layers are made of experts, as Ernie4_5_MoeConfig fills in and ernie45_moe.py (vLLM 0.32.0) counts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Experts, Mlp

SPARSE: dict[str, Any] = {"architectures": ["Ernie4_5_MoeForCausalLM"], "model_type": "ernie4_5_moe", "num_hidden_layers": 6}


def test_the_shipped_model_has_experts_behind_one_layer() -> None:
    shape = shipped("baidu/ERNIE-4.5-21B-A3B-PT")
    assert routed(shape) == list(range(1, 28))
    assert shape.experts == Experts(count=64, per_token=6, width=1536, shared=3072)
    assert shape.layers[0].ffn == Mlp(width=12288)
    assert seen(shape) == "28f"


@pytest.mark.parametrize(
    ("sentence", "keys", "layers"),
    [
        ("a silent file starts behind the first layer", {}, [1, 2, 3, 4, 5]),
        ("a start of 3", {"moe_layer_start_index": 3}, [3, 4, 5]),
        ("one start a modality: the least", {"moe_layer_start_index": [2, 4]}, [2, 3, 4, 5]),
        ("the end is included", {"moe_layer_end_index": 3}, [1, 2, 3]),
        ("-1 is the last", {"moe_layer_end_index": -1}, [1, 2, 3, 4, 5]),
        ("every second, counted from one", {"moe_layer_start_index": 0, "moe_layer_interval": 2}, [1, 3, 5]),
        ("`use_moe` turns them off", {"use_moe": False}, []),
    ],
)
def test_experts_fill_the_layers_that_the_class_counts(sentence: str, keys: dict[str, Any], layers: list[int]) -> None:
    assert routed(shape_of({**SPARSE, **keys})) == layers, sentence


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SPARSE, "layer_types": ["ring_attention"] * 6})
