"""Afmoe (Trinity): a gate on the attention's output, experts behind dense layers.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/afmoe.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope


def afmoe(rank: Rank) -> None:
    """AfmoeForCausalLM: a gate on the attention's output, norms around both blocks, float32 routers."""
    text = rank.text
    style = DecoderStyle(ties=False, qk_norm="head", qkv_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    first = text.int("num_dense_layers", default=0)
    block = MoeStyle(intermediate=("moe_intermediate_size",), gate_item=4, correction=True, shared="count")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.column(f"{name}.self_attn", ("gate_proj",), size.hidden_size, (size.heads * size.head_dim,))
        if i < first:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        else:
            moe(rank, name, size.hidden_size, block)
        rank.norm(size.hidden_size, count=4)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer, lambda i: i < first)
