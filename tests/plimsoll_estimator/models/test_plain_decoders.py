"""Lines of one dense class each, Apertus, Baichuan, Persimmon, StableLM and StarCoder 2: what their config classes fill in."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Mlp

ROWS: list[tuple[str, dict[str, Any], str, tuple[int, int, int], int]] = [
    ("ApertusConfig", {"architectures": ["ApertusForCausalLM"], "model_type": "apertus"}, "32f", (32, 32, 128), 14336),
    ("PersimmonConfig", {"architectures": ["PersimmonForCausalLM"], "model_type": "persimmon"}, "36f", (64, 64, 64), 16384),
    ("StableLmConfig", {"architectures": ["StableLmForCausalLM"], "model_type": "stablelm"}, "32f", (32, 32, 80), 6912),
    ("Starcoder2Config", {"architectures": ["Starcoder2ForCausalLM"], "model_type": "starcoder2"}, "30f", (24, 2, 128), 12288),
]


@pytest.mark.parametrize(("name", "config", "windows", "heads", "width"), ROWS, ids=[row[0] for row in ROWS])
def test_a_silent_file_is_the_class_s_own(name: str, config: dict[str, Any], windows: str, heads: tuple[int, int, int], width: int) -> None:
    shape = shape_of(config)
    assert (seen(shape), (shape.size.heads, shape.size.kv_heads, shape.size.head_dim)) == (windows, heads)
    assert shape.layers[0].ffn == Mlp(width=width)
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**config, "layer_types": ["ring_attention"]})


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("baichuan-inc/Baichuan2-7B-Chat", "32f"),
        ("bigcode/starcoder2-3b", "30f"),
        ("bigcode/starcoder2-7b", "32s"),
        ("stabilityai/stablelm-3b-4e1t", "32f"),
    ],
)
def test_as_shipped(name: str, windows: str) -> None:
    assert seen(shipped(name)) == windows


def test_apertus_encodes_where_its_file_says_that_it_is_not_causal() -> None:
    apertus = ROWS[0][1]
    assert not shape_of(apertus).attends_both_ways
    assert shape_of({**apertus, "is_causal": False}).attends_both_ways
