"""ChatGLM and GLM-4: heads as chatglm.py reads them, experts as glm4_moe.py (vLLM 0.32.0) counts layers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Experts, Mlp

CHATGLM: dict[str, Any] = {"architectures": ["ChatGLMModel"], "model_type": "chatglm"}
SPARSE: dict[str, Any] = {"architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "num_hidden_layers": 5}


@pytest.mark.parametrize(
    ("name", "layers", "first", "experts"),
    [
        ("zai-org/GLM-4.5", "92f", 3, Experts(count=160, per_token=8, width=1536, shared=1536)),
        ("zai-org/GLM-4.5V", "46f", 1, Experts(count=128, per_token=8, width=1408, shared=1408)),
    ],
)
def test_experts_stand_behind_dense_layers(name: str, layers: str, first: int, experts: Experts) -> None:
    shape = shipped(name)
    assert seen(shape) == layers
    assert routed(shape) == list(range(first, shape.size.layer_count))
    assert shape.experts == experts


@pytest.mark.parametrize(
    ("sentence", "keys", "layers"),
    [
        ("Glm4MoeConfig keeps the first dense", {}, [1, 2, 3, 4]),
        ("none dense", {"first_k_dense_replace": 0}, [0, 1, 2, 3, 4]),
        ("without experts every layer is", {"n_routed_experts": None}, []),
    ],
)
def test_the_class_fills_in_where_experts_begin(sentence: str, keys: dict[str, Any], layers: list[int]) -> None:
    assert routed(shape_of({**SPARSE, **keys})) == layers, sentence


@pytest.mark.parametrize(
    ("sentence", "keys", "heads"),
    [
        ("ChatGLMConfig shares no heads, whatever number it holds", {"multi_query_group_num": 2}, (32, 32, 128)),
        ("where it says so the groups count", {"multi_query_attention": True, "multi_query_group_num": 2}, (32, 2, 128)),
        ("a head is the hidden size over the heads, not `kv_channels`", {"kv_channels": 64}, (32, 32, 128)),
    ],
)
def test_chatglm_s_heads_are_those_of_its_attention(sentence: str, keys: dict[str, Any], heads: tuple[int, int, int]) -> None:
    shape = shape_of({**CHATGLM, **keys})
    assert (shape.size.heads, shape.size.kv_heads, shape.size.head_dim) == heads, sentence
    assert {layer.ffn for layer in shape.layers} == {Mlp(width=13696)}


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SPARSE, "layer_types": ["ring_attention"] * 5})
