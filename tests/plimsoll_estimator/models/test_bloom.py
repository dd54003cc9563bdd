"""BLOOM: a width under two names, and an MLP of four times that."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import Unsupported

USUAL: dict[str, Any] = {
    "architectures": ["BloomForCausalLM"], "model_type": "bloom", "hidden_size": 1024, "n_head": 16, "n_layer": 24, "vocab_size": 250880,
}  # fmt: skip
SPELLED: dict[str, Any] = {
    "architectures": ["BloomForCausalLM"], "model_type": "bloom", "n_embed": 1024, "num_attention_heads": 16, "n_layer": 24,
    "vocab_size": 250880,
}  # fmt: skip


def test_either_spelling_is_the_same_model() -> None:
    """BloomConfig: `n_embed` is the hidden size of the first files."""
    assert created_bytes(USUAL, "0.33.0") == created_bytes(SPELLED, "0.33.0")
    for config in (USUAL, SPELLED):
        shape = shape_of(config)
        assert (seen(shape), shape.size.kv_heads, shape.size.head_dim, shape.size.intermediate_size) == ("24f", 16, 64, 4096)


def test_the_mlp_is_four_times_as_wide_whatever_the_file_says() -> None:
    assert shape_of({**USUAL, "n_inner": 999}).size.intermediate_size == 4096


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**USUAL, "layer_types": ["ring_attention"] * 24})
