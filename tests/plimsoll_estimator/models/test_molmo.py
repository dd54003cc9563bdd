"""Molmo: OLMo or Qwen 2 in Molmo's own words; it always sees."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import shape_of

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Mlp

MOLMO: dict[str, Any] = {
    "architectures": ["MolmoForCausalLM"], "model_type": "molmo", "hidden_size": 3584, "intermediate_size": 37888, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
}  # fmt: skip


def test_its_intermediate_size_counts_both_halves() -> None:
    """vllm/model_executor/models/molmo.py: `MolmoMLP` (0.33.0)."""
    shape = shape_of(MOLMO)
    assert [layer.ffn for layer in shape.kinds] == [Mlp(width=18944)]
    assert (len(shape.layers), shape.size.head_dim) == (28, 128)
    assert shape.multimodal


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_dimension_that_no_class_fills_in_is_required(key: str) -> None:
    with pytest.raises(InvalidInput, match="required"):
        shape_of({name: value for name, value in MOLMO.items() if name != key})


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**MOLMO, "layer_types": ["ring_attention"] * 28})
