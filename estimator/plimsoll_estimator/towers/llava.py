"""LLaVA's tower: CLIP, SigLIP or Pixtral up to the layer whose features are read, and a projector.

Called by `models.llava`. Sources: vllm/model_executor/models/{llava,llava_next,llava_onevision,llava_next_video}.py.
Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import outer, tower_size
from plimsoll_estimator.towers.clip import clip_blocks
from plimsoll_estimator.towers.encoder import layers_used, vision_config
from plimsoll_estimator.towers.pixtral import pixtral_tower


def llava_tower(rank: Rank, split: bool = True) -> None:
    """CLIP, SigLIP or Pixtral up to the feature layer, and a two-layer projector, split over the ranks or whole."""
    vision, config = vision_config(rank), outer(rank.config)
    kind, size = vision.model_type, tower_size(vision)
    if kind == "pixtral":
        pixtral_tower(rank)
    elif kind in ("clip_vision_model", "siglip_vision_model"):
        used = layers_used(config, size.layers)
        clip_blocks(rank, vision, size, "vision_tower.vision_model.encoder.layers", layers=used, clip=kind == "clip_vision_model")
    else:
        raise Unsupported(Check.UNSUPPORTED_VISION_TOWER, f"no rules for the vision tower {kind[:80] or 'without a model_type'}")
    listed = config.raw("vision_feature_layer")
    inputs = size.hidden_size * (len(listed) if isinstance(listed, list | tuple) else 1)
    text, bias = rank.shape.size.hidden_size, config.bool("multimodal_projector_bias", True)
    if split:
        rank.column("multi_modal_projector", ("linear_1",), inputs, (text,), bias=bias)
        rank.row("multi_modal_projector", "linear_2", text, text, bias=bias)
    else:
        rank.tensor(inputs * text + text * text + (2 * text if bias else 0))


def whole_llava_tower(rank: Rank) -> None:
    """LLaVA-OneVision and LLaVA-NeXT-Video: the projector is whole on every rank and never quantised."""
    llava_tower(rank, split=False)
