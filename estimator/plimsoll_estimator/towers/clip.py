"""CLIP, and SigLIP where it is built like it.

Called by the towers of LLaVA, Phi-3 vision and DeepSeek-OCR. Source: vllm/model_executor/models/clip.py. Knows no language model.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.shape import TowerSize
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, conv, encoder, patch_count

CLIP_LARGE: Final = TowerSize(layers=24, hidden_size=1024, heads=16, intermediate_size=4096)
"""CLIP ViT-L/14, which some classes build whatever the configuration names."""


def large_image(side: int) -> HfConfig:
    """What CLIP ViT-L/14 says of its images, of `side` pixels."""
    return HfConfig({"image_size": side, "patch_size": 14}, "CLIP ViT-L/14")


def clip_blocks(rank: Rank, vision: HfConfig, size: TowerSize, name: str, *, layers: int, clip: bool = True) -> None:
    """The first `layers` of CLIP or SigLIP without a last norm."""
    hidden, positions = size.hidden_size, patch_count(vision) + (1 if clip else 0)
    conv(rank, vision, hidden, bias=not clip, frames=1)
    rank.tensor(positions * hidden + (hidden if clip else 0))
    rank.tensor(positions, 8)
    if clip:
        rank.norm(hidden, bias=True)
    encoder(rank, name, size, CLIP_BLOCK, layers=layers)
