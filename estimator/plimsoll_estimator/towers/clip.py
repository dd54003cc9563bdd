"""CLIP, and SigLIP where it is built like it.

Called by the towers of LLaVA, Phi-3 vision and DeepSeek-OCR. Source: vllm/model_executor/models/clip.py. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, conv, encoder


def clip_blocks(rank: Rank, vision: HfConfig, clip: bool, used: int, name: str) -> int:
    """The first `used` layers of CLIP or SigLIP without a last norm. Returns the width."""
    hidden, heads = vision.int("hidden_size", default=768), positive(vision, "num_attention_heads", default=12)
    positions = (vision.int("image_size", default=224) // positive(vision, "patch_size", default=32)) ** 2 + (1 if clip else 0)
    conv(rank, vision, hidden, bias=not clip, frames=1)
    rank.tensor(positions * hidden + (hidden if clip else 0))
    rank.tensor(positions, 8)
    if clip:
        rank.norm(hidden, bias=True)
    encoder(rank, name, used, hidden, heads, vision.int("intermediate_size", default=3072), CLIP_BLOCK)
    return hidden
