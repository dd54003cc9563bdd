"""Afmoe (Trinity): a gate on the attention's output, experts behind dense layers.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/afmoe.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import routed_experts, sparse_from, windowed
from plimsoll_estimator.reader import positive
from plimsoll_estimator.shape import Dimensions, Layer


def afmoe(rank: Rank) -> None:
    """AfmoeForCausalLM: a gate on the attention's output, norms around both blocks, float32 routers."""
    style = DecoderStyle(ties=False, qk_norm="head", qkv_bias=("attention_bias",))
    size, layers = rank.shape.size, rank.shape.layers
    sparse = MoeStyle(gate_item=4, correction=True)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.column(f"{name}.self_attn", ("gate_proj",), size.hidden_size, (size.heads * size.head_dim,))
        feed_forward(rank, name, layers[i].ffn, style, sparse)
        rank.norm(size.hidden_size, count=4)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer, rank.kind)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """A window but in every `global_attn_every_n_layers`-th layer; experts behind `num_dense_layers`."""
    seen = windowed(text, size, stacks.attention(size), every=positive(text, "global_attn_every_n_layers", default=4))
    block = routed_experts(text, text.int("moe_intermediate_size"))
    return stacks.attending(seen, sparse_from(size, block, first=text.int("num_dense_layers", default=0)))


MODELS = (Model(classes=("AfmoeForCausalLM",), model_types=("afmoe",), weights=afmoe, layers=_layers),)
