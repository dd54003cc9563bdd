"""Gemma 1 to 4: local and global layers, two head sizes, caches that later layers read, and what makes it an encoder."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Attention, Experts, Mlp
from plimsoll_estimator.shape import Shape

TWO: dict[str, Any] = {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "num_hidden_layers": 6}
THREE: dict[str, Any] = {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 8}
FOUR: dict[str, Any] = {"architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "num_hidden_layers": 8}
SEEING: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {"num_hidden_layers": 8},
}


def widths(shape: Shape) -> list[tuple[int, int]]:
    """(key-value heads, width of a head) of every layer."""
    return [(mixer.kv_heads, mixer.head_dim) for layer in shape.layers for mixer in layer.mixers if isinstance(mixer, Attention)]


@pytest.mark.parametrize(
    ("name", "windows", "heads"),
    [
        ("google/gemma-2b", "18f", (8, 1, 256)),
        ("google/gemma-2-27b-it", "1s1f" * 23, (32, 16, 128)),
        ("google/gemma-3-1b-it", "5s1f" * 4 + "2s", (4, 1, 256)),
        ("google/gemma-3-27b-it", "5s1f" * 10 + "2s", (32, 16, 128)),
    ],
)
def test_gemma_as_shipped(name: str, windows: str, heads: tuple[int, int, int]) -> None:
    shape = shipped(name)
    assert (seen(shape), (shape.size.heads, shape.size.kv_heads, shape.size.head_dim)) == (windows, heads)


@pytest.mark.parametrize(
    ("sentence", "config", "windows"),
    [
        ("Gemma2Config: every second layer is global", TWO, "1s1f1s1f1s1f"),
        ("Gemma3TextConfig: every sixth", THREE, "5s1f2s"),
        ("a period in the file wins", {**THREE, "sliding_window_pattern": 4}, "3s1f3s1f"),
        ("as newer files spell it", {**THREE, "_sliding_window_pattern": 4}, "3s1f3s1f"),
        ("the text config of the outer class says no type", SEEING, "5s1f2s"),
        ("Gemma4TextConfig: every sixth, and the last", FOUR, "5s1f1s1f"),
        ("the last whatever the list says", {**FOUR, "layer_types": ["sliding_attention"] * 8}, "7s1f"),
    ],
)
def test_windows_are_those_of_the_config_class(sentence: str, config: dict[str, Any], windows: str) -> None:
    assert seen(shape_of(config)) == windows, sentence


@pytest.mark.parametrize(
    ("sentence", "change", "globe"),
    [
        ("Gemma4TextConfig: global heads are 512 wide", {}, (4, 512)),
        ("another width", {"global_head_dim": 384}, (4, 384)),
        ("fewer of them where keys are values too", {"attention_k_eq_v": True, "num_global_key_value_heads": 2}, (2, 512)),
        ("not fewer elsewhere", {"num_global_key_value_heads": 2}, (4, 512)),
    ],
)
def test_global_layers_have_heads_of_their_own(sentence: str, change: dict[str, Any], globe: tuple[int, int]) -> None:
    """Gemma4TextConfig.per_layer_config."""
    assert widths(shape_of({**FOUR, **change})) == [(4, 256)] * 5 + [globe, (4, 256), globe], sentence


def test_the_last_layers_read_the_cache_of_earlier_ones() -> None:
    shape = shape_of({**FOUR, "num_kv_shared_layers": 3, "use_double_wide_mlp": True, "intermediate_size": 1024})
    assert [layer.keeps_cache for layer in shape.layers] == [True] * 5 + [False] * 3
    assert [layer.ffn for layer in shape.layers] == [Mlp(width=1024)] * 5 + [Mlp(width=2048)] * 3


def test_gemma_4_as_shipped() -> None:
    small, sparse = shipped("google/gemma-4-E2B-it"), shipped("google/gemma-4-26B-A4B")
    assert sum(layer.keeps_cache for layer in small.layers) == 15
    assert {layer.ffn for layer in small.layers if layer.keeps_cache} == {Mlp(width=6144)}
    assert {layer.ffn for layer in small.layers if not layer.keeps_cache} == {Mlp(width=12288)}
    assert routed(sparse) == list(range(30))
    assert sparse.experts == Experts(count=128, per_token=8, width=704, shared=2112)
    assert (small.image_prefix, sparse.image_prefix) == (False, True)


@pytest.mark.parametrize(
    ("sentence", "change", "encodes"),
    [
        ("a decoder", {}, False),
        ("an encoder where attention has no direction", {"use_bidirectional_attention": True}, True),
        ("or where it is not causal", {"is_causal": False}, True),
        ("false is false", {"use_bidirectional_attention": False, "is_causal": True}, False),
    ],
)
def test_gemma_3_encodes_where_its_file_says_so(sentence: str, change: dict[str, Any], encodes: bool) -> None:
    assert shape_of({**THREE, **change}).attends_both_ways is encodes, sentence


def test_all_both_ways_halves_gemma_4_s_window() -> None:
    """Gemma4TextConfig.__post_init__: exclusive bounds of flash attention."""
    (local, _) = (mixer for mixer in shape_of({**FOUR, "use_bidirectional_attention": "all"}).mixers if isinstance(mixer, Attention))
    assert local.window == 512 // 2 + 1


def test_what_the_class_does_not_know_is_named() -> None:
    for config in (TWO, THREE, FOUR):
        with pytest.raises(Unsupported, match="'ring_attention'"):
            shape_of({**config, "layer_types": ["ring_attention"] * 8})
    with pytest.raises(InvalidInput, match="global_head_dim"):
        shape_of({**FOUR, "global_head_dim": 0})
