"""MoonViT in its three forms: Kimi-VL, Kimi-K2.5, Kimi-K3.

Called by `models.kimi`. Sources: vllm/model_executor/models/{moonvit,kimi_vl,kimi_k25}.py (0.33.0). Knows no language model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import tower_size
from plimsoll_estimator.towers.encoder import Block, conv, encoder, vision_config
from plimsoll_estimator.towers.releases import tower_rules

_BLOCK: Final = Block(attention="self_attn", qkv="wqkv", out="wo", up=("fc0",), down="fc1")


def moonvit_blocks(rank: Rank, vision: HfConfig, frames: int) -> int:
    """MoonViT without its projector (but with the projector's norm); `frames` time positions in three-dimensional ones."""
    rules = tower_rules(rank.version)
    size = tower_size(vision)
    hidden, layers, intermediate = size.hidden_size, size.layers, size.intermediate_size
    conv(rank, vision, hidden, bias=True, frames=1)
    rank.tensor(vision.int("pos_emb_height") * vision.int("pos_emb_width") * hidden)
    reached = rank.resolved.quantization not in (None, "compressed-tensors")
    rank.tensor(frames * hidden, 4 if rules.moonvit_time_float32 and reached else None)
    if not rules.divides_moonvit:
        rank.tensor(layers * (4 * hidden * (hidden + 1) + intermediate * (2 * hidden + 1) + hidden))
        rank.norm(hidden, bias=True, count=2 * layers)
    else:
        encoder(rank, "vision_tower.encoder.blocks", size, _BLOCK)
    rank.norm(hidden, bias=True, count=2)
    return hidden


def moonvit_tower(rank: Rank) -> None:
    """Kimi-K2.5's three-dimensional MoonViT; the projector is replicated."""
    vision = vision_config(rank)
    hidden = moonvit_blocks(rank, vision, vision.int("pos_emb_time"))
    merged = hidden * 4
    rank.replicated("mm_projector", ("linear_1",), merged, (merged,), bias=True)
    rank.replicated("mm_projector", ("linear_2",), merged, (rank.shape.size.hidden_size,), bias=True)


def kimi_vl_tower(rank: Rank) -> None:
    """MoonViT in two dimensions and a replicated projector."""
    vision = vision_config(rank)
    hidden = moonvit_blocks(rank, vision, frames=0)
    merged = hidden * 4
    rank.replicated("multi_modal_projector", ("linear_1",), merged, (merged,), bias=True)
    rank.replicated("multi_modal_projector", ("linear_2",), merged, (rank.shape.size.hidden_size,), bias=True)


def kimi_k3_tower(rank: Rank) -> None:
    """MoonViT with RMSNorms and no biases, wider heads than its hidden size, and a replicated projector."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden, width = size.hidden_size, vision.int("qkv_hidden_size")
    conv(rank, vision, hidden, bias=vision.bool("patch_embed_proj_bias"), frames=1)
    rank.tensor(vision.int("pos_emb_height") * vision.int("pos_emb_width") * hidden)
    rank.tensor(vision.int("pos_emb_time") * hidden, 4)
    bias = vision.bool("attn_bias")
    block = replace(
        _BLOCK,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=vision.bool("linear_bias"),
        norm_bias=vision.str_or_none("norm_type") != "rmsnorm",
    )
    encoder(rank, "vision_tower.encoder.blocks", size, block, head_dim=width // size.heads)
    rank.norm(hidden, bias=block.norm_bias)
    merged, text = hidden * 4, rank.shape.size.hidden_size
    rank.replicated("mm_projector", ("linear_1",), merged, (merged,))
    rank.replicated("mm_projector", ("linear_2",), merged, (text,))
    rank.norm(text)
