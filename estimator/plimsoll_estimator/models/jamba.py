"""Jamba: Mamba 1, attention at a period, experts in every other layer.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/jamba.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.state import mamba1
from plimsoll_estimator.mixers import Mamba1, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.reader import MAX_LAYERS, MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

_STYLE = everywhere(DecoderStyle(ties=False, attention="", mlp="feed_forward"))


def jamba(rank: Rank) -> None:
    """JambaForCausalLM: Mamba 1 with norms, attention without rope, experts in every other layer."""
    text, size = rank.text, rank.shape.size
    bias, conv_bias = text.bool("mamba_proj_bias"), text.bool("mamba_conv_bias", True)

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            attention(rank, name, size, _STYLE)
        else:
            mamba1(rank, f"{name}.mamba", size.hidden_size, made.mixer(Mamba1), bias=bias, conv_bias=conv_bias, norms=True)
        feed_forward(rank, name, made.ffn, _STYLE, MoeStyle(parent="feed_forward"))
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _STYLE, layer, rank.kind)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """JambaConfig's periods and offsets; one expert alone is an MLP."""
    period, offset = positive(text, "attn_layer_period", default=8, limit=MAX_LAYERS), text.int("attn_layer_offset", default=4)
    every, first = positive(text, "expert_layer_period", default=2, limit=MAX_LAYERS), text.int("expert_layer_offset", default=1)
    state = Mamba1(
        inner=positive(text, "mamba_expand", default=2, limit=MAX_WIDTH) * size.hidden_size,
        state=positive(text, "mamba_d_state", default=16, limit=MAX_WIDTH),
        kernel=positive(text, "mamba_d_conv", default=4, limit=MAX_WIDTH),
        dt_rank=stacks.dt_rank(text, "mamba_dt_rank", size),
    )
    numbers = range(size.layer_count)
    plain, block = Mlp(width=size.intermediate_size), stacks.routed_experts(text, size.intermediate_size, shared=0)
    ffns = [block if i % every == first and block.count > 1 else plain for i in numbers]
    return stacks.stack(stacks.hybrid([i % period == offset for i in numbers], stacks.attention(size), state), ffns)


MODELS = (Model(classes=("JambaForCausalLM",), model_types=("jamba",), weights=jamba, layers=_layers),)
