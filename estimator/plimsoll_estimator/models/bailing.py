"""Bailing (Ling, Ring): decoders with experts.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/bailing_moe.py (0.19.1 and 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, stack
from plimsoll_estimator.layers.experts import MoeStyle, check_expert_count, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import routed_experts, sparse_from
from plimsoll_estimator.shape import Dimensions, Layer


def bailing_moe(rank: Rank) -> None:
    """BailingMoeForCausalLM and V2 (Ling, Ring): perhaps query and key norms, a router of its own dtype, shared experts."""
    text, size = rank.text, rank.shape.size
    style = DecoderStyle(
        qkv_bias=("use_bias", "use_qkv_bias"), o_bias=("use_bias",), mlp_bias=("use_bias",), attention="attention", o_name="dense",
        qk_norm="head" if text.bool("use_qk_norm") else "no",
    )  # fmt: skip
    if not text.bool("use_rmsnorm", True):
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for a Bailing model with LayerNorm")
    check_expert_count(rank)
    routers = {"fp32": 4, None: 0}
    sparse = MoeStyle(
        gate_item=routers.get(text.str_or_none("router_dtype"), 2), correction=text.bool("moe_router_enable_expert_bias"), dense_style=style
    )
    rotary = text.int_or_none("rotary_dim")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)
        feed_forward(rank, name, rank.shape.layers[i].ffn, style, sparse)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, rank.kind)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Experts from layer `first_k_dense_replace` on; shared ones may have a width of their own."""
    width = text.int("moe_intermediate_size")
    shared = (text.int_or_none("moe_shared_expert_intermediate_size") or width) * (text.int_or_none("num_shared_experts") or 0)
    block = routed_experts(text, width, shared=shared, count=text.int("num_experts"))
    seen = stacks.windowed(text, size, stacks.attention(size))
    return stacks.attending(seen, sparse_from(size, block, first=text.int("first_k_dense_replace", default=0)))


MODELS = (
    Model(
        classes=("BailingMoeForCausalLM", "BailingMoeV2ForCausalLM"),
        model_types=("bailing_moe", "bailing_moe_v2"),
        weights=bailing_moe,
        layers=_layers,
    ),
)
