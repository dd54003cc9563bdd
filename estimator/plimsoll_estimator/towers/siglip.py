"""SigLIP 1 and 2 with the projectors that stand behind them: Gemma 3, PaliGemma, Command A, Idefics 3, PaddleOCR-VL, LFM2-VL, Aria.

Called by the model lines of those names. Knows no language model.
Sources: vllm/model_executor/models/{siglip,siglip2,gemma3_mm,paligemma,cohere2_vision,idefics3,paddleocr_vl,lfm2_vl,aria}.py (0.22.1,
0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, MAX_DEPTH, Block, conv, encoder, vision_config


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


def paligemma_tower(rank: Rank) -> None:
    """SigLIP and one projection, whole on every rank."""
    siglip_tower(rank)
    vision = vision_config(rank)
    out = vision.int("projection_dim", default=rank.text.int("hidden_size"))
    rank.replicated("multi_modal_projector", ("linear",), vision.int("hidden_size"), (out,), bias=True)


def cohere2_vision_tower(rank: Rank) -> None:
    """SigLIP and a gated projection of merged patches, divided."""
    siglip_tower(rank)
    merged = vision_config(rank).int("hidden_size") * positive(rank.config, "downsample_factor", default=2, limit=64) ** 2
    middle = rank.config.int("alignment_intermediate_size", default=36864)
    rank.column("multi_modal_projector", ("linear_1",), merged, (middle,), bias=True)
    rank.row("multi_modal_projector", "linear_2", middle // 2, rank.text.int("hidden_size"), bias=True)


def idefics3_tower(rank: Rank) -> None:
    """SigLIP as Idefics 3 and SmolVLM build it (all layers, a final LayerNorm) and one replicated projection of merged patches."""
    vision = vision_config(rank)
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    side = vision.int("image_size") // positive(vision, "patch_size")
    conv(rank, vision, hidden, bias=True, frames=1)
    rank.tensor(side * side * hidden)
    layers = positive(vision, "num_hidden_layers", limit=4096)
    encoder(rank, "vision_model.encoder.layers", layers, hidden, heads, vision.int("intermediate_size"), CLIP_BLOCK)
    rank.norm(hidden, bias=True)
    merged = hidden * positive(rank.config, "scale_factor", default=2, limit=64) ** 2
    rank.replicated("connector.modality_projection", ("proj",), merged, (rank.text.int("hidden_size"),))


def paddleocr_tower(rank: Rank) -> None:
    """PaddleOCR-VL: SigLIP with rotary positions besides the learned ones, and a projection of merged patches."""
    siglip_tower(rank, "visual.vision_model")
    vision = vision_config(rank)
    hidden = vision.int("hidden_size")
    merged = hidden * vision.int("spatial_merge_size", default=2) ** 2
    rank.tensor(hidden // positive(vision, "num_attention_heads") // 4, 4)
    rank.norm(hidden, bias=True)
    rank.replicated("mlp_AR", ("linear_1",), merged, (merged,), bias=True)
    rank.replicated("mlp_AR", ("linear_2",), merged, (rank.text.int("hidden_size"),), bias=True)


def lfm2_vl_tower(rank: Rank) -> None:
    """LFM2-VL: SigLIP 2, which reads flat patches, and a projection of merged patches."""
    vision, config = vision_config(rank), rank.config
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    rank.tensor(vision.int("num_channels", default=3) * positive(vision, "patch_size") ** 2 * hidden + hidden)
    rank.tensor(vision.int("num_patches", default=256) * hidden)
    layers = positive(vision, "num_hidden_layers", limit=MAX_DEPTH)
    encoder(rank, "vision_tower.vision_model.encoder.layers", layers, hidden, heads, vision.int("intermediate_size"), CLIP_BLOCK)
    rank.norm(hidden, bias=True)
    merged = hidden * positive(config, "downsample_factor", default=2, limit=64) ** 2
    middle, bias = config.int("projector_hidden_size", default=2560), config.bool("projector_bias", True)
    if config.bool("projector_use_layernorm", True):
        rank.norm(merged, bias=True)
    rank.replicated("multi_modal_projector", ("linear_1",), merged, (middle,), bias=bias)
    rank.replicated("multi_modal_projector", ("linear_2",), middle, (rank.text.int("hidden_size"),), bias=bias)


def aria_tower(rank: Rank) -> None:
    """Aria: SigLIP without its last norm, learned queries that read it by cross-attention (whole), a feed-forward projection."""
    vision, text = vision_config(rank), rank.text.int("hidden_size")
    hidden, heads = vision.int("hidden_size"), positive(vision, "num_attention_heads")
    side = vision.int("image_size") // positive(vision, "patch_size")
    conv(rank, vision, hidden, bias=True, frames=1)
    rank.tensor(side * side * hidden)
    layers = positive(vision, "num_hidden_layers", limit=MAX_DEPTH)
    encoder(rank, "vision_tower.encoder.layers", layers, hidden, heads, vision.int("intermediate_size"), CLIP_BLOCK)
    queries = rank.config.sub("projector_patch_to_query_dict")
    most = max((n for n in (queries.as_mapping().values() if queries else ()) if isinstance(n, int)), default=256)
    rank.tensor(most * hidden)
    for _ in range(8):
        rank.tensor(hidden * hidden)
    rank.norm(5 * hidden)
    rank.norm(hidden, bias=True, count=3)
    rank.column("multi_modal_projector.feed_forward", ("linear_in",), hidden, (text,))
    rank.row("multi_modal_projector.feed_forward", "linear_out", text, text)
