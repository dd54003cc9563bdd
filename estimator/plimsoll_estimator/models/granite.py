"""Granite: dense, with experts, with windows and sinks, and the hybrids with Mamba 2.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{granite,granitemoe,granitemoeshared,granitemoehybrid}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, LAYER_NAMES, mamba2_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, mlp, rope_table, sizes, stack
from plimsoll_estimator.layers.experts import BLOCK_SPARSE, MoeStyle, build_moe, expert_count, moe
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import Mamba2, mamba2
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs

GRANITE = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp_bias=("mlp_bias",), tied=True)


def granite_moe(rank: Rank) -> None:
    """GraniteMoeForCausalLM."""
    style = replace(GRANITE, mlp_bias="no")
    build_moe(rank, everywhere(style), BLOCK_SPARSE)


def granite_swa(rank: Rank) -> None:
    """GraniteSWAForCausalLM: Granite with attention sinks."""
    style = GRANITE
    size = sizes(rank.text, style, rank.config)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(size.heads // rank.tp)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)


def granite_moe_swa(rank: Rank) -> None:
    """GraniteMoeSWAForCausalLM: Granite's experts with attention sinks and perhaps a shared MLP."""
    text = rank.text
    style = everywhere(replace(GRANITE, mlp_bias="no", tied=False))
    size = sizes(text, style, rank.config)
    block = MoeStyle(parent="block_sparse_moe", intermediate=("intermediate_size",))
    shared = text.int_or_none("shared_intermediate_size") or 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(size.heads // rank.tp)
        moe(rank, name, size.hidden_size, block)
        if shared:
            mlp(rank, f"{name}.shared_mlp", size.hidden_size, shared, style)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)


def granite_hybrid(rank: Rank, default_positions: str = "none") -> None:
    """GraniteMoeHybridForCausalLM: Mamba 2 or attention, a shared MLP, perhaps experts."""
    text = rank.text
    style = everywhere(replace(GRANITE, mlp_bias="no", mlp_names=("input_linear",), down_name="output_linear"))
    size = sizes(text, style, rank.config)
    kinds = text.list_or_none("layer_types") or text.list_or_none("layers_block_type") or ()
    shared = text.int_or_none("shared_intermediate_size") or 0
    block = MoeStyle(parent="block_sparse_moe", intermediate=("intermediate_size",))
    rotary = (text.str_or_none("position_embedding_type") or default_positions) == "rope"

    def attends(i: int) -> bool:
        return i >= len(kinds) or kinds[i] in ("attention", "full_attention")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if attends(i):
            attention(rank, name, size, style)
            if rotary:
                rope(rank, size.head_dim, size.positions)
        else:
            mamba2(rank, f"{name}.mamba", _granite_mamba(text, size.hidden_size))
        if expert_count(text) > 0:
            moe(rank, name, size.hidden_size, block)
        if shared:
            mlp(rank, f"{name}.shared_mlp", size.hidden_size, shared, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, attends)


def _granite_mamba(text: HfConfig, hidden: int) -> Mamba2:
    inner = text.int("mamba_expand", default=2) * hidden
    return Mamba2(
        hidden=hidden,
        inner=inner,
        heads=text.int("mamba_n_heads", default=128),
        groups=text.int("mamba_n_groups", default=1),
        state=text.int("mamba_d_state", default=256),
        kernel=text.int("mamba_d_conv", default=4),
        bias=text.bool("mamba_proj_bias"),
        conv_bias=text.bool("mamba_conv_bias", True),
    )


def granite_hybrid_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Mamba 2 or attention, as the file lists them."""
    text = language(config)
    names = text.list_or_none("layer_types") or text.list_or_none("layers_block_type") or ("mamba",) * shape.layers
    return mamba2_caches(
        config, shape, resolved, rules, [LAYER_NAMES.get(str(name), ATTENTION) for name in names],
        inner=text.int("mamba_expand", default=2) * shape.hidden_size, groups=text.int("mamba_n_groups", default=1),
        heads=text.int("mamba_n_heads", default=128), head_dim=text.int("mamba_d_head", default=64),
        state_size=text.int("mamba_d_state", default=256), conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip
