"""Bailing (Ling, Ring): experts behind dense layers, shared ones perhaps of a width of their own."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Experts, Mlp

LING: dict[str, Any] = {
    "model_type": "bailing_moe", "num_hidden_layers": 4, "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16,
    "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 126464, "num_experts": 64, "num_experts_per_tok": 6,
    "num_shared_experts": 2, "moe_intermediate_size": 1408,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "config", "ffns"),
    [
        ("experts everywhere", {}, [Experts(count=64, per_token=6, width=1408, shared=2816)] * 4),
        (
            "dense layers first", {"first_k_dense_replace": 1},
            [Mlp(width=5632)] + [Experts(count=64, per_token=6, width=1408, shared=2816)] * 3,
        ),
        (
            "shared experts of another width", {"moe_shared_expert_intermediate_size": 512},
            [Experts(count=64, per_token=6, width=1408, shared=1024)] * 4,
        ),
        ("no shared experts", {"num_shared_experts": 0}, [Experts(count=64, per_token=6, width=1408)] * 4),
    ],
)  # fmt: skip
@pytest.mark.parametrize("architecture", ["BailingMoeForCausalLM", "BailingMoeV2ForCausalLM"])
def test_experts(sentence: str, config: dict[str, Any], ffns: list[Mlp | Experts], architecture: str) -> None:
    shape = shape_of(architecture, **{**LING, **config})
    assert (mixed(shape), [layer.ffn for layer in shape.layers]) == ("4A", ffns), sentence


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InvalidInput, match="moe_intermediate_size"):
        shape_of("BailingMoeForCausalLM", **{key: value for key, value in LING.items() if key != "moe_intermediate_size"})


def test_the_linear_ones_are_unsupported_by_name() -> None:
    with pytest.raises(Unsupported, match="bailing_moe_linear"):
        shape_of("BailingMoeForCausalLM", **{**LING, "model_type": "bailing_moe_linear"})
