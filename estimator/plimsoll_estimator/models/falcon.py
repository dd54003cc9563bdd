"""Falcon: multi-query or grouped heads, one or two norms beside each other.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/falcon.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.shape import Dimensions, Layer, alike

_FALCON = DecoderStyle(
    gated=False,
    qkv_bias=("bias",),
    o_bias=("bias",),
    mlp_bias=("bias",),
    norm_bias=True,
    attention="self_attention",
    o_name="dense",
    mlp_names=("dense_h_to_4h",),
    down_name="dense_4h_to_h",
    every_stage=("embedding", "norm"),
)
_WIDTH_OF_40B = 8192


def falcon(rank: Rank) -> None:
    """FalconForCausalLM: multi-query or grouped heads, one or two LayerNorms beside each other."""
    size, norms, rotary = rank.shape.size, _norms(rank.text), not rank.text.bool("alibi")

    def layer(i: int) -> None:
        name = f"h.{i}"
        attention(rank, name, size, _FALCON)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _FALCON)
        rank.norm(size.hidden_size, bias=True, count=norms)
        if rotary:
            rope(rank, size.head_dim, size.positions)

    stack(rank, size, _FALCON, layer)


def _norms(text: HfConfig) -> int:
    """LayerNorms of a layer: two one after the other, or beside each other one or two."""
    if not text.bool("parallel_attn", True):
        return 2
    beside = text.int_or_none("num_ln_in_parallel_attn")
    return 2 if beside == 2 or (beside is None and _is_new(text)) else 1


def _is_new(text: HfConfig) -> bool:
    """RWConfig, of the first files, takes the width of Falcon-40B for the newer build."""
    first = text.model_type.startswith("RefinedWeb")
    return text.bool("new_decoder_architecture") or (first and text.int("hidden_size") == _WIDTH_OF_40B)


def _grouped(text: HfConfig) -> Mapping[str, int]:
    """The newer build has groups of key-value heads, the older one head for all, or one each; RWConfig's groups are one by default."""
    heads = text.int("num_attention_heads")
    groups = text.int_or_none("num_key_value_heads") or (1 if text.model_type.startswith("RefinedWeb") else heads)
    older = 1 if text.bool("multi_query", True) else heads
    return {"num_key_value_heads": groups if _is_new(text) else older, "intermediate_size": 4 * text.int("hidden_size")}


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """The class hands no cache settings to its attention: no window, and the cache stays at the model's dtype."""
    stacks.check_kinds(text)
    mixer = replace(stacks.attention(size), follows_cache_dtype=False)
    return alike(Layer(mixers=(mixer,), ffn=Mlp(width=size.intermediate_size)), size.layer_count)


MODELS = (
    Model(
        classes=("FalconForCausalLM", "RWForCausalLM"),
        model_types=("falcon", "RefinedWeb", "RefinedWebModel"),
        weights=falcon,
        layers=_layers,
        overrides=_grouped,
    ),
)
