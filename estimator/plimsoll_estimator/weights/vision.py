"""Vision towers and their projectors: Qwen-VL, GLM-V, SigLIP (Gemma 3), Gemma 4, Llama 4, MoonViT (Kimi).

Each builder gets the rank and adds the tower that vLLM builds for it (sharded over tensor parallelism, as by default).
Sources: vllm/model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,glm4_1v,siglip,gemma4_mm,mllama4,kimi_k25}.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights.rank import Rank, positive
from plimsoll_estimator.weights.rope import rope

TOWER_ROPE_ROWS = 8192
MAX_DEPTH = 4096
_MOST_LEVELS: Final = 64


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


def vision_config(rank: Rank) -> HfConfig:
    """`vision_config` of the root, or of its thinker; empty when there is none."""
    holder = rank.config.sub("thinker_config") or rank.config
    return holder.sub("vision_config") or HfConfig({}, f"{holder.path}.vision_config")


def encoder(
    rank: Rank, prefix: str, layers: int, hidden: int, heads: int, intermediate: int, block: Block, head_dim: int | None = None,
    kv_heads: int | None = None,
) -> None:  # fmt: skip
    """The blocks of a vision transformer."""
    width = heads * (head_dim or hidden // heads)

    def build(i: int) -> None:
        name = f"{prefix}.{i}"
        names = (block.qkv, block.qkv, block.qkv)
        rank.qkv(f"{name}.{block.attention}", hidden, heads, kv_heads or heads, width // heads, bias=block.qkv_bias, names=names)
        rank.row(f"{name}.{block.attention}", block.out, width, hidden, bias=block.out_bias)
        parts = (intermediate, intermediate) if block.gated else (intermediate,)
        rank.column(f"{name}.{block.mlp}", block.up, hidden, parts, bias=block.mlp_bias)
        rank.row(f"{name}.{block.mlp}", block.down, intermediate, hidden, bias=block.mlp_bias)
        rank.norm(hidden, bias=block.norm_bias, count=block.norms)

    rank.layers(range(layers), None, build)


def _merger(rank: Rank, name: str, merged: int, out: int, names: tuple[str, str] = ("linear_fc1", "linear_fc2")) -> None:
    rank.column(name, (names[0],), merged, (merged,), bias=True)
    rank.row(name, names[1], merged, out, bias=True)


def conv(rank: Rank, vision: HfConfig, hidden: int, bias: bool, frames: int | None = None) -> None:
    """The convolution that cuts an image into patches, or `frames` of a video (as many as the configuration says: 2)."""
    patch = positive(vision, "patch_size")
    temporal = vision.int("temporal_patch_size", default=2) if frames is None else frames
    channels = vision.int("in_channels", "in_chans", "num_channels", default=3)
    rank.tensor(hidden * channels * temporal * patch * patch + (hidden if bias else 0))


def qwen3_tower(rank: Rank) -> None:
    """Qwen3-VL and Qwen3.5: learned positions, LayerNorm blocks, mergers (also of deep-stack levels)."""
    positions = vision_config(rank).int("num_position_embeddings", default=2304)
    _qwen3_tower(rank, positions, "visual.deepstack_merger_list", "", ("linear_fc1", "linear_fc2"))


def qwen3_omni_tower(rank: Rank) -> None:
    """Qwen3-Omni: as Qwen3-VL, with a position for every patch of the configured image."""
    vision = vision_config(rank)
    side = vision.int("image_size", default=768) // positive(vision, "patch_size")
    _qwen3_tower(rank, side * side, "visual.merger_list", ".mlp", ("0", "2"))


def _qwen3_tower(rank: Rank, positions: int, deep: str, inner: str, names: tuple[str, str]) -> None:
    """`deep`, `inner` and `names` say what the class calls its deep-stack mergers and their two linears."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_heads")
    out = vision.int("out_hidden_size")
    merged = hidden * vision.int("spatial_merge_size", default=2) ** 2
    conv(rank, vision, hidden, bias=True)
    rank.tensor(positions * hidden)
    rank.norm(hidden, bias=True)
    _merger(rank, f"visual.merger{inner}", merged, out, names)
    indexes = vision.list_or_none("deepstack_visual_indexes") or ()
    levels = len(indexes)
    if levels > _MOST_LEVELS:
        raise InvalidInput(f"{vision.path}.deepstack_visual_indexes", levels, f"levels are too many: at most {_MOST_LEVELS}")
    for level in range(levels):
        rank.norm(merged, bias=True)
        _merger(rank, f"{deep}.{level}{inner}", merged, out, names)
    encoder(rank, "visual.blocks", positive(vision, "depth", limit=MAX_DEPTH), hidden, heads, vision.int("intermediate_size"), Block())
    tower_rope(rank, hidden // heads)


def tower_rope(rank: Rank, head_dim: int) -> None:
    """The two-dimensional rope table of Qwen-like towers; before 0.13 only its frequencies, in float32."""
    if rank.version < (0, 13):
        rank.tensor(head_dim // 4, 4)
        return
    rope(rank, head_dim, TOWER_ROPE_ROWS, parameters={"rope_type": "default", "rope_theta": "tower"}, partial=0.5)


def qwen2_tower(rank: Rank) -> None:
    """Qwen2-VL: plain MLPs, LayerNorms, no positions."""
    vision = vision_config(rank)
    hidden, heads = vision.int("embed_dim", default=1280), positive(vision, "num_heads", default=16)
    merged = hidden * vision.int("spatial_merge_size", default=2) ** 2
    conv(rank, vision, hidden, bias=False)
    ratio = vision.float_or_none("mlp_ratio") or 4.0
    block = Block(up=("fc1",), down="fc2")
    encoder(rank, "visual.blocks", positive(vision, "depth", limit=MAX_DEPTH, default=32), hidden, heads, int(hidden * ratio), block)
    rank.norm(hidden, bias=True)
    _merger(rank, "visual.merger.mlp", merged, vision.int("hidden_size", default=rank.text.int("hidden_size")), ("0", "2"))
    tower_rope(rank, hidden // heads)


def qwen2_5_tower(rank: Rank) -> None:
    """Qwen2.5-VL: gated MLPs, RMSNorms."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size", default=1280), positive(vision, "num_heads", default=16)
    merged = hidden * vision.int("spatial_merge_size", default=2) ** 2
    conv(rank, vision, hidden, bias=False)
    block = Block(up=("gate_proj", "up_proj"), down="down_proj", gated=True, norm_bias=False)
    depth, wide = positive(vision, "depth", limit=MAX_DEPTH, default=32), vision.int("intermediate_size")
    encoder(rank, "visual.blocks", depth, hidden, heads, wide, block, kv_heads=vision.int_or_none("num_key_value_heads"))
    rank.norm(hidden)
    _merger(rank, "visual.merger.mlp", merged, vision.int("out_hidden_size"), ("0", "2"))
    tower_rope(rank, hidden // heads)


def glm4v_tower(rank: Rank) -> None:
    """GLM-4.1V and GLM-4.5V: gated blocks without biases, a convolution that merges, a gated merger."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_heads")
    out, merge = vision.int("out_hidden_size"), vision.int("spatial_merge_size", default=2)
    patches = (vision.int("image_size") // positive(vision, "patch_size")) ** 2
    context = vision.int("intermediate_size")
    conv(rank, vision, hidden, bias=True)
    rank.tensor(patches * hidden)
    rank.tensor(patches, 8)
    rank.norm(hidden, count=2)
    rank.tensor(out * hidden * merge * merge + out)
    bias = vision.bool("attention_bias")
    block = Block(up=("gate_proj", "up_proj"), down="down_proj", gated=True, qkv_bias=bias, out_bias=False, mlp_bias=False, norm_bias=False)
    encoder(rank, "visual.blocks", positive(vision, "depth", limit=MAX_DEPTH), hidden, heads, out, block)
    rank.column("visual.merger", ("proj",), out, (out,))
    rank.norm(out, bias=True)
    rank.column("visual.merger", ("gate_proj", "up_proj"), out, (context, context))
    rank.row("visual.merger", "down_proj", context, out)
    tower_rope(rank, hidden // heads)


def siglip_tower(rank: Rank, prefix: str = "vision_tower.vision_model") -> None:
    """SigLIP: learned positions with their int64 indices, biases everywhere."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    patches = (vision.int("image_size") // positive(vision, "patch_size")) ** 2
    conv(rank, vision, hidden, bias=True, frames=1)
    rank.tensor(patches * hidden)
    rank.tensor(patches, 8)
    block = Block(attention="self_attn", qkv="qkv_proj", out="out_proj", up=("fc1",), down="fc2")
    encoder(
        rank,
        f"{prefix}.encoder.layers",
        positive(vision, "num_hidden_layers", limit=MAX_DEPTH),
        hidden,
        heads,
        vision.int("intermediate_size"),
        block,
    )
    rank.norm(hidden, bias=True)


def gemma3_tower(rank: Rank) -> None:
    """SigLIP and Gemma 3's projector."""
    siglip_tower(rank)
    hidden = vision_config(rank).int("hidden_size")
    rank.tensor(hidden * rank.text.int("hidden_size"))
    rank.norm(hidden)


def gemma4_tower(rank: Rank) -> None:
    """Gemma 4's tower is Transformers' own module: replicated, never quantised; clipped linears keep four bounds each."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    kv_heads = vision.int("num_key_value_heads", default=heads)
    head_dim = vision.int("head_dim", default=hidden // heads)
    intermediate, layers = vision.int("intermediate_size"), positive(vision, "num_hidden_layers", limit=MAX_DEPTH)
    rank.tensor(2 * vision.int("position_embedding_size", default=10240) * hidden)
    rank.tensor(hidden * 3 * positive(vision, "patch_size") ** 2)
    per_layer = hidden * head_dim * (2 * heads + 2 * kv_heads) + 2 * head_dim + 3 * hidden * intermediate + 4 * hidden
    if vision.bool("use_clipped_linears"):
        per_layer += 7 * 4
    rank.tensor(layers * per_layer)
    if vision.bool("standardize"):
        rank.tensor(2 * hidden)
    rank.tensor(hidden * rank.text.int("hidden_size"))
    rank.tensor(2 * (head_dim // 4), 4)


def llama4_tower(rank: Rank) -> None:
    """Llama 4: class token and positions, LayerNorms, an adapter by pixel shuffle, a projector, complex rope."""
    vision = rank.config.sub("vision_config") or HfConfig({}, "vision_config")
    hidden, heads = vision.int("hidden_size", default=768), positive(vision, "num_attention_heads", default=16)
    patch, image = positive(vision, "patch_size", default=14), vision.int("image_size", default=448)
    layers, intermediate = positive(vision, "num_hidden_layers", limit=MAX_DEPTH, default=34), vision.int("intermediate_size", default=5632)
    positions = (image // patch) ** 2 + 1
    rank.tensor(hidden + positions * hidden)
    rank.column("vision_model.patch_embedding", ("linear",), 3 * patch * patch, (hidden,))
    rank.norm(hidden, bias=True, count=2)
    block = Block(attention="self_attn", qkv="q_proj", out="o_proj", up=("fc1",), down="fc2")
    encoder(rank, "vision_model.model.layers", layers, hidden, heads, intermediate, block)
    projected_in, projected_out = vision.int("projector_input_dim", default=4096), vision.int("projector_output_dim", default=4096)
    rank.column("vision_model.vision_adapter.mlp", ("fc1",), intermediate, (projected_in,))
    rank.row("vision_model.vision_adapter.mlp", "fc2", projected_in, projected_out)
    rank.column("multi_modal_projector", ("linear_1",), vision.int("vision_output_dim", default=7680), (rank.text.int("hidden_size"),))
    rank.tensor(positions * (hidden // heads) // 2, 8)


_MOONVIT_SPLIT_SINCE: Final = (0, 15)
"""Its blocks were whole on every rank in 0.13 and are split in 0.15."""


def moonvit_blocks(rank: Rank, vision: HfConfig, frames: int) -> int:
    """MoonViT without its projector (but with the projector's norm); `frames` time positions in three-dimensional ones."""
    hidden = vision.int("vt_hidden_size", "hidden_size")
    heads = positive(vision, "vt_num_attention_heads", "num_attention_heads")
    layers = positive(vision, "vt_num_hidden_layers", "num_hidden_layers", limit=MAX_DEPTH)
    intermediate = vision.int("vt_intermediate_size", "intermediate_size")
    conv(rank, vision, hidden, bias=True, frames=1)
    rank.tensor(vision.int("init_pos_emb_height", default=64) * vision.int("init_pos_emb_width", default=64) * hidden)
    rank.tensor(frames * hidden, 4 if rank.version >= (0, 20) else None)
    block = Block(attention="self_attn", qkv="wqkv", out="wo", up=("fc0",), down="fc1")
    if rank.version < _MOONVIT_SPLIT_SINCE:
        rank.tensor(layers * (4 * hidden * (hidden + 1) + intermediate * (2 * hidden + 1) + hidden))
        rank.norm(hidden, bias=True, count=2 * layers)
    else:
        encoder(rank, "vision_tower.encoder.blocks", layers, hidden, heads, intermediate, block)
    rank.norm(hidden, bias=True, count=2)
    return hidden


def moonvit_tower(rank: Rank) -> None:
    """Kimi-K2.5's three-dimensional MoonViT; the projector is replicated."""
    vision = vision_config(rank)
    hidden = moonvit_blocks(rank, vision, vision.int("init_pos_emb_time", default=4))
    merged = hidden * 4
    rank.replicated("mm_projector", ("linear_1",), merged, (merged,), bias=True)
    rank.replicated("mm_projector", ("linear_2",), merged, (rank.text.int("hidden_size"),), bias=True)


def minimax_tower(rank: Rank) -> None:
    """MiniMax-M3: a CLIP tower with three-dimensional rope, a projector and a patch-merging MLP, both sharded."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    out, text = vision.int("projection_dim", default=rank.text.int("hidden_size")), rank.text.int("hidden_size")
    middle = rank.config.int("projector_hidden_size", default=text)
    conv(rank, vision, hidden, bias=False)
    rank.norm(hidden, bias=True)
    block = Block(attention="self_attn", qkv="qkv_proj", out="out_proj", up=("fc1",), down="fc2")
    encoder(
        rank,
        "vision_tower.vision_model.encoder.layers",
        positive(vision, "num_hidden_layers", limit=MAX_DEPTH),
        hidden,
        heads,
        vision.int("intermediate_size"),
        block,
    )
    for name, inputs, outputs in (("multi_modal_projector", hidden, out), ("patch_merge_mlp", out * 4, text)):
        rank.column(f"vision_tower.{name}", ("linear_1",), inputs, (middle,), bias=True)
        rank.row(f"vision_tower.{name}", "linear_2", middle, outputs, bias=True)
    rank.tensor(3 * (hidden // heads // 6), 4)
