"""The towers of GLM-4.1V, GLM-4.5V and GLM-OCR.

Called by `models.glm`. Sources: vllm/model_executor/models/{glm4_1v,glm_ocr}.py. Knows no language model.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import tower_size
from plimsoll_estimator.towers.encoder import GATED_BLOCK, conv, encoder, patch_count, tower_rope, vision_config


def glm4v_tower(rank: Rank) -> None:
    """GLM-4.1V and GLM-4.5V: gated blocks without biases, a convolution that merges, a gated merger."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden, out, merge = size.hidden_size, vision.int("out_hidden_size"), vision.int("spatial_merge_size")
    patches, context = patch_count(vision), size.intermediate_size
    conv(rank, vision, hidden, bias=True)
    rank.tensor(patches * hidden)
    rank.tensor(patches, 8)
    rank.norm(hidden, count=2)
    rank.tensor(out * hidden * merge * merge + out)
    bias = vision.bool("attention_bias")
    block = replace(GATED_BLOCK, qkv_bias=bias, out_bias=False, mlp_bias=False)
    encoder(rank, "visual.blocks", size._replace(intermediate_size=out), block)
    rank.column("visual.merger", ("proj",), out, (out,))
    rank.norm(out, bias=True)
    rank.column("visual.merger", ("gate_proj", "up_proj"), out, (context, context))
    rank.row("visual.merger", "down_proj", context, out)
    tower_rope(rank, size.head_dim)


def glm_ocr_tower(rank: Rank) -> None:
    """GLM-OCR: GLM-V's blocks with biases and norms on the heads, without learned positions."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden, out, merge = size.hidden_size, vision.int("out_hidden_size"), vision.int("spatial_merge_size")
    context = rank.shape.size.intermediate_size
    conv(rank, vision, hidden, bias=True)
    encoder(rank, "visual.blocks", size, GATED_BLOCK)
    rank.norm(size.head_dim, count=2 * size.layers)
    rank.norm(hidden)
    rank.tensor(out * hidden * merge * merge + out)
    rank.column("visual.merger", ("proj",), out, (out,))
    rank.norm(out, bias=True)
    rank.column("visual.merger", ("gate_proj", "up_proj"), out, (context, context))
    rank.row("visual.merger", "down_proj", context, out)
    tower_rope(rank, size.head_dim)
