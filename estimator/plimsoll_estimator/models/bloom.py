"""BLOOM: ALiBi instead of positions.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/bloom.py (0.19.1 and 0.33.0).
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.rank import Rank

_BLOOM = DecoderStyle(
    qkv_bias="yes",
    o_bias="yes",
    mlp_bias="yes",
    gated=False,
    norm_bias=True,
    tied=True,
    attention="self_attention",
    o_name="dense",
    mlp_names=("dense_h_to_4h",),
    down_name="dense_4h_to_h",
    embedding_always=True,
    norm_always=True,
)


def bloom(rank: Rank) -> None:
    """BloomForCausalLM: ALiBi instead of positions, biases everywhere, a LayerNorm behind the embedding."""
    text = rank.text
    hidden = text.int("hidden_size", "n_embed")
    size = replace(
        sizes(HfConfig({**text.as_mapping(), "hidden_size": hidden}, text.path), _BLOOM, rank.config), intermediate_size=4 * hidden
    )
    rank.norm(hidden, bias=True)

    def layer(i: int) -> None:
        name = f"h.{i}"
        attention(rank, name, size, _BLOOM)
        mlp(rank, f"{name}.mlp", hidden, size.intermediate_size, _BLOOM)
        rank.norm(hidden, bias=True, count=2)

    stack(rank, size, _BLOOM, layer)
