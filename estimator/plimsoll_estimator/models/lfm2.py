"""LFM2, dense, with experts and with a tower: short convolutions with attention in between.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{lfm2,lfm2_moe,lfm2_vl}.py (0.19.1 and 0.33.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, stack
from plimsoll_estimator.layers.experts import MoeStyle, check_expert_count, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import short_conv
from plimsoll_estimator.mixers import Mlp, ShortConv
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import by_name, hybrid, routed_experts, sparse_from
from plimsoll_estimator.reader import MAX_WIDTH, NO_OVERRIDES, TIES, positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.siglip import lfm2_vl_tower
from plimsoll_estimator.units import round_up

_STYLE: Final = DecoderStyle(
    qk_norm="head",
    o_name="out_proj",
    mlp="feed_forward",
    mlp_names=("w1", "w3"),
    down_name="w2",
    every_stage=("embedding",),
)
_ATTENDS: Final = {"full_attention": True, "conv": False}


def lfm2(rank: Rank) -> None:
    """Lfm2ForCausalLM and Lfm2MoeForCausalLM: short convolutions, a few attention layers with query and key norms."""
    text, size, experts = rank.text, rank.shape.size, rank.shape.experts
    if experts is not None:
        check_expert_count(rank)
    sparse = MoeStyle(parent="feed_forward", correction=text.bool("use_expert_bias"))

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            attention(rank, name, size, _STYLE)
            rope(rank, size.head_dim, size.positions)
        else:
            short_conv(rank, f"{name}.short_conv", made.mixer(ShortConv), bias=text.bool("conv_bias"))
        feed_forward(rank, name, made.ffn, _STYLE, sparse)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _STYLE, layer, rank.kind)


def _tied(text: HfConfig) -> Mapping[str, int]:
    """`tie_embedding` wins over the usual key."""
    return {TIES: int(text.bool("tie_embedding"))} if "tie_embedding" in text else NO_OVERRIDES


def _adjusted(text: HfConfig) -> Mapping[str, int]:
    """`block_ff_dim` wins over `intermediate_size`; of either the class builds two thirds, scaled and rounded up."""
    width = text.int("block_ff_dim", "intermediate_size")
    if text.bool("block_auto_adjust_ff_dim", True):
        scaled = int((text.float_or_none("block_ffn_dim_multiplier") or 1.0) * int(2 * width / 3))
        width = round_up(scaled, positive(text, "block_multiple_of", default=256))
    return {**_tied(text), "intermediate_size": width}


def _conv(text: HfConfig, width: int) -> ShortConv:
    return ShortConv(width=width, kernel=positive(text, "conv_L_cache", default=3, limit=MAX_WIDTH))


def _dense(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Lfm2Config: attention by `layer_types`, else by `full_attn_idxs`, else everywhere."""
    count, listed = size.layer_count, text.list_or_none("full_attn_idxs")
    attends = by_name(text, count, _ATTENDS, "layer_types") or [listed is None or i in listed for i in range(count)]
    state = _conv(text, positive(text, "conv_dim", default=size.hidden_size, limit=MAX_WIDTH))
    return stacks.stack(hybrid(attends, stacks.attention(size), state), [Mlp(width=size.intermediate_size)] * count)


def _sparse(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Lfm2MoeConfig, which fills in no list of layers: without one vLLM cannot build it."""
    attends = by_name(text, size.layer_count, _ATTENDS, "layer_types")
    if attends is None:
        raise InvalidInput(f"{text.path}.layer_types", None, f"must name each of the {size.layer_count} layers")
    block = routed_experts(text, text.int("moe_intermediate_size"), shared=0)
    ffns = sparse_from(size, block, first=text.int("num_dense_layers"))
    return stacks.stack(hybrid(attends, stacks.attention(size), _conv(text, size.hidden_size)), ffns)


LFM2 = Model(classes=("Lfm2ForCausalLM",), model_types=("lfm2",), weights=lfm2, layers=_dense, overrides=_adjusted)
MODELS = (
    LFM2,
    Model(classes=("Lfm2MoeForCausalLM",), model_types=("lfm2_moe",), weights=lfm2, layers=_sparse, overrides=_tied),
    seeing(LFM2, behind(lfm2_vl_tower), classes=("Lfm2VlForConditionalGeneration",)),
)
