"""Gemma 4's tower.

Called by `models.gemma`. Source: vllm/model_executor/models/gemma4_mm.py. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import positive, tower_size
from plimsoll_estimator.towers.encoder import vision_config


def gemma4_tower(rank: Rank) -> None:
    """Gemma 4's tower is Transformers' own module: replicated, never quantised; clipped linears keep four bounds each."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden, heads, intermediate = size.hidden_size, size.heads, size.intermediate_size
    kv_heads = vision.int("num_key_value_heads")
    head_dim = vision.int("head_dim")
    rank.tensor(2 * vision.int("position_embedding_size") * hidden)
    rank.tensor(hidden * 3 * positive(vision, "patch_size") ** 2)
    per_layer = hidden * head_dim * (2 * heads + 2 * kv_heads) + 2 * head_dim + 3 * hidden * intermediate + 4 * hidden
    if vision.bool("use_clipped_linears"):
        per_layer += 7 * 4
    rank.tensor(size.layers * per_layer)
    if vision.bool("standardize"):
        rank.tensor(2 * hidden)
    rank.tensor(hidden * rank.shape.size.hidden_size)
    rank.tensor(2 * (head_dim // 4), 4)
