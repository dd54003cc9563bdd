"""The attention dimensions of a model's text config, as vLLM reads them, whatever the keys are called.

Called by `models.register` and by whatever says what a layer keeps. Knows key aliases and the defaults of Transformers' config classes that
published files leave out; no versions, no parallel sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.reader import MAX_LAYERS, MAX_WIDTH

MLA_MODEL_TYPES: Final = frozenset({
    "AXK1", "axk1", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_mtp", "dots3_note", "glm5_next",
    "glm5_next_text", "glm_moe_dsa", "glm4_moe_lite", "glm4_moe_lite_mtp", "kimi_k2", "kimi_linear", "longcat_flash",
    "pangu_ultra_moe", "pangu_ultra_moe_mtp", "bailing_hybrid", "bailing_hybrid_mtp", "hy_v4", "hy_v4_mtp", "mistral4",
})  # fmt: skip
"""Text model types with multi-head latent attention (vLLM: is_deepseek_mla); each also needs `kv_lora_rank`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextShape:
    """Dimensions of the whole model, before any parallelism. MLA fields are 0 for other models."""

    model_type: str
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    kv_lora_rank: int
    qk_rope_head_dim: int
    qk_nope_head_dim: int

    @property
    def uses_mla(self) -> bool:
        """Whether vLLM keeps the compressed latent instead of keys and values."""
        return self.kv_lora_rank > 0

    def kv_heads_per_rank(self, tensor_parallel_size: int) -> int:
        """Key/value heads of one rank: sharded down to one, then replicated."""
        return max(1, self.kv_heads // tensor_parallel_size)


def text_shape(text: HfConfig) -> TextShape:
    """Read the dimensions. Raises InvalidInput naming the key that is missing or wrong."""
    model_type = text.model_type
    heads = within(text, "num_attention_heads", text.int("num_attention_heads"), MAX_WIDTH)
    hidden = within(text, "hidden_size", text.int("hidden_size"), MAX_WIDTH)
    return TextShape(
        model_type=model_type,
        layers=_layers(text),
        hidden_size=hidden,
        heads=heads,
        kv_heads=_kv_heads(text, heads),
        head_dim=within(text, "head_dim", _head_dim(text, hidden, heads), MAX_WIDTH),
        kv_lora_rank=(text.int_or_none("kv_lora_rank") or 0) if model_type in MLA_MODEL_TYPES else 0,
        qk_rope_head_dim=text.int_or_none("qk_rope_head_dim") or 0,
        qk_nope_head_dim=text.int_or_none("qk_nope_head_dim") or 0,
    )


def within(text: HfConfig, name: str, value: int, limit: int) -> int:
    """`value` when it is between 1 and `limit`; InvalidInput naming the key otherwise."""
    if not 1 <= value <= limit:
        raise InvalidInput(f"{text.path}.{name}", value, f"must be from 1 to {limit}")
    return value


def _layers(text: HfConfig) -> int:
    """The layer count; hybrids may only spell their layers out."""
    spelled = text.raw("hybrid_override_pattern") or text.raw("layers_block_type") or ()
    default = len(spelled) if isinstance(spelled, str | list | tuple) and spelled else None
    return within(text, "num_hidden_layers", text.int("num_hidden_layers", default=default), MAX_LAYERS)


def _kv_heads(text: HfConfig, heads: int) -> int:
    model_type = text.model_type
    if model_type in ("falcon", "RefinedWeb", "RefinedWebModel"):
        if text.bool("multi_query") and not text.bool("new_decoder_architecture"):
            return 1
    elif model_type == "mpt":
        nested = text.sub("attn_config")
        return (nested.int_or_none("kv_n_heads") if nested else None) or heads
    elif model_type == "gpt_bigcode" and text.bool("multi_query", default=True):
        return 1
    return text.int_or_none("num_key_value_heads") or heads


def _head_dim(text: HfConfig, hidden: int, heads: int) -> int:
    return text.int_or_none("head_dim") or hidden // heads
