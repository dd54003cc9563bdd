"""MPT: ALiBi, a tied head.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mpt.py (0.19.1).
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import Bias, DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense


def mpt(rank: Rank) -> None:
    """MPTForCausalLM: ALiBi, a tied head; `no_bias` also strips the LayerNorms' biases."""
    size, nested, biased = rank.shape.size, rank.text.sub("attn_config"), not rank.text.bool("no_bias")
    bias: Bias = "yes" if biased else "no"
    style = DecoderStyle(
        qkv_bias=bias, o_bias=bias, mlp_bias=bias, gated=False, norm_bias=biased, attention="attn", mlp="ffn",
        o_name="out_proj", mlp_names=("up_proj",), every_stage=("embedding", "norm"),
    )  # fmt: skip
    qk_norms = 2 if nested is not None and nested.bool("qk_ln") else 0

    def layer(i: int) -> None:
        name = f"blocks.{i}"
        attention(rank, name, size, style)
        mlp(rank, f"{name}.ffn", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, bias=biased, count=2 + qk_norms)

    stack(rank, size, style, layer)


def _nested(text: HfConfig) -> Mapping[str, int]:
    """Key-value heads stand in `attn_config`; the MLP's width is a ratio."""
    nested = text.sub("attn_config")
    grouped = nested.int_or_none("kv_n_heads") if nested is not None else None
    return {
        "num_key_value_heads": grouped or text.int("num_attention_heads"),
        "intermediate_size": text.int("expansion_ratio", default=4) * text.int("hidden_size"),
    }


MODELS = (Model(classes=("MPTForCausalLM", "MptForCausalLM"), model_types=("mpt",), weights=mpt, layers=dense(), overrides=_nested),)
