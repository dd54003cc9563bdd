"""EXAONE 3 and 4, K-EXAONE with experts: windows by letters, period or list; experts by name, flag or depth."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Attention, Experts

FOUR: dict[str, Any] = {"architectures": ["Exaone4ForCausalLM"], "model_type": "exaone4", "num_hidden_layers": 8}
SPARSE: dict[str, Any] = {"architectures": ["ExaoneMoEForCausalLM"], "model_type": "exaone_moe", "num_hidden_layers": 8}
SEEING: dict[str, Any] = {
    "architectures": ["Exaone4_5_ForConditionalGeneration"], "model_type": "exaone4_5", "text_config": {"num_hidden_layers": 8},
    "vision_config": {"depth": 2},
}  # fmt: skip


def test_exaone_as_shipped() -> None:
    four = shipped("LGAI-EXAONE/EXAONE-4.0-32B")
    assert (seen(four), four.size.kv_heads, four.layers[0].mixer(Attention).window) == ("3s1f" * 16, 8, 4096)
    assert seen(shipped("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct")) == "32f"


@pytest.mark.parametrize(
    ("sentence", "config", "windows"),
    [
        ("Exaone4Config: every fourth layer is full", FOUR, "3s1f3s1f"),
        ("letters say which", {**FOUR, "sliding_window_pattern": "LG"}, "1s1f1s1f1s1f1s1f"),
        ("a null window is none", {**FOUR, "sliding_window": None}, "8f"),
        ("ExaoneMoeConfig: the same", SPARSE, "3s1f3s1f"),
        ("the language model behind a tower is EXAONE 4", SEEING, "3s1f3s1f"),
    ],
)
def test_windows_are_those_of_the_config_class(sentence: str, config: dict[str, Any], windows: str) -> None:
    assert seen(shape_of(config)) == windows, sentence


@pytest.mark.parametrize(
    ("sentence", "change", "sparse"),
    [
        ("ExaoneMoeConfig: the first layer is dense", {}, [1, 2, 3, 4, 5, 6, 7]),
        ("the first few", {"first_k_dense_replace": 3}, [3, 4, 5, 6, 7]),
        ("as older files spell it", {"first_last_k_dense_replace": 2}, [2, 3, 4, 5, 6, 7]),
        ("a flag a layer wins over depth", {"is_moe_layer": [False, True] * 4}, [1, 3, 5, 7]),
        (
            "a name a layer wins over all",
            {"mlp_layer_types": ["sparse"] * 7 + ["dense"], "is_moe_layer": [False] * 8},
            [0, 1, 2, 3, 4, 5, 6],
        ),
    ],
)
def test_experts_stand_where_the_file_says(sentence: str, change: dict[str, Any], sparse: list[int]) -> None:
    shape = shape_of({**SPARSE, **change})
    assert routed(shape) == sparse, sentence
    assert shape.experts == Experts(count=64, per_token=8, width=1024, shared=1024)


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**FOUR, "layer_types": ["ring_attention"] * 8})
