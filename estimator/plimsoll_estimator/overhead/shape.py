"""The few dimensions of a model that overheads grow with, read once from its config.

Called by `overhead` only. Refuses to know weights and caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plimsoll_estimator.hf_config import HfConfig, kept_with_config
from plimsoll_estimator.models.register import read
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolve.facts import is_hybrid, is_mla, kv_heads, num_experts, query_heads
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import round_up


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Dimensions of the language model, whole (not per rank); widths are elements per token."""

    layers: int
    hidden_size: int
    vocab_size: int
    mlp_width: int
    query_width: int
    kv_width: int
    attention_width: int
    latent_width: int
    expanded_latent_width: int
    sparse_latent: bool
    experts: int
    experts_per_token: int
    moe_intermediate_size: int
    hybrid: bool
    gated_delta_net: bool
    multimodal: bool
    merges_patches: bool
    deepstack_levels: int


def model_shape(config: HfConfig, resolved: ResolvedArgs) -> ModelShape:
    """Read the shape; a dimension the config leaves out counts as 0, the vocabulary as its class default."""
    return _shape(config, resolved.architecture, resolved.text_only)


@kept_with_config
def _shape(config: HfConfig, architecture: str, text_only: bool) -> ModelShape:
    """The same for every layout of a search, so read once."""
    text = language(config)
    hidden = _largest(text, "hidden_size")
    experts = num_experts(config)
    model = read(config, architecture)
    multimodal, vision = model.multimodal and not text_only, model.vision
    vocabulary = _largest(text, "vocab_size") or 32000
    return ModelShape(
        layers=_largest(text, "num_hidden_layers"),
        hidden_size=hidden,
        vocab_size=round_up(vocabulary, 64),
        mlp_width=_mlp_width(text, hidden, experts),
        query_width=(query_heads(config) or 0) * _head_dim(config, hidden),
        kv_width=(kv_heads(config) or 0) * _head_dim(config, hidden),
        attention_width=_attention_width(config, hidden),
        latent_width=(_largest(text, "kv_lora_rank") + _largest(text, "qk_rope_head_dim")) if is_mla(config) else 0,
        expanded_latent_width=_expanded_latent_width(config),
        sparse_latent="index_topk" in text,
        experts=experts,
        experts_per_token=_largest(text, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts") if experts else 0,
        moe_intermediate_size=_largest(text, "moe_intermediate_size", "intermediate_size") if experts else 0,
        hybrid=is_hybrid(config, architecture),
        gated_delta_net="linear_num_value_heads" in text,
        multimodal=multimodal,
        merges_patches=multimodal and vision is not None and vision.merges_patches,
        deepstack_levels=vision.deepstack_levels if multimodal and vision is not None else 0,
    )


def _largest(text: HfConfig, *keys: str) -> int:
    """The first present key; a list (per-layer values) counts by its largest entry."""
    for key in keys:
        value: Any = text.raw(key)
        if isinstance(value, list | tuple):
            value = max((x for x in value if isinstance(x, int) and not isinstance(x, bool)), default=0)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 40:
            return value
    return 0


def _mlp_width(text: HfConfig, hidden: int, experts: int) -> int:
    """Intermediate size of the widest dense MLP; of MoE models only what stands beside the experts."""
    dense = _largest(text, "intermediate_size") or 4 * hidden
    if not experts:
        return dense
    shared = _largest(text, "shared_expert_intermediate_size")
    if not shared:
        shared = _largest(text, "n_shared_experts", "moe_num_shared_experts") * _largest(text, "moe_intermediate_size", "intermediate_size")
    return max(shared, dense) if _largest(text, "first_k_dense_replace") else shared


def _expanded_latent_width(config: HfConfig) -> int:
    """Elements per context token that chunked prefill expands a latent into, all heads; 0 without latent attention."""
    if not is_mla(config):
        return 0
    return (query_heads(config) or 0) * (_largest(language(config), "qk_nope_head_dim") + _largest(language(config), "v_head_dim"))


def _head_dim(config: HfConfig, hidden: int) -> int:
    heads = query_heads(config) or 0
    return _largest(language(config), "head_dim", "hidden_size_per_head") or (hidden // heads if heads else 0)


def _attention_width(config: HfConfig, hidden: int) -> int:
    """Elements per token of queries, keys, values and the attention's output, before sharding."""
    text = language(config)
    heads = query_heads(config) or 0
    if is_mla(config):
        key = _largest(text, "qk_nope_head_dim") + _largest(text, "qk_rope_head_dim")
        return heads * 2 * (key + _largest(text, "v_head_dim"))
    head_dim = _head_dim(config, hidden)
    delta_net = 2 * _largest(text, "linear_num_key_heads") * _largest(text, "linear_key_head_dim")
    delta_net += 3 * _largest(text, "linear_num_value_heads") * _largest(text, "linear_value_head_dim")
    return max(head_dim * (2 * heads + 2 * (kv_heads(config) or heads)), delta_net)
