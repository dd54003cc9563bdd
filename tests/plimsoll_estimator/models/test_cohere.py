"""Command R, R7B and A: windows by list or pattern, dense layers before experts, norms of each head's own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of, shipped
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Experts, Mlp

R7B: dict[str, Any] = {"architectures": ["Cohere2ForCausalLM"], "model_type": "cohere2", "num_hidden_layers": 8, "num_key_value_heads": 8}
SPARSE: dict[str, Any] = {**R7B, "architectures": ["Cohere2MoeForCausalLM"], "model_type": "cohere2_moe", "num_hidden_layers": 10}
COMMAND_R: dict[str, Any] = {
    "architectures": ["CohereForCausalLM"], "model_type": "cohere", "hidden_size": 4096, "intermediate_size": 8192, "num_hidden_layers": 4,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 256000,
}  # fmt: skip


def test_command_r_sees_everything() -> None:
    shape = shipped("CohereForAI/c4ai-command-r-v01")
    assert (seen(shape), shape.size.kv_heads, shape.size.tied) == ("40f", 64, True)


@pytest.mark.parametrize(
    ("sentence", "config", "windows"),
    [
        ("Cohere2Config: every fourth layer is full", R7B, "3s1f3s1f"),
        ("a period in the file wins", {**R7B, "sliding_window_pattern": 2}, "1s1f1s1f1s1f1s1f"),
        ("so does a list", {**R7B, "layer_types": ["full_attention", "sliding_attention"] * 4}, "1f1s1f1s1f1s1f1s"),
        ("a null window is none", {**R7B, "sliding_window": None}, "8f"),
        ("Cohere2MoeConfig: without dense layers the same", SPARSE, "3s1f3s1f2s"),
        ("dense layers in front are full, and the pattern counts afresh behind them", {**SPARSE, "first_k_dense_replace": 2}, "2f3s1f3s1f"),
        (
            "unless they have a pattern of their own",
            {**SPARSE, "first_k_dense_replace": 3, "prefix_dense_sliding_window_pattern": 3},
            "2s1f3s1f3s",
        ),
    ],
)
def test_windows_are_those_of_the_config_class(sentence: str, config: dict[str, Any], windows: str) -> None:
    assert seen(shape_of(config)) == windows, sentence


def test_dense_layers_come_first_and_may_be_wider() -> None:
    shape = shape_of({**SPARSE, "first_k_dense_replace": 2, "prefix_dense_intermediate_size": 1024, "num_shared_experts": 1})
    assert routed(shape) == list(range(2, 10))
    assert shape.layers[0].ffn == Mlp(width=1024)
    assert shape.experts == Experts(count=8, per_token=2, width=22528, shared=22528)
    assert routed(shape_of({**SPARSE, "mlp_layer_types": ["sparse"] * 9 + ["dense"]})) == list(range(9))


def test_norms_of_each_head_count_once_a_rank() -> None:
    """commandr.py: q_norm of (heads, head_dim) and k_norm of (kv heads, head_dim) where `use_qk_norm` says so (Command R+)."""
    plain, normed = (created_bytes(config, "0.33.0") for config in (COMMAND_R, {**COMMAND_R, "use_qk_norm": True}))
    assert normed - plain == 4 * (32 + 8) * 128 * 2


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**R7B, "layer_types": ["ring_attention"] * 8})
