"""What decoders keep, layer by layer: ordinary, windowed and latent attention, and attention mixed with one kind of state.

Called by the model lines and by `models.register`, which asks here too whether a model only encodes and whether its config carries marks of
layers without a rule: those are refused, never planned as ordinary attention. Knows no planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import Backend, attention_backend, mla_backend
from plimsoll_estimator.layers.kv_dtype import kv_head_bytes, mla_token_bytes
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need, StateNeed
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.layers.windows import Window, layer_windows
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs

Family = Callable[[HfConfig, TextShape, ResolvedArgs, PlannerRules], ModelNeeds]
ENCODERS: Final = frozenset({
    "albert", "bert", "camembert", "clip", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "gte", "jina_bert", "modernbert",
    "mpnet", "new", "nomic_bert", "roberta", "siglip", "siglip2", "snowflake_gte", "xlm-roberta",
})  # fmt: skip
"""Model types that only encode: every layer attends both ways and keeps nothing."""
HONOURS_IS_CAUSAL: Final = frozenset({"llama", "qwen2", "qwen3", "mistral", "gemma3_text", "apertus", "deepseek_v2", "deepseek_v3"})
"""Decoders whose classes become encoders when the config says `is_causal: false`."""
_MARKS: Final = (
    "compress_ratios", "linear_attn_config", "hybrid_override_pattern", "ssm_cfg", "ssm_state_size", "mamba_d_state", "mamba_d_conv",
    "conv_L_cache", "linear_num_value_heads", "rwkv_version", "lru_width", "block_types", "rswa_window", "sparse_attention_config",
)  # fmt: skip
_KNOWN_LAYER_TYPES: Final = frozenset({"full_attention", "attention", "sliding_attention", "chunked_attention", "global", "local"})
ATTENTION, STATE, BOTH, NEITHER = "attention", "state", "both", "neither"


def keeps_nothing(config: HfConfig, text: HfConfig) -> bool:
    """Whether the model only encodes, so that vLLM allocates no cache."""
    if text.model_type in ENCODERS:
        return True
    if text.model_type == "gemma3_text" and text.raw("use_bidirectional_attention") is True:
        return True
    return text.model_type in HONOURS_IS_CAUSAL and not text.bool("is_causal", default=True)


def without_cache() -> ModelNeeds:
    """The needs of a model that only encodes."""
    return ModelNeeds(layers=(), backend=Backend(name="NONE"))


def refuse_unknown_marks(config: HfConfig, text: HfConfig) -> None:
    """Raise Unsupported when the config names layers that no family here knows."""
    for key in _MARKS:
        if key in text:
            raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for model type {text.model_type!r} with {key}")
    if any(kind != 1 for kind in text.list_or_none("attn_type_list") or ()):
        raise Unsupported(
            Check.KV_CACHE_FAMILY, f"no KV-cache rule for model type {text.model_type!r} with linear attention (attn_type_list)"
        )
    for name in text.list_or_none("layer_types") or ():
        if not isinstance(name, str) or name not in _KNOWN_LAYER_TYPES:
            raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for layers of type {name!r} in model type {text.model_type!r}")
    if config.bool("is_encoder_decoder") or text.bool("is_encoder_decoder"):
        raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for the encoder-decoder model type {text.model_type!r}")


def head_bytes(resolved: ResolvedArgs, key_dim: int, value_dim: int) -> int:
    """One token's key and value of one head."""
    return kv_head_bytes(resolved.kv_cache_dtype, resolved.dtype, key_dim, value_dim)


def dense_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Attention layers of one shape, full or windowed."""
    token_bytes = shape.kv_heads_per_rank(resolved.tensor_parallel_size) * head_bytes(resolved, shape.head_dim, shape.head_dim)
    return windowed_caches(config, shape, resolved, rules, token_bytes=token_bytes)


def windowed_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules, *, token_bytes: int) -> ModelNeeds:
    """Attention layers of `token_bytes` each, full or windowed."""
    windows = layer_windows(language(config), shape)
    made: dict[Window, tuple[Need, ...]] = {
        seen: (AttentionNeed(kind=seen[0], token_bytes=token_bytes, window=seen[1]),) for seen in dict.fromkeys(windows)
    }
    backend = attention_backend(
        resolved.gpu.capability,
        resolved.kv_cache_dtype,
        rules,
        head_sizes=frozenset({shape.head_dim}),
        mm_prefix=False,
        has_sink=False,
    )
    return ModelNeeds(layers=tuple(map(made.__getitem__, windows)), backend=backend, attention_token_bytes=token_bytes)


def mixed_caches(
    shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules, kinds: Iterable[str], state: StateNeed, *, chunk_size: int = 2048,
    supports_mode_all: bool = False, block_alignment: int = 1, value_dim: int | None = None,
) -> ModelNeeds:  # fmt: skip
    """Layers of `kinds` from one attention shape and one state."""
    if shape.uses_mla:
        token_bytes = mla_token_bytes(resolved.kv_cache_dtype, resolved.dtype, shape.kv_lora_rank + shape.qk_rope_head_dim, sparse=False)
        attention = AttentionNeed(kind="mla", token_bytes=token_bytes)
        backend = mla_backend(resolved.gpu.capability, resolved.kv_cache_dtype, rules, shape.qk_nope_head_dim)
    else:
        token_bytes = shape.kv_heads_per_rank(resolved.tensor_parallel_size) * kv_head_bytes(
            resolved.kv_cache_dtype, resolved.dtype, shape.head_dim, value_dim or shape.head_dim
        )
        attention = AttentionNeed(kind="full", token_bytes=token_bytes)
        backend = attention_backend(
            resolved.gpu.capability, resolved.kv_cache_dtype, rules, head_sizes=frozenset({shape.head_dim}), mm_prefix=False, has_sink=False
        )
    parts: dict[str, tuple[Need, ...]] = {ATTENTION: (attention,), STATE: (state,), BOTH: (state, attention), NEITHER: ()}
    ordered = tuple(kinds)
    present = set(ordered)
    return ModelNeeds(
        layers=tuple(map(parts.__getitem__, ordered)),
        backend=backend,
        # A hybrid class whose layers all attend is planned like any other model.
        state=state if present & {STATE, BOTH} else None,
        is_hybrid=bool(present & {ATTENTION, BOTH}),
        attention_token_bytes=token_bytes,
        uses_mla=shape.uses_mla,
        head_dim=shape.head_dim,
        block_alignment=block_alignment,
        chunk_size=chunk_size,
        supports_mode_all=supports_mode_all,
    )
