"""SigLIP 1 and 2 with the projectors that stand behind them: Gemma 3, PaliGemma, Command A, Idefics 3, PaddleOCR-VL, LFM2-VL, Aria.

Called by the model lines of those names. Knows no language model.
Sources: vllm/model_executor/models/{siglip,siglip2,gemma3_mm,paligemma,cohere2_vision,idefics3,paddleocr_vl,lfm2_vl,aria}.py (0.22.1,
0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import outer, positive, tower_size
from plimsoll_estimator.shape import TowerSize
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, conv, encoder, patch_count, vision_config


def siglip_blocks(rank: Rank, prefix: str, *, layers: int | None = None) -> TowerSize:
    """SigLIP as far as its last layer, or the first `layers`: patches, learned positions, biases everywhere."""
    vision = vision_config(rank)
    size = tower_size(vision)
    conv(rank, vision, size.hidden_size, bias=True, frames=1)
    rank.tensor(patch_count(vision) * size.hidden_size)
    encoder(rank, prefix, size, CLIP_BLOCK, layers=layers)
    return size


def siglip_tower(rank: Rank, prefix: str = "vision_tower.vision_model") -> TowerSize:
    """SigLIP with a last norm, which keeps int64 indices of its positions."""
    size = siglip_blocks(rank, f"{prefix}.encoder.layers")
    rank.tensor(patch_count(vision_config(rank)), 8)
    rank.norm(size.hidden_size, bias=True)
    return size


def gemma3_tower(rank: Rank) -> None:
    """SigLIP and Gemma 3's projector."""
    hidden = siglip_tower(rank).hidden_size
    rank.tensor(hidden * rank.shape.size.hidden_size)
    rank.norm(hidden)


def paligemma_tower(rank: Rank) -> None:
    """SigLIP and one projection, whole on every rank."""
    hidden = siglip_tower(rank).hidden_size
    out = vision_config(rank).int("projection_dim", default=rank.shape.size.hidden_size)
    rank.replicated("multi_modal_projector", ("linear",), hidden, (out,), bias=True)


def cohere2_vision_tower(rank: Rank) -> None:
    """SigLIP and a gated projection of merged patches, divided."""
    merged = siglip_tower(rank).hidden_size * positive(outer(rank.config), "downsample_factor", limit=64) ** 2
    middle = outer(rank.config).int("alignment_intermediate_size")
    rank.column("multi_modal_projector", ("linear_1",), merged, (middle,), bias=True)
    rank.row("multi_modal_projector", "linear_2", middle // 2, rank.shape.size.hidden_size, bias=True)


def idefics3_tower(rank: Rank) -> None:
    """SigLIP as Idefics 3 and SmolVLM build it (all layers, a final LayerNorm) and one replicated projection of merged patches."""
    hidden = siglip_blocks(rank, "vision_model.encoder.layers").hidden_size
    rank.norm(hidden, bias=True)
    merged = hidden * positive(outer(rank.config), "scale_factor", limit=64) ** 2
    rank.replicated("connector.modality_projection", ("proj",), merged, (rank.shape.size.hidden_size,))


def paddleocr_tower(rank: Rank) -> None:
    """PaddleOCR-VL: SigLIP with rotary positions besides the learned ones, and a projection of merged patches."""
    size = siglip_tower(rank, "visual.vision_model")
    hidden, merged = size.hidden_size, size.hidden_size * vision_config(rank).int("spatial_merge_size") ** 2
    rank.tensor(size.head_dim // 4, 4)
    rank.norm(hidden, bias=True)
    rank.replicated("mlp_AR", ("linear_1",), merged, (merged,), bias=True)
    rank.replicated("mlp_AR", ("linear_2",), merged, (rank.shape.size.hidden_size,), bias=True)


def lfm2_vl_tower(rank: Rank) -> None:
    """LFM2-VL: SigLIP 2, which reads flat patches, and a projection of merged patches."""
    vision, config = vision_config(rank), outer(rank.config)
    size = tower_size(vision)
    hidden = size.hidden_size
    conv(rank, vision, hidden, bias=True, frames=1)
    rank.tensor(vision.int("num_patches") * hidden)
    encoder(rank, "vision_tower.vision_model.encoder.layers", size, CLIP_BLOCK)
    rank.norm(hidden, bias=True)
    merged = hidden * positive(config, "downsample_factor", limit=64) ** 2
    middle, bias = config.int("projector_hidden_size"), config.bool("projector_bias")
    if config.bool("projector_use_layernorm"):
        rank.norm(merged, bias=True)
    rank.replicated("multi_modal_projector", ("linear_1",), merged, (middle,), bias=bias)
    rank.replicated("multi_modal_projector", ("linear_2",), middle, (rank.shape.size.hidden_size,), bias=bias)


def aria_tower(rank: Rank) -> None:
    """Aria: SigLIP without its last norm, learned queries that read it by cross-attention (whole), a feed-forward projection."""
    text = rank.shape.size.hidden_size
    hidden = siglip_blocks(rank, "vision_tower.encoder.layers").hidden_size
    queries = rank.config.sub("projector_patch_to_query_dict")
    most = max((n for n in (queries.as_mapping().values() if queries else ()) if isinstance(n, int)), default=256)
    rank.tensor(most * hidden)
    for _ in range(8):
        rank.tensor(hidden * hidden)
    rank.norm(5 * hidden)
    rank.norm(hidden, bias=True, count=3)
    rank.column("multi_modal_projector.feed_forward", ("linear_in",), hidden, (text,))
    rank.row("multi_modal_projector.feed_forward", "linear_out", text, text)
