"""Phi-3 vision and Phi-3.5 vision: CLIP behind an image embedding of their own.

Called by `models.phi`. Sources: vllm/model_executor/models/{phi3v,clip}.py (0.12.0, 0.32.0, 0.33.0 agree). Knows no language model.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.towers.clip import CLIP_LARGE, clip_blocks, large_image
from plimsoll_estimator.towers.encoder import layers_to

_SIDE: Final = 336
"""phi3v.py builds CLIP ViT-L/14 of this image whatever `img_processor` names."""


def phi3v_tower(rank: Rank) -> None:
    """CLIP up to the layer read (divided), separators and a projection (whole), and a second embedding of the vocabulary.

    The published checkpoints hold one embedding; loading them replaces the second by the language model's own.
    """
    config, hidden = rank.config, rank.shape.size.hidden_size
    processor, layout = config.sub("img_processor"), config.sub("embd_layer")
    if processor is None or layout is None:
        missing = "img_processor" if processor is None else "embd_layer"
        raise InvalidInput(f"{config.path}.{missing}", None, "is required")
    if not (layout.bool("use_hd_transform") and layout.bool("with_learnable_separator")):
        raise Unsupported(Check.UNSUPPORTED_VISION_TOWER, "no rules for a Phi-3 image embedding without HD transform and separators")
    before = rank.created_bytes + rank.added_bytes
    rank.embedding(rank.shape.size.vocab_size, hidden)
    rank.added_bytes -= rank.created_bytes + rank.added_bytes - before
    used = layers_to(processor, "layer_idx", CLIP_LARGE.layers, default=-2)
    clip_blocks(rank, large_image(_SIDE), CLIP_LARGE, "vision_embed_tokens.img_processor.vision_model.encoder.layers", layers=used)
    if used == CLIP_LARGE.layers:
        rank.norm(CLIP_LARGE.hidden_size, bias=True)
    merged = processor.int("image_dim_out") * 4
    rank.norm(merged, count=2)
    rank.tensor(merged * hidden + hidden)
    rank.tensor(hidden * hidden + hidden)
