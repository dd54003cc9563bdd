"""InternViT in its own and in Transformers' form, each with its projector.

Called by `models.internvl`. Knows no language model.
Sources: vllm/model_executor/models/{intern_vit,internvl,interns1,interns1_vit}.py (0.19.1 and 0.33.0 agree).
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import positive, tower_size
from plimsoll_estimator.towers.encoder import channels, layers_to, patch_count, vision_config


def _projector(rank: Rank, hidden: int) -> None:
    """A LayerNorm and two plain linears, whole on every rank; `downsample_ratio` says how many patches are merged."""
    ratio = rank.config.float_or_none("downsample_ratio") or 0.5
    if not 0.01 <= ratio <= 1:
        raise InvalidInput(f"{rank.config.path}.downsample_ratio", ratio, "must be from 0.01 to 1")
    merged, text = hidden * int(1 / ratio) ** 2, rank.shape.size.hidden_size
    rank.norm(merged, bias=True)
    rank.tensor(merged * text + text)
    rank.tensor(text * text + text)


def internvit_tower(rank: Rank) -> None:
    """InternViT: attention is whole on every rank where its heads do not divide (25 heads of the 6B tower)."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden, heads, intermediate = size.hidden_size, size.heads, size.intermediate_size
    patch, patches = positive(vision, "patch_size"), patch_count(vision)
    rank.tensor(hidden)
    rank.tensor(3 * patch * patch * hidden + hidden)
    rank.tensor((patches + 1) * hidden)
    tp = rank.tp if heads % rank.tp == 0 else 1
    biased = vision.str_or_none("norm_type") != "rms_norm"

    def layer(i: int) -> None:
        name = f"vision_model.encoder.layers.{i}"
        qkv_bias = vision.bool("qkv_bias")
        rank.qkv(f"{name}.attn", hidden, heads, heads, size.head_dim, bias=qkv_bias, names=("qkv", "qkv", "qkv"), tp=tp)
        rank.row(f"{name}.attn", "proj", hidden, hidden, bias=True, tp=tp)
        if vision.bool("qk_normalization"):
            rank.norm(hidden, count=2)
        rank.column(f"{name}.mlp", ("fc1",), hidden, (intermediate,), bias=True)
        rank.row(f"{name}.mlp", "fc2", intermediate, hidden, bias=True)
        rank.norm(hidden, bias=biased, count=2)
        rank.tensor(2 * hidden)

    rank.layers(range(layers_to(rank.config, "select_layer", size.layers, default=-1)), None, layer)
    _projector(rank, hidden)


def _pair(vision: HfConfig, key: str) -> tuple[int, int]:
    value = vision.raw(key)
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 1 << 16 for side in sides):
        raise InvalidInput(f"{vision.path}.{key}", value, "must be one or two whole numbers from 1 to 65536")
    return sides[0], sides[1]


def internvit_hf_tower(rank: Rank) -> None:
    """InternViT of Transformers: plain attention linears, whole on every rank and unquantised; the MLP alone is divided."""
    vision = vision_config(rank)
    if not vision.bool("use_absolute_position_embeddings", True):
        raise Unsupported(Check.UNSUPPORTED_VISION_TOWER, "no rules for an InternVL tower without absolute position embeddings")
    size = tower_size(vision)
    hidden, intermediate = size.hidden_size, size.intermediate_size
    image, patch = _pair(vision, "image_size"), _pair(vision, "patch_size")
    patches = (image[0] // patch[0]) * (image[1] // patch[1])
    rank.tensor(hidden * (2 if vision.bool("use_mask_token") else 1))
    rank.tensor(channels(vision) * patch[0] * patch[1] * hidden + hidden)
    rank.tensor((patches + 1) * hidden)
    width = size.head_dim * size.heads
    qkv_bias = vision.bool("attention_bias")
    biased = vision.str_or_none("norm_type") != "rms_norm"

    def layer(i: int) -> None:
        name = f"vision_tower.encoder.layer.{i}"
        for _ in range(3):
            rank.tensor(hidden * width + (width if qkv_bias else 0))
        rank.tensor(width * hidden + hidden)
        if vision.bool("use_qk_norm"):
            rank.norm(width, count=2)
        rank.column(f"{name}.mlp", ("fc1",), hidden, (intermediate,), bias=True)
        rank.row(f"{name}.mlp", "fc2", intermediate, hidden, bias=True)
        rank.norm(hidden, bias=biased, count=2)
        rank.tensor(2 * hidden)

    def tower(inner: Rank) -> None:
        inner.layers(range(size.layers), None, layer)

    rank.unquantised(tower)
    if not vision.bool("use_mean_pooling", True):
        rank.norm(hidden, bias=True)
    _projector(rank, hidden)
