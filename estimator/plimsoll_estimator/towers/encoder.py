"""What vision towers are made of: patches by convolution, transformer blocks, rope in two dimensions.

Called by the towers, each of which is sharded over tensor parallelism, as by default. Knows no tower.
Sources: vllm/model_executor/models/{clip,siglip,qwen2_vl,vision}.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.reader import VISION, positive, tower
from plimsoll_estimator.shape import TowerSize
from plimsoll_estimator.towers.releases import tower_rules

TOWER_ROPE_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One kind of encoder block. `gated` MLPs merge two columns; biases and LayerNorm biases as flags."""

    attention: str = "attn"
    mlp: str = "mlp"
    qkv: str = "qkv"
    out: str = "proj"
    up: tuple[str, ...] = ("linear_fc1",)
    down: str = "linear_fc2"
    qkv_bias: bool = True
    out_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = True
    norms: int = 2
    gated: bool = False


CLIP_BLOCK = Block(attention="self_attn", qkv="qkv_proj", out="out_proj", up=("fc1",), down="fc2")
"""The block of CLIP and SigLIP."""
GATED_BLOCK = Block(up=("gate_proj", "up_proj"), down="down_proj", gated=True, norm_bias=False)
"""The block of Qwen2.5-VL and GLM: a gated MLP, RMSNorms."""


def vision_config(rank: Rank) -> HfConfig:
    """The vision tower's configuration as its class holds it."""
    return tower(rank.config, VISION)


def encoder(
    rank: Rank, prefix: str, size: TowerSize, block: Block, *, layers: int | None = None, head_dim: int | None = None,
    kv_heads: int | None = None,
) -> None:  # fmt: skip
    """The blocks of a vision transformer, or its first `layers`."""
    hidden, heads, intermediate = size.hidden_size, size.heads, size.intermediate_size
    width = heads * (head_dim or size.head_dim)

    def build(i: int) -> None:
        name = f"{prefix}.{i}"
        names = (block.qkv, block.qkv, block.qkv)
        rank.qkv(f"{name}.{block.attention}", hidden, heads, kv_heads or heads, width // heads, bias=block.qkv_bias, names=names)
        rank.row(f"{name}.{block.attention}", block.out, width, hidden, bias=block.out_bias)
        parts = (intermediate, intermediate) if block.gated else (intermediate,)
        rank.column(f"{name}.{block.mlp}", block.up, hidden, parts, bias=block.mlp_bias)
        rank.row(f"{name}.{block.mlp}", block.down, intermediate, hidden, bias=block.mlp_bias)
        rank.norm(hidden, bias=block.norm_bias, count=block.norms)

    rank.layers(range(size.layers if layers is None else layers), None, build)


def channels(vision: HfConfig) -> int:
    """Channels of an image: three colours unless the configuration says otherwise."""
    return vision.int("num_channels", default=3)


def conv(rank: Rank, vision: HfConfig, hidden: int, bias: bool, frames: int | None = None) -> None:
    """The convolution that cuts an image into patches, or `frames` of a video (as many as the configuration says)."""
    patch = positive(vision, "patch_size")
    temporal = vision.int("temporal_patch_size") if frames is None else frames
    rank.tensor(hidden * channels(vision) * temporal * patch * patch + (hidden if bias else 0))


def patch_count(vision: HfConfig) -> int:
    """Patches of the square image that the configuration names."""
    return (vision.int("image_size") // positive(vision, "patch_size")) ** 2


def tower_rope(rank: Rank, head_dim: int) -> None:
    """The two-dimensional rope table of Qwen-like towers, or its frequencies alone, in float32."""
    if not tower_rules(rank.version).rope_tables:
        rank.tensor(head_dim // 4, 4)
        return
    rope(rank, head_dim, TOWER_ROPE_ROWS, parameters={"rope_type": "default", "rope_theta": "tower"}, partial=0.5)


def layers_used(config: HfConfig, layers: int) -> int:
    """Layers up to the one whose features are read by `vision_feature_layer`; a list asks for the deepest. 0 is what precedes them."""
    feature = config.raw("vision_feature_layer")
    wanted = feature if isinstance(feature, list | tuple) else [feature if isinstance(feature, int) else -1]
    depths = [layer + layers + 1 if layer < 0 else layer for layer in wanted if isinstance(layer, int)]
    return min(max(depths, default=layers), layers)


def layers_to(holder: HfConfig, key: str, layers: int, default: int) -> int:
    """Layers up to and with the one whose number stands under `key`, from the end where negative."""
    index = holder.raw(key)
    if index is None:
        index = default
    if isinstance(index, bool) or not isinstance(index, int) or not -layers <= index < layers:
        raise InvalidInput(f"{holder.path}.{key}", index, f"must be a layer of {layers}")
    return index % layers + 1
