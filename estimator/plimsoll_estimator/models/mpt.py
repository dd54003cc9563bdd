"""MPT: ALiBi, a tied head.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mpt.py (0.19.1).
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import Bias, DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.rank import Rank


def mpt(rank: Rank) -> None:
    """MPTForCausalLM: ALiBi, a tied head; `no_bias` also strips the LayerNorms' biases."""
    text = rank.text
    nested = text.sub("attn_config") or HfConfig({}, f"{text.path}.attn_config")
    biased = not text.bool("no_bias")
    bias: Bias = "yes" if biased else "no"
    style = DecoderStyle(
        qkv_bias=bias, o_bias=bias, mlp_bias=bias, gated=False, norm_bias=biased, tied=True, attention="attn", mlp="ffn",
        o_name="out_proj", mlp_names=("up_proj",), embedding_always=True, norm_always=True,
    )  # fmt: skip
    size = sizes(text, style, rank.config)
    size = replace(size, kv_heads=nested.int_or_none("kv_n_heads") or size.heads)
    intermediate = text.int("expansion_ratio", default=4) * size.hidden_size

    def layer(i: int) -> None:
        name = f"blocks.{i}"
        attention(rank, name, size, style)
        if nested.bool("qk_ln"):
            rank.norm(size.hidden_size, bias=biased, count=2)
        mlp(rank, f"{name}.ffn", size.hidden_size, intermediate, style)
        rank.norm(size.hidden_size, bias=biased, count=2)

    stack(rank, size, style, layer)
