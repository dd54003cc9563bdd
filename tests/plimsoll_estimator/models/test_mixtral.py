"""Mixtral: experts in every layer, and a window that the file names is every layer's."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Experts

SILENT: dict[str, Any] = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_hidden_layers": 2}


def test_a_shipped_model() -> None:
    shape = shipped("mistralai/Mixtral-8x22B-v0.1")
    assert seen(shape) == "56f"
    assert routed(shape) == list(range(56))
    assert shape.experts == Experts(count=8, per_token=2, width=16384)


@pytest.mark.parametrize(
    ("sentence", "keys", "windows", "experts"),
    [
        ("MixtralConfig's own", {}, "2f", Experts(count=8, per_token=2, width=14336)),
        ("a lone window", {"sliding_window": 4096}, "2s", Experts(count=8, per_token=2, width=14336)),
        ("as many experts as the file names", {"num_local_experts": 4}, "2f", Experts(count=4, per_token=2, width=14336)),
    ],
)
def test_the_class_fills_in_what_a_file_leaves_out(sentence: str, keys: dict[str, Any], windows: str, experts: Experts) -> None:
    shape = shape_of({**SILENT, **keys})
    assert (seen(shape), shape.experts) == (windows, experts), sentence


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SILENT, "layer_types": ["ring_attention"] * 2})
