"""Falcon-H1: every layer holds attention and a Mamba 2 mixer side by side.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/falcon_h1.py (0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import BOTH, mamba2_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import Mamba2, mamba2
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs


def falcon_h1(rank: Rank) -> None:
    """FalconH1ForCausalLM: the mixer's norm is optional; a buffer scales the parts of its input projection."""
    text = rank.text
    style = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp_bias=("mlp_bias",))
    size = sizes(text, style, rank.config)
    inner = text.int_or_none("mamba_d_ssm") or text.int("mamba_expand", default=2) * size.hidden_size
    dims = Mamba2(
        hidden=size.hidden_size,
        inner=inner,
        heads=text.int("mamba_n_heads", default=128),
        groups=text.int("mamba_n_groups", default=1),
        state=text.int("mamba_d_state", default=256),
        kernel=text.int("mamba_d_conv", default=4),
        bias=text.bool("mamba_proj_bias"),
        conv_bias=text.bool("mamba_conv_bias", True),
    )
    groups = dims.groups // rank.tp if dims.groups % rank.tp == 0 else 1
    scaled = 2 * inner // rank.tp + 2 * groups * dims.state + dims.heads // rank.tp

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        mamba2(rank, f"{name}.mamba", dims, normed=text.bool("mamba_rms_norm"))
        rank.tensor(scaled)
        mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer)


def falcon_h1_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Both in every layer."""
    text = language(config)
    inner = text.int_or_none("mamba_d_ssm") or text.int("mamba_expand", default=2) * shape.hidden_size
    return mamba2_caches(
        config, shape, resolved, rules, [BOTH] * shape.layers,
        inner=inner, groups=text.int("mamba_n_groups", default=1), heads=text.int("mamba_n_heads", default=128),
        head_dim=text.int("mamba_d_head", default=64), state_size=text.int("mamba_d_state", default=256),
        conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip
