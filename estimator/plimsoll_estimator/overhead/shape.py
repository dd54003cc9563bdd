"""The few dimensions of a model that overheads grow with, read once from its config.

Called by `overhead` only. Refuses to know weights and caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve.facts import is_hybrid, is_mla, is_multimodal, kv_heads, num_experts, query_heads
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import round_up

_CLASS_VOCABULARY: Final = {"gemma3": 262208, "gemma3_text": 262208, "llama": 32000, "mistral": 32000}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Dimensions of the language model, whole (not per rank)."""

    layers: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    query_heads: int
    kv_heads: int
    head_dim: int
    experts: int
    experts_per_token: int
    moe_intermediate_size: int
    mla: bool
    hybrid: bool
    multimodal: bool


def model_shape(config: HfConfig, resolved: ResolvedArgs) -> ModelShape:
    """Read the shape; a dimension the config leaves out counts as 0, the vocabulary as its class default."""
    text = config.text
    hidden = text.int("hidden_size", "n_embd", "d_model", "dim", default=0)
    heads = query_heads(config) or 0
    experts = num_experts(config)
    per_token = text.raw("num_experts_per_tok") or text.raw("num_experts_per_token") or text.raw("moe_topk") or text.raw("top_k_experts")
    if isinstance(per_token, list | tuple):
        per_token = max((x for x in per_token if isinstance(x, int)), default=0)
    intermediate = text.raw("intermediate_size") or text.raw("n_inner") or text.raw("ffn_dim") or text.raw("ffn_hidden_size") or 4 * hidden
    if isinstance(intermediate, list | tuple):
        intermediate = max((x for x in intermediate if isinstance(x, int)), default=0)
    moe = text.raw("moe_intermediate_size") or intermediate
    if isinstance(moe, list | tuple):
        moe = max((x for x in moe if isinstance(x, int)), default=0)
    return ModelShape(
        layers=text.int("num_hidden_layers", "n_layer", "n_layers", "num_layers", default=0),
        hidden_size=hidden,
        intermediate_size=intermediate if isinstance(intermediate, int) else 0,
        vocab_size=round_up(text.int("vocab_size", "padded_vocab_size", default=_CLASS_VOCABULARY.get(text.model_type, 32000)), 64),
        query_heads=heads,
        kv_heads=kv_heads(config) or heads,
        head_dim=text.int("head_dim", "hidden_size_per_head", default=hidden // heads if heads else 0),
        experts=experts,
        experts_per_token=per_token if isinstance(per_token, int) and experts else 0,
        moe_intermediate_size=moe if experts and isinstance(moe, int) else 0,
        mla=is_mla(config),
        hybrid=is_hybrid(config, resolved.architecture),
        multimodal=is_multimodal(config, resolved.architecture),
    )
