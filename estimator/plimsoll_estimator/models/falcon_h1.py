"""Falcon-H1: every layer holds attention and a Mamba 2 mixer side by side.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/falcon_h1.py (0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import local_groups, mamba2
from plimsoll_estimator.mixers import Mamba2, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.shape import Dimensions, Layer, alike

_STYLE = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp_bias=("mlp_bias",))


def falcon_h1(rank: Rank) -> None:
    """FalconH1ForCausalLM: the mixer's norm is optional; a buffer scales the parts of its input projection."""
    text, size = rank.text, rank.shape.size
    bias, conv_bias = text.bool("mamba_proj_bias"), text.bool("mamba_conv_bias", True)
    normed = text.bool("mamba_rms_norm")
    mixer = rank.shape.layers[0].mixer(Mamba2)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _STYLE)
        mamba2(rank, f"{name}.mamba", size.hidden_size, mixer, bias=bias, conv_bias=conv_bias, normed=normed)
        rank.tensor(2 * mixer.inner // rank.tp + 2 * local_groups(rank, mixer) * mixer.state + mixer.heads // rank.tp)
        mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, _STYLE)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, _STYLE, layer)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Both in every layer; `mamba_d_ssm` inner channels, where it is null `mamba_expand` times the hidden size."""
    mixers = (stacks.mamba2(text, size, text.int_or_none("mamba_d_ssm")), stacks.attention(size))
    return alike(Layer(mixers=mixers, ffn=Mlp(width=size.intermediate_size)), size.layer_count)


MODELS = (Model(classes=("FalconH1ForCausalLM",), model_types=("falcon_h1",), weights=falcon_h1, layers=_layers),)
