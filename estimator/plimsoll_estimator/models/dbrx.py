"""DBRX: experts, and sizes under configurations of attention and feed-forward.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/dbrx.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import Experts
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.reader import positive
from plimsoll_estimator.shape import Dimensions, Layer


def _nested(text: HfConfig, key: str) -> HfConfig:
    return text.sub(key) or HfConfig({}, f"{text.path}.{key}")


def dbrx(rank: Rank) -> None:
    """DbrxForCausalLM: LayerNorms without biases."""
    style = everywhere(DecoderStyle(attention="norm_attn_norm.attn", o_name="out_proj"))
    size, layers = rank.shape.size, rank.shape.layers
    parameters = {"rope_type": "default", "rope_theta": _nested(rank.text, "attn_config").raw("rope_theta")}

    def layer(i: int) -> None:
        name, block = f"blocks.{i}", layers[i].experts
        attention(rank, name, size, style)
        rank.tensor(block.count * size.hidden_size)
        rank.experts(f"{name}.ffn.experts", block.count, size.hidden_size, block.width)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, parameters=parameters)

    stack(rank, size, style, layer)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    ffn = _nested(text, "ffn_config")  # what it leaves out is DbrxFFNConfig's
    block = Experts(
        count=positive(ffn, "moe_num_experts", default=4),
        per_token=positive(ffn, "moe_top_k", default=1),
        width=positive(ffn, "ffn_hidden_size", default=3584),
    )
    seen = stacks.windowed(text, size, stacks.attention(size))
    return stacks.attending(seen, [block] * size.layer_count)


def _shared_heads(text: HfConfig) -> Mapping[str, int]:
    """Key-value heads are under `attn_config`, and as many as heads where it is silent."""
    return {"num_key_value_heads": _nested(text, "attn_config").int_or_none("kv_n_heads") or text.int("num_attention_heads")}


MODELS = (Model(classes=("DbrxForCausalLM",), model_types=("dbrx",), weights=dbrx, layers=_layers, overrides=_shared_heads),)
