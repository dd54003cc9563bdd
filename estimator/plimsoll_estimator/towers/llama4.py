"""Llama 4's tower.

Called by `models.llama4`. Source: vllm/model_executor/models/mllama4.py. Knows no language model.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import positive, tower_size
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, encoder, patch_count, vision_config


def llama4_tower(rank: Rank) -> None:
    """Llama 4: class token and positions, LayerNorms, an adapter by pixel shuffle, a projector, complex rope."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden, patch, positions = size.hidden_size, positive(vision, "patch_size"), patch_count(vision) + 1
    rank.tensor(hidden + positions * hidden)
    rank.column("vision_model.patch_embedding", ("linear",), 3 * patch * patch, (hidden,))
    rank.norm(hidden, bias=True, count=2)
    encoder(rank, "vision_model.model.layers", size, replace(CLIP_BLOCK, qkv="q_proj", out="o_proj"))
    projected_in, projected_out = vision.int("projector_input_dim"), vision.int("projector_output_dim")
    rank.column("vision_model.vision_adapter.mlp", ("fc1",), size.intermediate_size, (projected_in,))
    rank.row("vision_model.vision_adapter.mlp", "fc2", projected_in, projected_out)
    rank.column("multi_modal_projector", ("linear_1",), vision.int("vision_output_dim"), (rank.shape.size.hidden_size,))
    rank.tensor(positions * size.head_dim // 2, 8)
