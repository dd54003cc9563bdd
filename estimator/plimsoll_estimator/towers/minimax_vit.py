"""MiniMax-M3's tower.

Called by `models.minimax`. Source: vllm/models/minimax_m3/. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.towers.encoder import MAX_DEPTH, Block, conv, encoder, vision_config


def minimax_tower(rank: Rank) -> None:
    """MiniMax-M3: a CLIP tower with three-dimensional rope, a projector and a patch-merging MLP, both sharded."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    out, text = vision.int("projection_dim", default=rank.text.int("hidden_size")), rank.text.int("hidden_size")
    middle = rank.config.int("projector_hidden_size", default=text)
    conv(rank, vision, hidden, bias=False)
    rank.norm(hidden, bias=True)
    block = Block(attention="self_attn", qkv="qkv_proj", out="out_proj", up=("fc1",), down="fc2")
    encoder(
        rank,
        "vision_tower.vision_model.encoder.layers",
        positive(vision, "num_hidden_layers", limit=MAX_DEPTH),
        hidden,
        heads,
        vision.int("intermediate_size"),
        block,
    )
    for name, inputs, outputs in (("multi_modal_projector", hidden, out), ("patch_merge_mlp", out * 4, text)):
        rank.column(f"vision_tower.{name}", ("linear_1",), inputs, (middle,), bias=True)
        rank.row(f"vision_tower.{name}", "linear_2", middle, outputs, bias=True)
    rank.tensor(3 * (hidden // heads // 6), 4)
