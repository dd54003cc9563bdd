"""Command R, R7B and A, and Command with experts.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{commandr,cohere2_moe}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, rope_table, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.rank import Rank

COHERE = DecoderStyle(embedding_always=True, norm_always=True, tied=True, norms=1, qkv_bias=("attention_bias",), o_bias=("attention_bias",))


def cohere2_moe(rank: Rank) -> None:
    """Cohere2MoeForCausalLM: one LayerNorm a layer for attention and experts together, a tied head."""
    text = rank.text
    style = replace(COHERE, qkv_bias=("attention_bias",), o_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    first = text.int("first_k_dense_replace", default=0)
    wide = text.int("prefix_dense_intermediate_size", default=size.intermediate_size)
    block = MoeStyle(intermediate=("intermediate_size",), shared="count")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        if i < first:
            mlp(rank, f"{name}.mlp", size.hidden_size, wide, style)
        else:
            moe(rank, name, size.hidden_size, block)
        rank.norm(size.hidden_size)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, lambda i: i < first)
