"""CLIP, and SigLIP where it is built like it.

Called by the towers of LLaVA, Phi-3 vision and DeepSeek-OCR. Source: vllm/model_executor/models/clip.py. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import tower_size
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, conv, encoder, patch_count


def clip_large(image_size: int) -> HfConfig:
    """CLIP ViT-L/14, which some classes build whatever the configuration names."""
    values = {
        "hidden_size": 1024, "image_size": image_size, "patch_size": 14, "intermediate_size": 4096, "num_attention_heads": 16,
        "num_hidden_layers": 24,
    }  # fmt: skip
    return HfConfig(values, "CLIP ViT-L/14")


def clip_blocks(rank: Rank, vision: HfConfig, clip: bool, used: int, name: str) -> int:
    """The first `used` layers of CLIP or SigLIP without a last norm. Returns the width."""
    size = tower_size(vision)
    hidden, positions = size.hidden_size, patch_count(vision) + (1 if clip else 0)
    conv(rank, vision, hidden, bias=not clip, frames=1)
    rank.tensor(positions * hidden + (hidden if clip else 0))
    rank.tensor(positions, 8)
    if clip:
        rank.norm(hidden, bias=True)
    encoder(rank, name, size, CLIP_BLOCK, layers=used)
    return hidden
