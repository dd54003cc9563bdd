"""Falcon: multi-query or grouped heads, one or two norms beside each other.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/falcon.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import windowed_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.kv_dtype import kv_head_bytes
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.resolved import ResolvedArgs


def falcon(rank: Rank) -> None:
    """FalconForCausalLM: multi-query or grouped heads, one or two LayerNorms beside each other."""
    text = rank.text
    new = text.bool("new_decoder_architecture")
    parallel = text.bool("parallel_attn", True)
    two = new and (text.int_or_none("num_ln_in_parallel_attn") or 2) == 2
    style = DecoderStyle(
        tied=True,
        gated=False,
        qkv_bias=("bias",),
        o_bias=("bias",),
        mlp_bias=("bias",),
        norm_bias=True,
        norms=2 if two or not parallel else 1,
        attention="self_attention",
        o_name="dense",
        mlp_names=("dense_h_to_4h",),
        down_name="dense_4h_to_h",
        embedding_always=True,
        norm_always=True,
        positions=2048,
    )
    size = sizes(text, style, rank.config)
    if not new and text.bool("multi_query", True):
        size = replace(size, kv_heads=1)
    elif not new:
        size = replace(size, kv_heads=size.heads)
    rotary = not text.bool("alibi")

    def layer(i: int) -> None:
        name = f"h.{i}"
        attention(rank, name, size, style)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, bias=True, count=style.norms)
        if rotary:
            rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer)


def falcon_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """The class hands no cache settings to its attention: the cache stays at the model's dtype."""
    width = kv_head_bytes("auto", resolved.dtype, shape.head_dim, shape.head_dim)
    return windowed_caches(config, shape, resolved, rules, token_bytes=shape.kv_heads_per_rank(resolved.tensor_parallel_size) * width)
