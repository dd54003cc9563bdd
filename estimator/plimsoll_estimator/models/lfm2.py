"""LFM2, dense, with experts and with a tower: short convolutions with attention in between.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{lfm2,lfm2_moe,lfm2_vl}.py (0.19.1 and 0.33.0).
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, STATE, mixed_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, check_expert_count, moe
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.recurrent import short_conv_bytes, state_need
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import short_conv
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.siglip import lfm2_vl_tower
from plimsoll_estimator.units import round_up


def lfm2(rank: Rank) -> None:
    """Lfm2ForCausalLM: short convolutions, a few attention layers with query and key norms."""
    text = rank.text
    style = DecoderStyle(tied=True, qk_norm="head", o_name="out_proj", embedding_always=True, down_name="w2")
    size = sizes(text, style, rank.config)
    intermediate = text.int("block_ff_dim", "intermediate_size")
    if text.bool("block_auto_adjust_ff_dim", True):
        scaled = int((text.float_or_none("block_ffn_dim_multiplier") or 1.0) * int(2 * intermediate / 3))
        intermediate = round_up(scaled, positive(text, "block_multiple_of", default=256))
    kinds = text.list_or_none("layer_types")
    full = text.list_or_none("full_attn_idxs") or ()
    kernel, bias = text.int("conv_L_cache", default=3), text.bool("conv_bias")

    def attends(i: int) -> bool:
        return kinds[i] == "full_attention" if kinds is not None and i < len(kinds) else i in full

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if attends(i):
            attention(rank, name, size, style)
            rope(rank, size.head_dim, size.positions)
        else:
            short_conv(rank, f"{name}.short_conv", size.hidden_size, kernel, bias)
        mlp(rank, f"{name}.feed_forward", size.hidden_size, intermediate, replace(style, mlp_names=("w1", "w3")))
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, attends)


_LFM2_MOE = DecoderStyle(tied=True, qk_norm="head", o_name="out_proj", mlp_names=("w1", "w3"), down_name="w2", embedding_always=True)


def lfm2_moe(rank: Rank) -> None:
    """Lfm2MoeForCausalLM: short convolutions and attention; experts behind `num_dense_layers`, their correction in float32."""
    text = rank.text
    size = sizes(text, _LFM2_MOE, rank.config)
    kinds = text.list_or_none("layer_types")
    if kinds is None or len(kinds) < size.num_hidden_layers:
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for LFM2 with experts without layer_types")
    check_expert_count(rank, text.int("num_experts"))
    kernel, bias, first = text.int("conv_L_cache", default=3), text.bool("conv_bias"), text.int("num_dense_layers")
    block = MoeStyle(parent="feed_forward", intermediate=("moe_intermediate_size",), correction=text.bool("use_expert_bias"))

    def kind(i: int) -> tuple[bool, bool]:
        return kinds[i] == "full_attention", i >= first

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attends, sparse = kind(i)
        if attends:
            attention(rank, name, size, _LFM2_MOE)
            rope(rank, size.head_dim, size.positions)
        else:
            short_conv(rank, f"{name}.short_conv", size.hidden_size, kernel, bias)
        if sparse:
            moe(rank, name, size.hidden_size, block)
        else:
            mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, _LFM2_MOE)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _LFM2_MOE, layer, kind)


lfm2_vl = with_tower(lfm2_vl_tower, lfm2)


def lfm2_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Attention where the file says so, the window of a short convolution elsewhere."""
    text = language(config)
    types = text.list_or_none("layer_types")
    attends = set(text.list_or_none("full_attn_idxs") or range(shape.layers))
    if types is not None:
        attends = {i for i, name in enumerate(types) if name == "full_attention"}
    kinds = [ATTENTION if i in attends else STATE for i in range(shape.layers)]
    width = text.int_or_none("conv_dim") or shape.hidden_size
    state = state_need(resolved, rules, short_conv_bytes(resolved, width=width, kernel=text.int("conv_L_cache", default=3)), role="conv")
    return mixed_caches(shape, resolved, rules, kinds, state)
