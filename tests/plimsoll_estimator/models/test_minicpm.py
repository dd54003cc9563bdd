"""MiniCPM and MiniCPM 3: latent projections that are attended as ordinary heads (minicpm3.py, vLLM 0.32.0)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of, shipped

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Attention, Mlp

MINICPM3: dict[str, Any] = {"architectures": ["MiniCPM3ForCausalLM"], "model_type": "minicpm3", "num_hidden_layers": 2}
MINICPM: dict[str, Any] = {
    "architectures": ["MiniCPMForCausalLM"], "model_type": "minicpm", "num_hidden_layers": 2, "hidden_size": 2304,
    "num_attention_heads": 36, "vocab_size": 122753,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "keys", "head_dim", "heads"),
    [
        ("MiniCPM3Config's own", {}, 96, 40),
        ("whatever key-value heads the file names", {"num_key_value_heads": 8}, 96, 40),
        ("a head is its rotating and its other part, whatever `head_dim` says", {"head_dim": 64, "qk_rope_head_dim": 64}, 128, 40),
    ],
)
def test_minicpm3_keeps_every_head_expanded(sentence: str, keys: dict[str, Any], head_dim: int, heads: int) -> None:
    full = Attention(heads=heads, kv_heads=heads, head_dim=head_dim, v_head_dim=head_dim)
    assert {layer.mixers for layer in shape_of({**MINICPM3, **keys}).layers} == {(full,)}, sentence


def test_minicpm_is_an_ordinary_decoder() -> None:
    shape = shipped("openbmb/MiniCPM-2B-sft-bf16")
    assert (seen(shape), shape.size.kv_heads, shape.layers[0].ffn) == ("40f", 36, Mlp(width=5760))


def test_minicpm_with_experts_is_unsupported_by_name() -> None:
    with pytest.raises(Unsupported, match="num_experts"):
        shape_of({**MINICPM, "num_experts": 8})


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**MINICPM, "layer_types": ["ring_attention"] * 2})
