"""Step's perception encoder: rotary positions in two dimensions, two halving convolutions, one projection.

Called by `models.step`. Sources: vllm/model_executor/models/{step_vl,step3p7}.py (0.15.1, 0.25.1, 0.28.0 and 0.33.0 agree).
Knows no language model.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import tower_size
from plimsoll_estimator.towers.encoder import Block, conv, encoder, patch_count, vision_config

_BLOCK: Final = Block(qkv="qkv_proj", out="out_proj", up=("fc1",), down="fc2")


def perception_tower(rank: Rank) -> None:
    """Blocks and projection divided; convolutions, positions and each block's float32 table of rotations whole."""
    vision = vision_config(rank)
    size = tower_size(vision)
    width, layers = size.hidden_size, size.layers
    if not vision.bool("use_rope2d", True):
        raise EngineRefusal(Check.ROTARY_POSITIONS_REQUIRED, "use_rope2d must be True")
    token = 1 if vision.bool("use_cls_token") else 0
    positions = patch_count(vision) + token
    conv(rank, vision, width, bias=False, frames=1)
    rank.norm(width, bias=True, count=int(vision.bool("use_ln_pre", True)) + int(vision.bool("use_ln_post", True)))
    encoder(rank, "vision_model.transformer.resblocks", size, _BLOCK)
    if "ls_init_value" in vision:
        rank.norm(width, count=2 * layers)
    rank.layers(range(layers), None, lambda _: rank.tensor(positions * (size.head_dim // 4 * 4), 4))
    rank.tensor(width * 2 * width * 9 + 2 * width)
    rank.tensor(2 * width * 4 * width * 9 + 4 * width)
    rank.tensor(token * width)
    if vision.bool("use_abs_posemb", True):
        rank.tensor(positions * width)
    rank.column("", ("vit_large_projector",), 4 * width, (rank.shape.size.hidden_size,), bias=rank.config.bool("projector_bias"))
