"""Phi-3 vision and Phi-3.5 vision: CLIP behind an image embedding of their own.

Called by `models.phi`. Sources: vllm/model_executor/models/{phi3v,clip}.py (0.12.0, 0.32.0, 0.33.0 agree). Knows no language model.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.towers.clip import clip_blocks

_LAYERS: Final = 24
_CLIP: Final = HfConfig(
    {"hidden_size": 1024, "image_size": 336, "patch_size": 14, "intermediate_size": 4096, "num_attention_heads": 16}, "CLIP ViT-L/14"
)
"""phi3v.py builds this tower whatever `img_processor` names."""


def _layers_used(processor: HfConfig) -> int:
    """Layers up to `layer_idx`, by default the last but one."""
    index = processor.raw("layer_idx")
    if index is None:
        index = -2
    if isinstance(index, bool) or not isinstance(index, int) or not -_LAYERS <= index < _LAYERS:
        raise InvalidInput(f"{processor.path}.layer_idx", index, f"must be a layer of {_LAYERS}")
    return index + 1 if index >= 0 else _LAYERS + index + 1


def phi3v_tower(rank: Rank) -> None:
    """CLIP up to the layer read (divided), separators and a projection (whole), and a second embedding of the vocabulary.

    The published checkpoints hold one embedding; loading them replaces the second by the language model's own.
    """
    config, hidden = rank.config, rank.text.int("hidden_size")
    processor, layout = config.sub("img_processor"), config.sub("embd_layer")
    if processor is None or layout is None:
        missing = "img_processor" if processor is None else "embd_layer"
        raise InvalidInput(f"{config.path}.{missing}", None, "is required")
    if not (layout.bool("use_hd_transform") and layout.bool("with_learnable_separator")):
        raise Unsupported(Check.UNSUPPORTED_VISION_TOWER, "no rules for a Phi-3 image embedding without HD transform and separators")
    before = rank.created_bytes + rank.added_bytes
    rank.embedding(rank.text.int("vocab_size"), hidden)
    rank.added_bytes -= rank.created_bytes + rank.added_bytes - before
    used = _layers_used(processor)
    clip_blocks(rank, _CLIP, True, used, "vision_embed_tokens.img_processor.vision_model.encoder.layers")
    if used == _LAYERS:
        rank.norm(1024, bias=True)
    merged = processor.int("image_dim_out") * 4
    rank.norm(merged, count=2)
    rank.tensor(merged * hidden + hidden)
    rank.tensor(hidden * hidden + hidden)
