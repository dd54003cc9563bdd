"""From config to the needs of every layer: the door that picks the family, and the families with attention only.

Called by `model_layers`. Families with recurrent state are in `hybrid_families`, sparse and compressed ones in `sparse_families`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache.backends import attention_backend, mla_backend
from plimsoll_estimator.kv_cache.hybrid_families import HYBRID_FAMILIES, MAMBA_ONLY, mamba_only
from plimsoll_estimator.kv_cache.kv_dtype import kv_head_bytes, mla_token_bytes
from plimsoll_estimator.kv_cache.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.kv_cache.other_families import (
    keeps_nothing,
    longcat,
    nemotron_nas,
    refuse_unknown_marks,
    whisper,
    without_cache,
)
from plimsoll_estimator.kv_cache.rules import PlannerRules
from plimsoll_estimator.kv_cache.sparse_families import SPARSE_FAMILIES, sparse_mla
from plimsoll_estimator.kv_cache.text_shape import TextShape, text_int, text_shape
from plimsoll_estimator.kv_cache.windows import Window, layer_windows
from plimsoll_estimator.resolved import ResolvedArgs

Family = Callable[[HfConfig, TextShape, ResolvedArgs, PlannerRules], ModelNeeds]

MM_PREFIX_MODEL_TYPES: Final = frozenset({"bagel", "gemma3", "molmo2", "moondream3", "paligemma"})
"""Root model types whose image tokens attend to one another (vLLM: MM_PREFIX_LM_MODELS)."""


def model_needs(config: HfConfig, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """The needs of the model's layers. Raises Unsupported for a family without a rule."""
    text = config.text
    if text.model_type in MAMBA_ONLY:
        return mamba_only(config, resolved, rules)
    if text.model_type == "whisper":
        return whisper(config, resolved, rules)
    if keeps_nothing(config, text):
        return without_cache()
    shape = text_shape(text)
    return _family(config, text, shape)(config, shape, resolved, rules)


def _family(config: HfConfig, text: HfConfig, shape: TextShape) -> Family:
    for model_type in (text.model_type, config.model_type):
        found = FAMILIES.get(model_type)
        if found is not None:
            return found
    if shape.uses_mla and "compress_ratios" not in text:
        return sparse_mla if "index_topk" in text else _mla
    refuse_unknown_marks(config, text)
    return _dense


def _text_only(resolved: ResolvedArgs) -> bool:
    """Whether every modality is limited to none: image tokens then need no attention of their own."""
    limits = resolved.given.limit_mm_per_prompt
    return bool(limits) and all(value == 0 for value in (limits or {}).values())


def head_bytes(resolved: ResolvedArgs, key_dim: int, value_dim: int) -> int:
    """One token's key and value of one head."""
    return kv_head_bytes(resolved.kv_cache_dtype, resolved.dtype, key_dim, value_dim)


