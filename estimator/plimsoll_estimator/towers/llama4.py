"""Llama 4's tower.

Called by `models.llama4`. Source: vllm/model_executor/models/mllama4.py. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.towers.encoder import MAX_DEPTH, Block, encoder


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
