"""Falcon: key-value heads as FalconConfig and vLLM's RWConfig have them, read by vLLM's FalconAttention."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.layouts import layout_of
from tests.plimsoll_estimator.models.reading import seen, shape_of, shipped
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import InvalidInput, Unsupported

SEVEN: dict[str, Any] = {"architectures": ["FalconForCausalLM"], "model_type": "falcon"}
FIRST: dict[str, Any] = {
    "architectures": ["RWForCausalLM"], "model_type": "RefinedWebModel", "hidden_size": 4544, "n_head": 71, "n_layer": 32,
    "vocab_size": 65024, "parallel_attn": True,
}  # fmt: skip
FORTY: dict[str, Any] = {**FIRST, "model_type": "RefinedWeb", "hidden_size": 8192, "n_head": 128, "n_layer": 60}


@pytest.mark.parametrize(
    ("sentence", "config", "kv_heads"),
    [
        ("FalconConfig: one key-value head for all", SEVEN, 1),
        ("one each where the file says so", {**SEVEN, "multi_query": False}, 71),
        ("the older build knows no groups", {**SEVEN, "multi_query": False, "num_kv_heads": 8}, 71),
        ("the newer build has groups", {**SEVEN, "new_decoder_architecture": True, "num_kv_heads": 8}, 8),
        ("FalconConfig: as many as heads where the newer build names none", {**SEVEN, "new_decoder_architecture": True}, 71),
        ("RWConfig: one key-value head for all", FIRST, 1),
        ("RWConfig: one each where the file says so", {**FIRST, "multi_query": False}, 71),
        ("RWConfig: the width of Falcon-40B is the newer build", {**FORTY, "n_head_kv": 8}, 8),
        ("RWConfig: whose groups are one by default", FORTY, 1),
    ],
)
def test_key_value_heads_are_those_of_the_class(sentence: str, config: dict[str, Any], kv_heads: int) -> None:
    shape = shape_of(config)
    assert shape.size.kv_heads == kv_heads, sentence
    # Weights and cache ask the same value: a cache token and the projection that fills it.
    assert layout_of(config).kv_block_bytes == (16 * kv_heads * 2 * 64 * 2 * shape.size.layer_count,)


def test_falcon_as_shipped() -> None:
    shape = shipped("tiiuae/falcon-40b")
    assert (seen(shape), shape.size.kv_heads, shape.size.head_dim, shape.size.intermediate_size) == ("60f", 8, 64, 32768)


@pytest.mark.parametrize(
    ("sentence", "change", "norms"),
    [
        ("beside each other one", {}, 1),
        ("in the newer build two", {"new_decoder_architecture": True, "num_kv_heads": 1}, 2),
        ("unless it names one", {"new_decoder_architecture": True, "num_kv_heads": 1, "num_ln_in_parallel_attn": 1}, 1),
        ("two where the older build names them", {"num_ln_in_parallel_attn": 2}, 2),
        ("one after the other two", {"parallel_attn": False}, 2),
    ],
)
def test_a_layer_has_one_norm_or_two(sentence: str, change: dict[str, Any], norms: int) -> None:
    """FalconDecoderLayer.__init__."""
    plain, changed = (created_bytes(config, "0.33.0") for config in (SEVEN, {**SEVEN, **change}))
    assert changed - plain == (norms - 1) * 32 * 2 * 4544 * 2, sentence


def test_the_cache_stays_at_the_model_s_dtype() -> None:
    assert layout_of(SEVEN, kv_cache_dtype="fp8").kv_block_bytes == layout_of(SEVEN).kv_block_bytes


def test_what_the_class_does_not_know_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SEVEN, "layer_types": ["ring_attention"] * 32})
    with pytest.raises(InvalidInput, match="num_attention_heads"):
        shape_of({**SEVEN, "num_attention_heads": 0})
