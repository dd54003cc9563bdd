"""Apertus: an ordinary decoder with an activation of its own.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/apertus.py (0.19.1 and 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models.record import Model, unless_causal
from plimsoll_estimator.models.stacks import dense

_APERTUS = DecoderStyle(
    qkv_bias=("attention_bias", "bias"),
    o_bias=("attention_bias", "bias"),
    mlp_bias=("mlp_bias",),
    gated=False,
    mlp_names=("up_proj",),
    qk_norm="head",
)


def apertus(rank: Rank) -> None:
    """ApertusForCausalLM: an activation with two parameters and two buffers per layer (xIELU)."""
    size = rank.shape.size

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _APERTUS)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _APERTUS)
        rank.tensor(4, 2)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, _APERTUS, layer)


MODELS = (Model(classes=("ApertusForCausalLM",), model_types=("apertus",), weights=apertus, layers=dense(), encodes=unless_causal),)
