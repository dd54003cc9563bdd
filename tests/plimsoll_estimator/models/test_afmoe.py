"""Afmoe (Trinity): full attention in every fourth layer, experts behind the dense ones (AfmoeConfig and vLLM 0.32.0's afmoe.py)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Experts

SILENT: dict[str, Any] = {"architectures": ["AfmoeForCausalLM"], "model_type": "afmoe", "num_hidden_layers": 8}


@pytest.mark.parametrize(
    ("sentence", "keys", "windows", "layers"),
    [
        ("AfmoeConfig's own", {}, "3s1f3s1f", list(range(1, 8))),
        ("another period", {"global_attn_every_n_layers": 2}, "1s1f1s1f1s1f1s1f", list(range(1, 8))),
        ("a list wins", {"layer_types": ["full_attention"] * 4 + ["sliding_attention"] * 4}, "4f4s", list(range(1, 8))),
        ("more dense layers", {"num_dense_layers": 6}, "3s1f3s1f", [6, 7]),
    ],
)
def test_the_class_fills_in_windows_and_dense_layers(sentence: str, keys: dict[str, Any], windows: str, layers: list[int]) -> None:
    shape = shape_of({**SILENT, **keys})
    assert (seen(shape), routed(shape)) == (windows, layers), sentence
    assert shape.experts == Experts(count=64, per_token=6, width=1408, shared=2816)


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SILENT, "layer_types": ["ring_attention"] * 8})
