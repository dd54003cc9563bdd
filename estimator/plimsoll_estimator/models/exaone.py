"""EXAONE 3 and 4, K-EXAONE with experts, EXAONE 4.5 with a tower.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{exaone,exaone4,exaone_moe}.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, build_decoder
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, check_expert_count, expert_count
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.qwen_vit import qwen2_5_tower

EXAONE4 = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",), o_bias=("attention_bias",))
EXAONE = DecoderStyle(qkv_bias=("attention_bias", "bias"), o_bias=("attention_bias", "bias"), mlp_bias=("mlp_bias",))


def exaone_moe(rank: Rank) -> None:
    """ExaoneMoeForCausalLM (K-EXAONE): norms on queries and keys, dense layers first, float32 correction, a shared expert."""
    text = rank.text
    listed = text.list_or_none("is_moe_layer")
    first = text.int("first_last_k_dense_replace", "first_k_dense_replace", default=0)
    dense_layers = frozenset(i for i, sparse in enumerate(listed or ()) if not sparse)
    check_expert_count(rank, expert_count(text))
    block = MoeStyle(intermediate=("moe_intermediate_size",), correction=True, shared="count")
    style = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",), o_bias=("attention_bias",))
    build_moe(rank, style, block, first_dense=0 if listed else first, listed=dense_layers)


exaone4_5 = with_tower(qwen2_5_tower, lambda rank: build_decoder(rank, EXAONE4))
