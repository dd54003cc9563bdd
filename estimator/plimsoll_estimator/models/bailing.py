"""Bailing (Ling, Ring): decoders with experts, and the caches of the linear ones.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/bailing_moe.py (0.19.1 and 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, STATE, mixed_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, check_expert_count, moe
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.recurrent import lightning_bytes, state_need
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs


def bailing_moe(rank: Rank) -> None:
    """BailingMoeForCausalLM and V2 (Ling, Ring): perhaps query and key norms, a router of its own dtype, shared experts."""
    text = rank.text
    style = DecoderStyle(
        qkv_bias=("use_bias", "use_qkv_bias"), o_bias=("use_bias",), mlp_bias=("use_bias",), attention="attention", o_name="dense",
        qk_norm="head" if text.bool("use_qk_norm") else "no",
    )  # fmt: skip
    if not text.bool("use_rmsnorm", True):
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for a Bailing model with LayerNorm")
    size = sizes(text, style, rank.config)
    check_expert_count(rank, text.int("num_experts"))
    routers = {"fp32": 4, None: 0}
    first, correction = text.int("first_k_dense_replace", default=0), text.bool("moe_router_enable_expert_bias")
    block = MoeStyle(
        gate_item=routers.get(text.str_or_none("router_dtype"), 2), correction=correction, intermediate=("moe_intermediate_size",)
    )
    width = text.int("moe_shared_expert_intermediate_size", "moe_intermediate_size")
    shared = width * (text.int_or_none("num_shared_experts") or 0)
    rotary = text.int_or_none("rotary_dim")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)
        if i < first:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        else:
            moe(rank, name, size.hidden_size, block)
            if shared:
                mlp(rank, f"{name}.mlp.shared_experts", size.hidden_size, shared, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, lambda i: i < first)


def bailing_linear_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Ring and Ling linear: the last layer of every group attends."""
    period = language(config).int("layer_group_size", default=1)
    kinds = [STATE if period > 0 and (i + 1) % period else ATTENTION for i in range(shape.layers)]
    state = state_need(resolved, rules, lightning_bytes(resolved, heads=shape.heads, head_dim=shape.head_dim), role="lightning")
    return mixed_caches(shape, resolved, rules, kinds, state)
