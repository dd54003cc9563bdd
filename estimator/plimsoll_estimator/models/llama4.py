"""Llama 4, with and without its tower: dense and sparse layers interleaved, chunked attention.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{llama4,mllama4}.py.
"""

from __future__ import annotations

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.llama4 import llama4_tower


def llama4(rank: Rank) -> None:
    """Llama4ForCausalLM: dense and sparse layers interleaved, a shared expert, one rope table for the layers that rotate."""
    text = rank.text
    style = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    step = text.int("interleave_moe_layer_step", default=1)
    listed = text.list_or_none("moe_layers")
    block = MoeStyle(
        parent="feed_forward",
        intermediate=("intermediate_size",),
        shared="size",
        shared_name="shared_expert",
        unsplit_since=EngineVersion(0, 11),
    )
    flat = text.int("intermediate_size_mlp", default=size.intermediate_size)

    def routed(i: int) -> bool:
        if listed:
            return i in listed
        return step > 0 and (i + 1) % step == 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        if routed(i):
            moe(rank, name, size.hidden_size, block)
            mlp(
                rank,
                f"{name}.feed_forward.shared_expert",
                size.hidden_size,
                size.intermediate_size,
                style,
                rank.shared_experts_tp(EngineVersion(0, 11)),
            )
        else:
            mlp(rank, f"{name}.feed_forward", size.hidden_size, flat, style)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer, routed)


llama4_vision = with_tower(llama4_tower, llama4, quantised=False)
