"""Bamba: Mamba 2 with attention at listed layers.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/bamba.py (0.19.1).
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import mamba2
from plimsoll_estimator.mixers import Mamba2, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.shape import Dimensions, Layer

_STYLE = everywhere(DecoderStyle(mlp_bias=("mlp_bias",), mlp="feed_forward"))


def bamba(rank: Rank) -> None:
    """BambaForCausalLM: Mamba 2, attention at `attn_layer_indices`, a gated MLP in every layer."""
    text, size = rank.text, rank.shape.size
    bias, conv_bias = text.bool("mamba_proj_bias"), text.bool("mamba_conv_bias", True)

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            attention(rank, name, size, _STYLE)
            rope(rank, size.head_dim, size.positions, rotary_dim=text.int_or_none("attn_rotary_emb"))
        else:
            mamba2(rank, f"{name}.mamba", size.hidden_size, made.mixer(Mamba2), bias=bias, conv_bias=conv_bias)
        mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, _STYLE)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _STYLE, layer, rank.kind)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    count, listed = size.layer_count, text.list_or_none("attn_layer_indices") or ()
    attends = [i in listed for i in range(count)]
    return stacks.stack(
        stacks.hybrid(attends, stacks.attention(size), stacks.mamba2(text, size)), [Mlp(width=size.intermediate_size)] * count
    )


MODELS = (Model(classes=("BambaForCausalLM",), model_types=("bamba",), weights=bamba, layers=_layers),)
