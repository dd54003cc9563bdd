"""DBRX: sizes under `attn_config` and `ffn_config`, spelt as MPT spells them (Transformers' DbrxConfig)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of

from plimsoll_estimator.mixers import Experts

INSTRUCT: dict[str, Any] = {
    "architectures": ["DbrxForCausalLM"], "model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32768,
    "vocab_size": 100352, "attn_config": {"kv_n_heads": 8, "rope_theta": 500000},
    "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
}  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "keys", "kv_heads", "experts"),
    [
        ("DBRX Instruct", {}, 8, Experts(count=16, per_token=4, width=10752)),
        ("DbrxFFNConfig's own", {"ffn_config": {}}, 8, Experts(count=4, per_token=1, width=3584)),
        ("without a number every head has keys", {"attn_config": {}}, 48, Experts(count=16, per_token=4, width=10752)),
    ],
)
def test_sizes_are_read_from_the_nested_configurations(sentence: str, keys: dict[str, Any], kv_heads: int, experts: Experts) -> None:
    shape = shape_of({**INSTRUCT, **keys})
    assert (shape.size.kv_heads, shape.size.head_dim, shape.size.positions) == (kv_heads, 128, 32768), sentence
    assert shape.experts == experts
    assert (seen(shape), routed(shape)) == ("40f", list(range(40)))