def _dense(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Attention layers of one shape, full or windowed."""
    token_bytes = shape.kv_heads_per_rank(resolved.tensor_parallel_size) * head_bytes(resolved, shape.head_dim, shape.head_dim)
    return _windowed(config, shape, resolved, rules, token_bytes=token_bytes)


def _windowed(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules, *, token_bytes: int) -> ModelNeeds:
    windows = layer_windows(config.text, shape)
    made: dict[Window, tuple[Need, ...]] = {
        seen: (AttentionNeed(kind=seen[0], token_bytes=token_bytes, window=seen[1]),) for seen in dict.fromkeys(windows)
    }
    backend = attention_backend(
        resolved.gpu.capability,
        resolved.kv_cache_dtype,
        rules,
        head_sizes=frozenset({shape.head_dim}),
        mm_prefix=config.model_type in MM_PREFIX_MODEL_TYPES and "vision_config" in config and not _text_only(resolved),
        has_sink=shape.model_type == "gpt_oss",
    )
    return ModelNeeds(layers=tuple(map(made.__getitem__, windows)), backend=backend, attention_token_bytes=token_bytes)


def _falcon(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """The class hands no cache settings to its attention: the cache stays at the model's dtype."""
    width = kv_head_bytes("auto", resolved.dtype, shape.head_dim, shape.head_dim)
    return _windowed(config, shape, resolved, rules, token_bytes=shape.kv_heads_per_rank(resolved.tensor_parallel_size) * width)


def _mla(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Dense multi-head latent attention: one latent per token, whole on every rank."""
    token_bytes = mla_token_bytes(resolved.kv_cache_dtype, resolved.dtype, shape.kv_lora_rank + shape.qk_rope_head_dim, sparse=False)
    need = AttentionNeed(kind="mla", token_bytes=token_bytes)
    backend = mla_backend(resolved.gpu.capability, resolved.kv_cache_dtype, rules, shape.qk_nope_head_dim)
    return ModelNeeds(layers=((need,),) * shape.layers, backend=backend, attention_token_bytes=token_bytes, uses_mla=True)


def _minicpm3(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Latent attention computed as ordinary attention: every head keeps a full-width key and a value padded to it."""
    width = shape.qk_nope_head_dim + shape.qk_rope_head_dim
    token_bytes = max(1, shape.heads // resolved.tensor_parallel_size) * head_bytes(resolved, width, width)
    return _windowed(config, shape, resolved, rules, token_bytes=token_bytes)


def _gemma4(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Local and global layers differ in heads and width; the last layers read the cache of earlier ones."""
    text, tp = config.text, resolved.tensor_parallel_size
    wide = text_int(text, "global_head_dim", default=shape.head_dim)
    wide_heads = (text.int_or_none("num_global_key_value_heads") if text.bool("attention_k_eq_v") else None) or shape.kv_heads
    window = text_int(text, "sliding_window")
    local = AttentionNeed(
        kind="sliding", window=window, token_bytes=shape.kv_heads_per_rank(tp) * head_bytes(resolved, shape.head_dim, shape.head_dim)
    )
    globe = AttentionNeed(kind="full", token_bytes=max(1, wide_heads // tp) * head_bytes(resolved, wide, wide))
    shared = text_int(text, "num_kv_shared_layers", default=0)
    kinds = [kind for kind, _ in layer_windows(text, shape)]
    kinds[-1] = "full"  # whatever the list says (Transformers' Gemma4TextConfig)
    own, parts = shape.layers - shared, {"sliding": (local,), "full": (globe,)}
    layers: tuple[tuple[Need, ...], ...] = tuple(parts[kind] if i < own else () for i, kind in enumerate(kinds))
    backend = attention_backend(
        resolved.gpu.capability,
        resolved.kv_cache_dtype,
        rules,
        head_sizes=frozenset({shape.head_dim, wide}),
        mm_prefix=text.raw("use_bidirectional_attention") == "vision" and not _text_only(resolved),
        has_sink=False,
    )
    return ModelNeeds(layers=layers, backend=backend, attention_token_bytes=globe.token_bytes)


def _gemma3n(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """As Gemma 2 with windows, but the last layers read the cache of earlier ones."""
    needs = _dense(config, shape, resolved, rules)
    shared = text_int(config.text, "num_kv_shared_layers", default=15)
    own = shape.layers - shared
    layers = tuple(layer if i < own else () for i, layer in enumerate(needs.layers))
    return ModelNeeds(layers=layers, backend=needs.backend, attention_token_bytes=needs.attention_token_bytes)


def _mimo_v2(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Keys wider than values, other heads in windowed layers (`hybrid_layer_pattern`: 1 is windowed)."""
    text, tp = config.text, resolved.tensor_parallel_size
    full = AttentionNeed(
        kind="full",
        token_bytes=shape.kv_heads_per_rank(tp) * head_bytes(resolved, shape.head_dim, text.int("v_head_dim", default=shape.head_dim)),
    )
    key = text.int("swa_head_dim", default=shape.head_dim)
    value = text.int("swa_v_head_dim", default=key)
    heads = max(1, text.int("swa_num_key_value_heads", default=shape.kv_heads) // tp)
    window = text.int("sliding_window_size", "sliding_window")
    local = AttentionNeed(kind="sliding", window=window, token_bytes=heads * head_bytes(resolved, key, value))
    pattern = text.list_or_none("hybrid_layer_pattern") or ()
    narrow, wide = (local,), (full,)
    layers: tuple[tuple[Need, ...], ...] = tuple(narrow if i < len(pattern) and pattern[i] == 1 else wide for i in range(shape.layers))
    backend = attention_backend(
        resolved.gpu.capability, resolved.kv_cache_dtype, rules, head_sizes=frozenset({192}), mm_prefix=False, has_sink=False
    )
    return ModelNeeds(layers=layers, backend=backend, attention_token_bytes=full.token_bytes)


FAMILIES: Final[dict[str, Family]] = {
    "falcon": _falcon,
    "minicpm3": _minicpm3,
    "gemma4_text": _gemma4,
    "gemma3n_text": _gemma3n,
    "mimo_v2_flash": _mimo_v2,
    "mimo_v2": _mimo_v2,
    "nemotron-nas": nemotron_nas,
    "longcat_flash": longcat,
    **HYBRID_FAMILIES,
    **SPARSE_FAMILIES,
}
