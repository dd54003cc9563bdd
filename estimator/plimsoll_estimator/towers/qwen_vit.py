"""The towers of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3-Omni.

Called by the Qwens that see, by EXAONE 4.5 and Qwen 3.5. Sources: vllm/model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl}.py.
Knows no language model.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import tower_size
from plimsoll_estimator.towers.encoder import GATED_BLOCK, Block, conv, encoder, patch_count, tower_rope, vision_config

_MOST_LEVELS: Final = 64


def _merger(rank: Rank, name: str, merged: int, out: int, names: tuple[str, str] = ("linear_fc1", "linear_fc2")) -> None:
    rank.column(name, (names[0],), merged, (merged,), bias=True)
    rank.row(name, names[1], merged, out, bias=True)


def qwen3_tower(rank: Rank) -> None:
    """Qwen3-VL and Qwen3.5: learned positions, LayerNorm blocks, mergers (also of deep-stack levels)."""
    positions = vision_config(rank).int("num_position_embeddings")
    _qwen3_tower(rank, positions, "visual.deepstack_merger_list", "", ("linear_fc1", "linear_fc2"))


def qwen3_omni_tower(rank: Rank) -> None:
    """Qwen3-Omni: as Qwen3-VL, with a position for every patch of the configured image."""
    vision = vision_config(rank)
    _qwen3_tower(rank, patch_count(vision), "visual.merger_list", ".mlp", ("0", "2"))


def _qwen3_tower(rank: Rank, positions: int, deep: str, inner: str, names: tuple[str, str]) -> None:
    """`deep`, `inner` and `names` say what the class calls its deep-stack mergers and their two linears."""
    vision = vision_config(rank)
    size, out = tower_size(vision), vision.int("out_hidden_size")
    hidden = size.hidden_size
    merged = hidden * vision.int("spatial_merge_size") ** 2
    conv(rank, vision, hidden, bias=True)
    rank.tensor(positions * hidden)
    rank.norm(hidden, bias=True)
    _merger(rank, f"visual.merger{inner}", merged, out, names)
    indexes = vision.list_or_none("deepstack_visual_indexes") or ()
    levels = len(indexes)
    if levels > _MOST_LEVELS:
        raise InvalidInput(f"{vision.path}.deepstack_visual_indexes", levels, f"levels are too many: at most {_MOST_LEVELS}")
    for level in range(levels):
        rank.norm(merged, bias=True)
        _merger(rank, f"{deep}.{level}{inner}", merged, out, names)
    encoder(rank, "visual.blocks", size, Block())
    tower_rope(rank, size.head_dim)


def qwen2_tower(rank: Rank) -> None:
    """Qwen2-VL: plain MLPs, LayerNorms, no positions."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden = size.hidden_size
    merged = hidden * vision.int("spatial_merge_size") ** 2
    conv(rank, vision, hidden, bias=False)
    encoder(rank, "visual.blocks", size, Block(up=("fc1",), down="fc2"))
    rank.norm(hidden, bias=True)
    _merger(rank, "visual.merger.mlp", merged, vision.int("hidden_size"), ("0", "2"))
    tower_rope(rank, size.head_dim)


def qwen2_5_tower(rank: Rank) -> None:
    """Qwen2.5-VL: gated MLPs, RMSNorms."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden = size.hidden_size
    merged = hidden * vision.int("spatial_merge_size") ** 2
    conv(rank, vision, hidden, bias=False)
    encoder(rank, "visual.blocks", size, GATED_BLOCK, kv_heads=vision.int_or_none("num_key_value_heads"))
    rank.norm(hidden)
    _merger(rank, "visual.merger.mlp", merged, vision.int("out_hidden_size"), ("0", "2"))
    tower_rope(rank, size.head_dim)
