"""gpt-oss: a window in every layer of an even number (vLLM 0.32.0's gpt_oss.py), sinks, experts everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Attention, Experts

SILENT: dict[str, Any] = {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_hidden_layers": 4}


def test_a_shipped_model() -> None:
    shape = shipped("openai/gpt-oss-20b")
    assert seen(shape) == "1s1f" * 12
    assert routed(shape) == list(range(24))
    assert shape.experts == Experts(count=32, per_token=4, width=2880)
    assert shape.layers[0].mixer(Attention) == Attention(
        heads=64, kv_heads=8, head_dim=64, v_head_dim=64, seen="sliding", window=128, sinks=True
    )


@pytest.mark.parametrize(
    ("sentence", "keys", "windows"),
    [
        ("GptOssConfig's own", {}, "1s1f1s1f"),
        ("the class alternates whatever the file lists", {"layer_types": ["full_attention"] * 4}, "1s1f1s1f"),
        ("without a window all see everything", {"sliding_window": None}, "4f"),
    ],
)
def test_every_other_layer_has_the_window(sentence: str, keys: dict[str, Any], windows: str) -> None:
    assert seen(shape_of({**SILENT, **keys})) == windows, sentence


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SILENT, "layer_types": ["ring_attention"] * 4})
