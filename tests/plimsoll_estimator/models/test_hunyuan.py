"""Hunyuan and HY3: experts whose numbers may be listed by layer (hunyuan_v1.py of vLLM 0.28.0, hy_v3.py of 0.32.0)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Experts, Mlp

SPARSE: dict[str, Any] = {
    "architectures": ["HunYuanMoEV1ForCausalLM"], "model_type": "hunyuan_v1_moe", "num_hidden_layers": 3, "num_experts": 64,
}  # fmt: skip
HY3: dict[str, Any] = {"architectures": ["HYV3ForCausalLM"], "model_type": "hy_v3", "num_hidden_layers": 4}


def test_hunyuan_a13b_as_shipped() -> None:
    shape = shipped("tencent/Hunyuan-A13B-Instruct")
    assert (seen(shape), routed(shape)) == ("32f", list(range(32)))
    assert shape.experts == Experts(count=64, per_token=8, width=3072, shared=3072)
    assert shape.size.head_dim == 128


@pytest.mark.parametrize(
    ("sentence", "keys", "ffns"),
    [
        ("HunYuanMoEV1Config's own", {}, [Experts(count=64, per_token=1, width=11008, shared=11008)] * 3),
        (
            "widths and choices by layer",
            {"moe_intermediate_size": [1024, 2048, 3072], "moe_topk": [1, 2, 3]},
            [Experts(count=64, per_token=i, width=1024 * i, shared=11008) for i in (1, 2, 3)],
        ),
        (
            "the shared block is so many times the model's own width",
            {"moe_intermediate_size": 1024, "num_shared_expert": [0, 1, 2]},
            [Experts(count=64, per_token=1, width=1024, shared=11008 * i) for i in (0, 1, 2)],
        ),
        ("none where it is turned off", {"use_mixed_mlp_moe": False}, [Experts(count=64, per_token=1, width=11008)] * 3),
        ("one expert is a dense block", {"num_experts": 1}, [Mlp(width=11008)] * 3),
    ],
)
def test_experts_by_layer(sentence: str, keys: dict[str, Any], ffns: list[Mlp | Experts]) -> None:
    assert [layer.ffn for layer in shape_of({**SPARSE, **keys}).layers] == ffns, sentence


def test_a_list_that_ends_before_the_layers_is_named() -> None:
    with pytest.raises(InvalidInput, match="each of the 3 layers"):
        shape_of({**SPARSE, "moe_intermediate_size": [1024, 1024]})


def test_layers_that_share_keys_are_unsupported_by_name() -> None:
    with pytest.raises(Unsupported, match="use_cla"):
        shape_of({**SPARSE, "use_cla": True})


@pytest.mark.parametrize(
    ("sentence", "keys", "layers", "width"),
    [
        ("HYV3Config's own: one dense", {}, [1, 2, 3], 1536),
        ("vLLM's spelling of the width wins", {"expert_hidden_dim": 1024}, [1, 2, 3], 1024),
        ("as many dense as the file names", {"first_k_dense_replace": 3}, [3], 1536),
    ],
)
def test_hy3_s_experts(sentence: str, keys: dict[str, Any], layers: list[int], width: int) -> None:
    shape = shape_of({**HY3, **keys})
    assert routed(shape) == layers, sentence
    assert shape.experts == Experts(count=192, per_token=8, width=width, shared=width)


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**SPARSE, "layer_types": ["ring_attention"] * 3})
