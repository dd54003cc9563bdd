"""Pixtral of Transformers, and Mistral 3's projector behind it.

Called by `models.mistral` and LLaVA's tower. Sources: vllm/model_executor/models/{pixtral,mistral3}.py. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.towers.encoder import Block, conv, encoder, layers_used, vision_config

_PIXTRAL = Block(
    attention="attention",
    mlp="feed_forward",
    qkv="qkv_proj",
    out="o_proj",
    up=("gate_proj", "up_proj"),
    down="down_proj",
    gated=True,
    qkv_bias=False,
    out_bias=False,
    mlp_bias=False,
    norm_bias=False,
)


def pixtral_tower(rank: Rank) -> None:
    """Pixtral of Transformers: RMSNorms, gated MLPs, inverse frequencies in float32 (stored twice)."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size", default=1024), positive(vision, "num_attention_heads", default=16)
    layers = positive(vision, "num_hidden_layers", default=24, limit=4096)
    conv(rank, vision, hidden, bias=False, frames=1)
    rank.norm(hidden)
    used = layers_used(rank.config, layers)
    encoder(rank, "vision_tower.transformer.layers", used, hidden, heads, vision.int("intermediate_size", default=4096), _PIXTRAL)
    rank.tensor(2 * (hidden // heads // 2), 4)


def mistral3_tower(rank: Rank) -> None:
    """Pixtral, a patch merger and a projector."""
    pixtral_tower(rank)
    hidden = vision_config(rank).int("hidden_size", default=1024)
    merge = rank.config.int("spatial_merge_size", default=2)
    text, bias = rank.text.int("hidden_size", default=4096), rank.config.bool("multimodal_projector_bias")
    rank.norm(hidden)
    rank.tensor(hidden * hidden * merge * merge)
    rank.column("multi_modal_projector", ("linear_1",), hidden, (text,), bias=bias)
    rank.row("multi_modal_projector", "linear_2", text, text, bias=bias)
