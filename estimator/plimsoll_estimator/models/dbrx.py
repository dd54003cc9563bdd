"""DBRX: experts, and sizes under configurations of attention and feed-forward.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/dbrx.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, sizes, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope


def dbrx(rank: Rank) -> None:
    """DbrxForCausalLM: sizes under `ffn_config` and `attn_config`, LayerNorms without biases."""
    text = rank.text
    ffn = text.sub("ffn_config") or HfConfig({}, f"{text.path}.ffn_config")
    heads = text.sub("attn_config") or HfConfig({}, f"{text.path}.attn_config")
    style = everywhere(DecoderStyle(attention="norm_attn_norm.attn", o_name="out_proj"))
    size = sizes(text, style, rank.config)
    size = replace(size, kv_heads=heads.int_or_none("kv_n_heads") or size.kv_heads)
    experts, intermediate = ffn.int("moe_num_experts", default=4), ffn.int("ffn_hidden_size", default=3584)

    def layer(i: int) -> None:
        name = f"blocks.{i}"
        attention(rank, name, size, style)
        rank.tensor(experts * size.hidden_size)
        rank.experts(f"{name}.ffn.experts", experts, size.hidden_size, intermediate)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": heads.raw("rope_theta")})

    stack(rank, size, style, layer)
