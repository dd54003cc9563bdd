"""BLOOM: ALiBi instead of positions.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/bloom.py (0.19.1 and 0.33.0).
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense

_BLOOM = DecoderStyle(
    qkv_bias="yes",
    o_bias="yes",
    mlp_bias="yes",
    gated=False,
    norm_bias=True,
    attention="self_attention",
    o_name="dense",
    mlp_names=("dense_h_to_4h",),
    down_name="dense_4h_to_h",
    every_stage=("embedding", "norm"),
)


def bloom(rank: Rank) -> None:
    """BloomForCausalLM: ALiBi instead of positions, biases everywhere, a LayerNorm behind the embedding."""
    size = rank.shape.size
    rank.norm(size.hidden_size, bias=True)

    def layer(i: int) -> None:
        name = f"h.{i}"
        attention(rank, name, size, _BLOOM)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _BLOOM)
        rank.norm(size.hidden_size, bias=True, count=2)

    stack(rank, size, _BLOOM, layer)


def _fourfold(text: HfConfig) -> Mapping[str, int]:
    return {"intermediate_size": 4 * text.int("hidden_size")}


MODELS = (Model(classes=("BloomForCausalLM",), model_types=("bloom",), weights=bloom, layers=dense(), overrides=_fourfold),)
