"""Gemma 3n: widths a layer, and caches that later layers read."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Mlp

NANO: dict[str, Any] = {"architectures": ["Gemma3nForCausalLM"], "model_type": "gemma3n_text"}


def test_a_silent_file_is_gemma3ntextconfig_s_own() -> None:
    shape = shape_of(NANO)
    assert (seen(shape), shape.size.head_dim, shape.size.intermediate_size) == ("4s1f" * 7, 256, 16384)
    assert [layer.keeps_cache for layer in shape.layers] == [True] * 20 + [False] * 15


@pytest.mark.parametrize(
    ("sentence", "width", "expected"),
    [
        ("one number stands for all", 1024, [1024] * 4),
        ("or one for each layer", [512, 1024, 1024, 512], [512, 1024, 1024, 512]),
    ],
)
def test_an_mlp_is_as_wide_as_its_layer_says(sentence: str, width: Any, expected: list[int]) -> None:
    shape = shape_of({**NANO, "num_hidden_layers": 4, "num_kv_shared_layers": 1, "intermediate_size": width})
    assert [layer.ffn for layer in shape.layers] == [Mlp(width=one) for one in expected], sentence
    assert shape.size.intermediate_size == max(expected)


@pytest.mark.parametrize("width", [[512] * 3, ["512"] * 4, [0] * 4])
def test_widths_for_other_layers_are_refused_by_name(width: list[Any]) -> None:
    with pytest.raises(InvalidInput, match="intermediate_size"):
        shape_of({**NANO, "num_hidden_layers": 4, "intermediate_size": width})


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**NANO, "layer_types": ["ring_attention"] * 35})
