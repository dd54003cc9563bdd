"""MiniMax-M3's tower.

Called by `models.minimax`. Source: vllm/models/minimax_m3/. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import tower_size
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, conv, encoder, vision_config


def minimax_tower(rank: Rank) -> None:
    """MiniMax-M3: a CLIP tower with three-dimensional rope, a projector and a patch-merging MLP, both sharded."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden = size.hidden_size
    text = rank.shape.size.hidden_size
    out = vision.int("projection_dim", default=text)
    middle = rank.config.int("projector_hidden_size", default=text)
    conv(rank, vision, hidden, bias=False)
    rank.norm(hidden, bias=True)
    encoder(rank, "vision_tower.vision_model.encoder.layers", size, CLIP_BLOCK)
    for name, inputs, outputs in (("multi_modal_projector", hidden, out), ("patch_merge_mlp", out * 4, text)):
        rank.column(f"vision_tower.{name}", ("linear_1",), inputs, (middle,), bias=True)
        rank.row(f"vision_tower.{name}", "linear_2", middle, outputs, bias=True)
    rank.tensor(3 * (size.head_dim // 6), 4)
