"""Vision towers of few relatives: PaliGemma, Command A Vision, GLM-OCR, PaddleOCR-VL, LFM2-VL, Aria.

Sources: vllm/model_executor/models/{paligemma,cohere2_vision,glm_ocr,paddleocr_vl,lfm2_vl,siglip2,aria}.py (0.22.1, 0.33.0).
Knows no language model but Aria's experts, which no other class has.
"""

from __future__ import annotations

from plimsoll_estimator.weights.decoder import DecoderStyle, attention, mlp, rope_table, sizes, stack
from plimsoll_estimator.weights.rank import Rank, positive
from plimsoll_estimator.weights.vision import MAX_DEPTH, Block, conv, encoder, siglip_tower, tower_rope, vision_config

_SIGLIP = Block(attention="self_attn", qkv="qkv_proj", out="out_proj", up=("fc1",), down="fc2")


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


def glm_ocr_tower(rank: Rank) -> None:
    """GLM-OCR: GLM-V's blocks with biases and norms on the heads, without learned positions."""
    vision = vision_config(rank)
    hidden, heads, out = vision.int("hidden_size"), positive(vision, "num_heads"), vision.int("out_hidden_size")
    merge, context = vision.int("spatial_merge_size", default=2), rank.text.int("intermediate_size")
    layers = positive(vision, "depth", limit=MAX_DEPTH)
    conv(rank, vision, hidden, bias=True)
    block = Block(up=("gate_proj", "up_proj"), down="down_proj", gated=True, norm_bias=False)
    encoder(rank, "visual.blocks", layers, hidden, heads, vision.int("intermediate_size"), block)
    rank.norm(hidden // heads, count=2 * layers)
    rank.norm(hidden)
    rank.tensor(out * hidden * merge * merge + out)
    rank.column("visual.merger", ("proj",), out, (out,))
    rank.norm(out, bias=True)
    rank.column("visual.merger", ("gate_proj", "up_proj"), out, (context, context))
    rank.row("visual.merger", "down_proj", context, out)
    tower_rope(rank, hidden // heads)


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
    encoder(rank, "vision_tower.vision_model.encoder.layers", layers, hidden, heads, vision.int("intermediate_size"), _SIGLIP)
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
    encoder(rank, "vision_tower.encoder.layers", layers, hidden, heads, vision.int("intermediate_size"), _SIGLIP)
    queries = rank.config.sub("projector_patch_to_query_dict")
    most = max((n for n in (queries.as_mapping().values() if queries else ()) if isinstance(n, int)), default=256)
    rank.tensor(most * hidden)
    for _ in range(8):
        rank.tensor(hidden * hidden)
    rank.norm(5 * hidden)
    rank.norm(hidden, bias=True, count=3)
    rank.column("multi_modal_projector.feed_forward", ("linear_in",), hidden, (text,))
    rank.row("multi_modal_projector.feed_forward", "linear_out", text, text)


def aria_language(rank: Rank) -> None:
    """Aria's decoder: experts of `intermediate_size`, shared ones merged into one MLP."""
    text = rank.text
    style = DecoderStyle(ties=False)
    size = sizes(text, style, rank.config)
    experts, shared = text.int("moe_num_experts", default=8), text.int("moe_num_shared_experts", default=2)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(experts * size.hidden)
        rank.experts(f"{name}.mlp.experts", experts, size.hidden, size.intermediate)
        mlp(rank, f"{name}.mlp.shared_experts", size.hidden, shared * size.intermediate, style)
        rank.norm(size.hidden, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)
