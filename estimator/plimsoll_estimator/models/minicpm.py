"""MiniCPM, and MiniCPM 3 with latent projections.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{minicpm,minicpm3}.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import head_bytes, windowed_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, sizes, stack
from plimsoll_estimator.layers.latent import latent
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.resolved import ResolvedArgs

MINICPM = DecoderStyle(tied=True, embedding_always=True, norm_always=True, head_always=True)


def minicpm3(rank: Rank) -> None:
    """MiniCPM3ForCausalLM: latent projections, but ordinary attention on the expanded heads."""
    text = rank.text
    dims = latent(text)
    style = DecoderStyle(tied=True, embedding_always=True, norm_always=True, head_always=True)
    size = sizes(text, style, rank.config)

    def layer(i: int) -> None:
        parent = f"layers.{i}.self_attn"
        rank.replicated(parent, ("q_a_proj",), dims.hidden, (dims.q_rank,))
        rank.norm(dims.q_rank)
        rank.column(parent, ("q_b_proj",), dims.q_rank, (dims.heads * (dims.nope + dims.rotary),))
        rank.replicated(parent, ("kv_a_proj_with_mqa",), dims.hidden, (dims.kv_rank + dims.rotary,))
        rank.norm(dims.kv_rank)
        rank.column(parent, ("kv_b_proj",), dims.kv_rank, (dims.heads * (dims.nope + dims.v_dim),))
        rank.row(parent, "o_proj", dims.heads * dims.v_dim, dims.hidden)
        rank.attention_scales(parent)
        mlp(rank, f"layers.{i}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        rope(rank, dims.rotary, size.positions)

    stack(rank, size, style, layer)


def minicpm3_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Latent attention computed as ordinary attention: every head keeps a full-width key and a value padded to it."""
    width = shape.qk_nope_head_dim + shape.qk_rope_head_dim
    token_bytes = max(1, shape.heads // resolved.tensor_parallel_size) * head_bytes(resolved, width, width)
    return windowed_caches(config, shape, resolved, rules, token_bytes=token_bytes)
