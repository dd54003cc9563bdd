"""Bamba: Mamba 2 with attention at listed layers.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/bamba.py (0.19.1).
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, STATE, mamba2_caches
from plimsoll_estimator.layers.decoder import attention, everywhere, mlp, sizes, stack
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import Mamba2, mamba2
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.models.llama import LLAMA
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs


def bamba(rank: Rank) -> None:
    """BambaForCausalLM: Mamba 2, attention at `attn_layer_indices`, a gated MLP in every layer."""
    text = rank.text
    style = everywhere(replace(LLAMA, qkv_bias="no", o_bias="no", mlp="feed_forward"))
    size = sizes(text, style, rank.config)
    attends = {i for i in text.list_or_none("attn_layer_indices") or () if isinstance(i, int)}
    dims = Mamba2(
        hidden=size.hidden_size,
        inner=text.int("mamba_expand", default=2) * size.hidden_size,
        heads=text.int("mamba_n_heads", default=128),
        groups=text.int("mamba_n_groups", default=1),
        state=text.int("mamba_d_state", default=256),
        kernel=text.int("mamba_d_conv", default=4),
        bias=text.bool("mamba_proj_bias"),
        conv_bias=text.bool("mamba_conv_bias", True),
    )

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if i in attends:
            attention(rank, name, size, style)
            rope(rank, size.head_dim, size.positions, rotary_dim=text.int_or_none("attn_rotary_emb"))
        else:
            mamba2(rank, f"{name}.mamba", dims)
        mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, lambda i: i in attends)


def bamba_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Attention at `attn_layer_indices`, Mamba 2 elsewhere."""
    text = language(config)
    attends = set(text.list_or_none("attn_layer_indices") or ())
    return mamba2_caches(
        config, shape, resolved, rules, [ATTENTION if i in attends else STATE for i in range(shape.layers)],
        inner=text.int("mamba_expand", default=2) * shape.hidden_size, groups=text.int("mamba_n_groups", default=1),
        heads=text.int("mamba_n_heads", default=128), head_dim=text.int("mamba_d_head", default=64),
        state_size=text.int("mamba_d_state", default=256), conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip
