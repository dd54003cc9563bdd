"""dots.ocr: Qwen 2's decoder behind a vision transformer of its own; one configuration holds the language's keys beside the tower's.

Knows no quantisation. Sources: vllm/model_executor/models/dots_ocr.py (0.11.0 to 0.33.0 build the same) and
vllm/transformers_utils/configs/dotsocr.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from plimsoll_estimator.layers.decoder import DecoderStyle, build_decoder
from plimsoll_estimator.layers.rank import FLOAT32, Rank
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense
from plimsoll_estimator.reader import MAX_WIDTH, positive, tower_size
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.encoder import Block, conv, encoder, vision_config

_BLOCK: Final = Block(up=("fc1", "fc3"), down="fc2", gated=True, norm_bias=False)


def _tower(rank: Rank) -> None:
    """DotsVisionTransformer: normed patches of single frames, RMSNorm blocks with gated MLPs, frequencies of rotation in float32."""
    vision = vision_config(rank)
    size, biased = tower_size(vision), vision.bool("use_bias")
    conv(rank, vision, size.hidden_size, bias=True, frames=1)
    rank.norm(size.hidden_size)
    encoder(rank, "vision_tower.blocks", size, replace(_BLOCK, qkv_bias=biased, out_bias=biased, mlp_bias=biased))
    rank.norm(size.hidden_size, count=int(vision.bool("post_norm", True)))
    rank.tensor(size.head_dim // 4, FLOAT32)
    rank.unquantised(_merger)


def _merger(rank: Rank) -> None:
    """PatchMerger: neighbouring patches become one token of `hidden_size`. Its class hands no quantisation on."""
    vision = vision_config(rank)
    hidden = tower_size(vision).hidden_size
    merged = hidden * positive(vision, "spatial_merge_size", limit=MAX_WIDTH) ** 2
    rank.norm(hidden, bias=True)
    rank.column("vision_tower.merger.mlp", ("0",), merged, (merged,), bias=True)
    rank.row("vision_tower.merger.mlp", "2", merged, positive(vision, "hidden_size", limit=MAX_WIDTH), bias=True)


MODELS = (
    Model(
        classes=("DotsOCRForCausalLM",),
        model_types=("dots_ocr",),
        weights=with_tower(_tower, partial(build_decoder, style=DecoderStyle(qkv_bias="yes"))),
        layers=dense(windows=False),
        multimodal=True,
    ),
)
