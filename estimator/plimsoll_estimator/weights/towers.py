"""Vision towers of the LLaVA line: CLIP, SigLIP and Pixtral, with their projectors.

Sources: vllm/model_executor/models/{llava,llava_next,clip,siglip,pixtral,mistral3,kimi_vl,idefics3}.py.
"""

from __future__ import annotations

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights.rank import Rank, positive
from plimsoll_estimator.weights.vision import Block, conv, encoder, moonvit_blocks, vision_config

_CLIP = Block(attention="self_attn", qkv="qkv_proj", out="out_proj", up=("fc1",), down="fc2")
_PIXTRAL = Block(
    attention="attention",
    mlp="feed_forward",
    qkv="qkv_proj",
    out="o_proj",
    up=("gate_proj", "up_proj"),
    down="down_proj",
    gated=True,
    qkv_bias=False,
    out_bias=False,
    mlp_bias=False,
    norm_bias=False,
)


def _layers_used(config: HfConfig, layers: int) -> int:
    """Layers up to the one whose features are read; a list asks for the deepest."""
    feature = config.raw("vision_feature_layer")
    wanted = feature if isinstance(feature, list | tuple) else [feature if isinstance(feature, int) else -1]
    depths = [layer + layers + 1 if layer < 0 else layer for layer in wanted if isinstance(layer, int)]
    return min(max(depths, default=layers), layers)


def llava_tower(rank: Rank, split: bool = True) -> None:
    """CLIP, SigLIP or Pixtral up to the feature layer, and a two-layer projector, split over the ranks or whole."""
    vision, config = vision_config(rank), rank.config
    kind = vision.model_type
    if kind == "pixtral":
        pixtral_tower(rank)
        features = vision.int("hidden_size", default=1024)
    elif kind in ("clip_vision_model", "siglip_vision_model"):
        features = _clip_like(rank, vision, clip=kind == "clip_vision_model")
    else:
        raise Unsupported("UnsupportedVisionTower", f"no rules for the vision tower {kind[:80] or 'without a model_type'}")
    listed = config.raw("vision_feature_layer")
    inputs = features * (len(listed) if isinstance(listed, list | tuple) else 1)
    text, bias = rank.text.int("hidden_size", default=4096), config.bool("multimodal_projector_bias", True)
    if split:
        rank.column("multi_modal_projector", ("linear_1",), inputs, (text,), bias=bias)
        rank.row("multi_modal_projector", "linear_2", text, text, bias=bias)
    else:
        rank.tensor(inputs * text + text * text + (2 * text if bias else 0))


def whole_llava_tower(rank: Rank) -> None:
    """LLaVA-OneVision and LLaVA-NeXT-Video: the projector is whole on every rank and never quantised."""
    llava_tower(rank, split=False)


def _clip_like(rank: Rank, vision: HfConfig, clip: bool) -> int:
    layers = positive(vision, "num_hidden_layers", default=12, limit=4096)
    return clip_blocks(rank, vision, clip, _layers_used(rank.config, layers), "vision_tower.vision_model.encoder.layers")


def clip_blocks(rank: Rank, vision: HfConfig, clip: bool, used: int, name: str) -> int:
    """The first `used` layers of CLIP or SigLIP without a last norm. Returns the width."""
    hidden, heads = vision.int("hidden_size", default=768), positive(vision, "num_attention_heads", default=12)
    positions = (vision.int("image_size", default=224) // positive(vision, "patch_size", default=32)) ** 2 + (1 if clip else 0)
    conv(rank, vision, hidden, bias=not clip, frames=1)
    rank.tensor(positions * hidden + (hidden if clip else 0))
    rank.tensor(positions, 8)
    if clip:
        rank.norm(hidden, bias=True)
    encoder(rank, name, used, hidden, heads, vision.int("intermediate_size", default=3072), _CLIP)
    return hidden


def pixtral_tower(rank: Rank) -> None:
    """Pixtral of Transformers: RMSNorms, gated MLPs, inverse frequencies in float32 (stored twice)."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size", default=1024), positive(vision, "num_attention_heads", default=16)
    layers = positive(vision, "num_hidden_layers", default=24, limit=4096)
    conv(rank, vision, hidden, bias=False, frames=1)
    rank.norm(hidden)
    used = _layers_used(rank.config, layers)
    encoder(rank, "vision_tower.transformer.layers", used, hidden, heads, vision.int("intermediate_size", default=4096), _PIXTRAL)
    rank.tensor(2 * (hidden // heads // 2), 4)


def mistral3_tower(rank: Rank) -> None:
    """Pixtral, a patch merger and a projector."""
    pixtral_tower(rank)
    hidden = vision_config(rank).int("hidden_size", default=1024)
    merge = rank.config.int("spatial_merge_size", default=2)
    text, bias = rank.text.int("hidden_size", default=4096), rank.config.bool("multimodal_projector_bias")
    rank.norm(hidden)
    rank.tensor(hidden * hidden * merge * merge)
    rank.column("multi_modal_projector", ("linear_1",), hidden, (text,), bias=bias)
    rank.row("multi_modal_projector", "linear_2", text, text, bias=bias)


def kimi_vl_tower(rank: Rank) -> None:
    """MoonViT in two dimensions and a replicated projector."""
    vision = vision_config(rank)
    hidden = moonvit_blocks(rank, vision, frames=0)
    merged = hidden * 4
    rank.replicated("multi_modal_projector", ("linear_1",), merged, (merged,), bias=True)
    rank.replicated("multi_modal_projector", ("linear_2",), merged, (rank.text.int("hidden_size"),), bias=True)


def idefics3_tower(rank: Rank) -> None:
    """SigLIP as Idefics 3 and SmolVLM build it (all layers, a final LayerNorm) and one replicated projection of merged patches."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    side = vision.int("image_size") // positive(vision, "patch_size")
    conv(rank, vision, hidden, bias=True, frames=1)
    rank.tensor(side * side * hidden)
    layers = positive(vision, "num_hidden_layers", limit=4096)
    encoder(rank, "vision_model.encoder.layers", layers, hidden, heads, vision.int("intermediate_size"), _CLIP)
    rank.norm(hidden, bias=True)
    merged = hidden * positive(rank.config, "scale_factor", default=2, limit=64) ** 2
    rank.replicated("connector.modality_projection", ("proj",), merged, (rank.text.int("hidden_size"),))
