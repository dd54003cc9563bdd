"""Zamba 2: Mamba 2 everywhere, a few attention blocks that take turns.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/zamba2.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import BOTH, STATE, mamba2_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, sizes, stack
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, divide, positive
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import Mamba2, mamba2
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs

MOST_BLOCKS = 64


def zamba2(rank: Rank) -> None:
    """Zamba2ForCausalLM: Mamba 2 everywhere; a few attention blocks take turns in front of "hybrid" layers, with adapters of their own."""
    text = rank.text
    style = DecoderStyle(tied=True, embedding_always=True, norm_always=True)
    size = sizes(text, style, rank.config)
    if rank.resolved.pipeline_parallel_size > 1:
        raise Unsupported(Check.UNSUPPORTED_LAYOUT, "no rules for Zamba 2 on more than one pipeline stage")
    kinds = text.list_or_none("layers_block_type") or ()
    listed = text.list_or_none("hybrid_layer_ids")
    hybrid = [i for i in range(size.num_hidden_layers) if (i in listed if listed is not None else i < len(kinds) and kinds[i] == "hybrid")]
    blocks = positive(text, "num_mem_blocks", default=1, limit=MOST_BLOCKS)
    width = text.int("attention_hidden_size", default=2 * size.hidden_size)
    head_dim = text.int("attention_head_dim", default=2 * size.hidden_size // size.heads)
    rank_of_adapter = text.int("adapter_rank", default=128)
    dims = Mamba2(
        hidden=size.hidden_size,
        inner=text.int("mamba_expand", default=2) * size.hidden_size,
        heads=text.int("n_mamba_heads", default=8),
        groups=text.int("mamba_ngroups", default=1),
        state=text.int("mamba_d_state", default=64),
        kernel=text.int("mamba_d_conv", default=4),
        bias=text.bool("add_bias_linear"),
        conv_bias=text.bool("use_conv_bias", True),
    )

    def layer(i: int) -> None:
        mamba2(rank, f"layers.{i}.mamba", dims)
        rank.norm(size.hidden_size)
        if i not in hybrid:
            return
        rank.tensor(size.hidden_size * size.hidden_size)
        # An adapter belongs to every attention block it may meet, and each meets the layers of its turn.
        if text.bool("use_shared_mlp_adapter", True):
            rank.tensor(divide(rank_of_adapter, rank.tp) * size.hidden_size)
            rank.column("feed_forward", ("adapter",), rank_of_adapter, (size.intermediate_size, size.intermediate_size))
        if text.bool("use_shared_attention_adapter"):
            for _ in range(3):
                rank.tensor(divide(rank_of_adapter, rank.tp) * width)
                rank.column("self_attn", ("adapter",), rank_of_adapter, (width,))

    stack(rank, size, style, layer, lambda i: i in hybrid)
    for block in range(min(blocks, len(hybrid))):
        name = f"layers.{hybrid[block]}.shared_transformer"
        rank.qkv(f"{name}.self_attn", width, size.heads, size.kv_heads, head_dim)
        rank.row(f"{name}.self_attn", "o_proj", width, size.hidden_size)
        mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, style)
        rank.norm(width + size.hidden_size)
    for _ in hybrid:
        rank.attention_scales("self_attn")
    if text.bool("use_mem_rope"):
        rope(rank, head_dim, size.positions)


def zamba2_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Every layer has a Mamba2 mixer; "hybrid" layers put a shared attention block in front of it."""
    text = language(config)
    names = text.list_or_none("layers_block_type")
    hybrid = set(text.list_or_none("hybrid_layer_ids") or ())
    kinds = [BOTH if (names[i] == "hybrid" if names and i < len(names) else i in hybrid) else STATE for i in range(shape.layers)]
    shape = replace(shape, head_dim=text.int("attention_head_dim", default=2 * shape.hidden_size // shape.heads))
    return mamba2_caches(
        config, shape, resolved, rules, kinds,
        inner=text.int("mamba_expand", default=2) * shape.hidden_size, groups=text.int("mamba_ngroups", default=1),
        heads=text.int("n_mamba_heads", default=8), head_dim=text.int("mamba_headdim", default=64),
        state_size=text.int("mamba_d_state", default=64), conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip
