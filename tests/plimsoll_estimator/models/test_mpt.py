"""MPT: key-value heads in `attn_config`, an MLP by ratio."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported

MPT: dict[str, Any] = {"architectures": ["MPTForCausalLM"], "model_type": "mpt"}


def test_mpt_as_shipped() -> None:
    shape = shipped("mosaicml/mpt-7b")
    assert (seen(shape), shape.size.heads, shape.size.kv_heads, shape.size.intermediate_size) == ("32f", 32, 32, 16384)


@pytest.mark.parametrize(
    ("sentence", "config", "found"),
    [
        ("MptConfig's own", MPT, (24, 16, 16, 8192)),
        ("groups by the nested key", {**MPT, "attn_config": {"kv_n_heads": 4}}, (24, 16, 4, 8192)),
        ("another ratio", {**MPT, "expansion_ratio": 2}, (24, 16, 16, 4096)),
        ("its own spellings", {**MPT, "d_model": 7168, "n_heads": 64, "n_layers": 48}, (48, 64, 64, 28672)),
    ],
)
def test_dimensions_are_those_of_the_config_class(sentence: str, config: dict[str, Any], found: tuple[int, ...]) -> None:
    size = shape_of(config).size
    assert (size.layer_count, size.heads, size.kv_heads, size.intermediate_size) == found, sentence


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**MPT, "layer_types": ["ring_attention"] * 24})
