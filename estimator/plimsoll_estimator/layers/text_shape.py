"""The attention dimensions of a model's text config, as vLLM reads them, whatever the keys are called.

Called by `models.register` and by whatever says what a layer keeps. Knows key aliases and the defaults of Transformers' config classes that
published files leave out; no versions, no parallel sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig

MAX_LAYERS: Final = 2048
MAX_WIDTH: Final = 1 << 24
LAYER_KEYS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEAD_KEYS: Final = ("num_attention_heads", "n_head", "n_heads", "num_heads")
HIDDEN_KEYS: Final = ("hidden_size", "n_embd", "n_embed", "d_model", "model_dim")
KV_HEAD_KEYS: Final = (
    "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups",
)  # fmt: skip
MLA_MODEL_TYPES: Final = frozenset({
    "AXK1", "axk1", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_mtp", "dots3_note", "glm5_next",
    "glm5_next_text", "glm_moe_dsa", "glm4_moe_lite", "glm4_moe_lite_mtp", "kimi_k2", "kimi_linear", "longcat_flash",
    "pangu_ultra_moe", "pangu_ultra_moe_mtp", "bailing_hybrid", "bailing_hybrid_mtp", "hy_v4", "hy_v4_mtp", "mistral4",
})  # fmt: skip
"""Text model types with multi-head latent attention (vLLM: is_deepseek_mla); each also needs `kv_lora_rank`."""
CLASS_DEFAULTS: Final[dict[str, dict[str, int]]] = {
    "llama": {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32},
    "gemma": {"head_dim": 256, "num_attention_heads": 16, "num_key_value_heads": 16, "hidden_size": 3072, "num_hidden_layers": 28},
    "gemma2": {
        "head_dim": 256, "sliding_window": 4096, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 2304,
        "num_hidden_layers": 26,
    },
    "gemma3_text": {
        "head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 4096, "num_hidden_layers": 26,
        "hidden_size": 2304,
    },
    "gemma3n_text": {
        "head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 2, "sliding_window": 512, "num_hidden_layers": 35,
        "hidden_size": 2048, "num_kv_shared_layers": 15,
    },
    "gemma4_text": {
        "head_dim": 256, "global_head_dim": 512, "num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 512,
        "num_hidden_layers": 30, "hidden_size": 2304,
    },
    "gpt_oss": {
        "head_dim": 64, "sliding_window": 128, "hidden_size": 2880, "num_attention_heads": 64, "num_hidden_layers": 36,
        "num_key_value_heads": 8,
    },
    "cohere2": {"sliding_window": 4096},
    "olmo3": {"sliding_window": 4096},
    "exaone4": {"sliding_window": 4096},
    "mistral": {
        "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "sliding_window": 4096,
    },
    "mixtral": {"num_key_value_heads": 8},
    "ministral3": {"num_key_value_heads": 8},
    "llama4_text": {
        "head_dim": 128, "attention_chunk_size": 8192, "hidden_size": 5120, "num_attention_heads": 40, "num_hidden_layers": 48,
        "num_key_value_heads": 8,
    },
    "qwen2": {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32},
    "qwen3": {
        "head_dim": 128, "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
    },
    "phi3": {"hidden_size": 3072, "num_attention_heads": 32, "num_hidden_layers": 32},
    "qwen3_next": {"head_dim": 256, "num_key_value_heads": 2},
    "qwen3_5_text": {"head_dim": 256, "num_key_value_heads": 4},
    "qwen3_5_moe_text": {"head_dim": 256, "num_key_value_heads": 2},
    "seed_oss": {"head_dim": 128},
    "starcoder2": {"num_key_value_heads": 2},
}  # fmt: skip
"""What Transformers' config classes fill in when the file is silent, by text model type."""


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


def class_default(text: HfConfig, key: str) -> int | None:
    """Transformers' default of `key` for this model type, or None; a key that the file sets to null has no default."""
    if key in text.as_mapping():
        return None
    return CLASS_DEFAULTS.get(text.model_type, {}).get(key)


def text_int(text: HfConfig, *keys: str, default: int | None = None) -> int:
    """The first present key, then the class default of any of them, then `default`; InvalidInput without all three."""
    value = text.int_or_none(*keys)
    if value is not None:
        return value
    for key in keys:
        filled = class_default(text, key)
        if filled is not None:
            return filled
    return text.int(keys[0], default=default)


def text_shape(text: HfConfig) -> TextShape:
    """Read the dimensions. Raises InvalidInput naming the key that is missing or wrong."""
    model_type = text.model_type
    heads = within(text, "num_attention_heads", text_int(text, *HEAD_KEYS), MAX_WIDTH)
    hidden = within(text, "hidden_size", text_int(text, *HIDDEN_KEYS), MAX_WIDTH)
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
    return within(text, "num_hidden_layers", text_int(text, *LAYER_KEYS, default=default), MAX_LAYERS)


def _kv_heads(text: HfConfig, heads: int) -> int:
    model_type = text.model_type
    if model_type in ("falcon", "RefinedWeb", "RefinedWebModel"):
        if text.bool("multi_query") and not text.bool("new_decoder_architecture"):
            return 1
    elif model_type in ("mpt", "dbrx"):
        nested = text.sub("attn_config")
        return (nested.int_or_none("kv_n_heads") if nested else None) or heads
    elif model_type == "gpt_bigcode" and text.bool("multi_query", default=True):
        return 1
    elif model_type in ("chatglm", "glm4v_chat") and not text.bool("multi_query_attention"):
        return heads
    return text.int_or_none(*KV_HEAD_KEYS) or class_default(text, "num_key_value_heads") or heads


def _head_dim(text: HfConfig, hidden: int, heads: int) -> int:
    return (
        text.int_or_none("head_dim", "hidden_size_per_head", "kv_channels", "attention_head_dim")
        or class_default(text, "head_dim")
        or hidden // heads
    )
