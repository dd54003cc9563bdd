"""Pixtral of Transformers, and Mistral 3's projector behind it.

Called by `models.mistral` and LLaVA's tower. Sources: vllm/model_executor/models/{pixtral,mistral3}.py. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import outer, tower_size
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
    size = tower_size(vision)
    conv(rank, vision, size.hidden_size, bias=False, frames=1)
    rank.norm(size.hidden_size)
    encoder(rank, "vision_tower.transformer.layers", size, _PIXTRAL, layers=layers_used(outer(rank.config), size.layers))
    rank.tensor(2 * (size.head_dim // 2), 4)


def mistral3_tower(rank: Rank) -> None:
    """Pixtral, a patch merger and a projector."""
    pixtral_tower(rank)
    hidden = tower_size(vision_config(rank)).hidden_size
    merge = outer(rank.config).int("spatial_merge_size")
    text, bias = rank.shape.size.hidden_size, outer(rank.config).bool("multimodal_projector_bias")
    rank.norm(hidden)
    rank.tensor(hidden * hidden * merge * merge)
    rank.column("multi_modal_projector", ("linear_1",), hidden, (text,), bias=bias)
    rank.row("multi_modal_projector", "linear_2", text, text, bias=bias)
