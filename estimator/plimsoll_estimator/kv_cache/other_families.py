"""Models without a cache, with layers left out, with two attentions per layer, or with cross-attention; and what is not known.

Called by `families`. A config that carries the marks of a layer kind without a rule is refused here, never planned as ordinary attention.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache.backends import Backend, attention_backend, mla_backend
from plimsoll_estimator.kv_cache.kv_dtype import kv_head_bytes, mla_token_bytes
from plimsoll_estimator.kv_cache.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.kv_cache.rules import PlannerRules
from plimsoll_estimator.kv_cache.text_shape import MAX_LAYERS, MAX_WIDTH, TextShape, positive
from plimsoll_estimator.resolved import ResolvedArgs

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
            raise Unsupported("KvCacheFamily", f"no KV-cache rule for model type {text.model_type!r} with {key}")
    if any(kind != 1 for kind in text.list_or_none("attn_type_list") or ()):
        raise Unsupported("KvCacheFamily", f"no KV-cache rule for model type {text.model_type!r} with linear attention (attn_type_list)")
    for name in text.list_or_none("layer_types") or ():
        if not isinstance(name, str) or name not in _KNOWN_LAYER_TYPES:
            raise Unsupported("KvCacheFamily", f"no KV-cache rule for layers of type {name!r} in model type {text.model_type!r}")
    if config.bool("is_encoder_decoder") or text.bool("is_encoder_decoder"):
        raise Unsupported("KvCacheFamily", f"no KV-cache rule for the encoder-decoder model type {text.model_type!r}")


def nemotron_nas(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """`block_configs` gives each layer its own number of key/value heads, or no attention at all."""
    text = config.text
    width = kv_head_bytes(resolved.kv_cache_dtype, resolved.dtype, shape.head_dim, shape.head_dim)
    made: dict[int, AttentionNeed] = {}
    layers: list[tuple[Need, ...]] = []
    for i, entry in enumerate(text.list_or_none("block_configs") or ()):
        attention = HfConfig(entry, f"{text.path}.block_configs[{i}]").sub("attention")
        if attention is None:
            raise InvalidInput(f"{text.path}.block_configs[{i}].attention", None, "is required")
        if attention.bool("no_op") or attention.bool("replace_with_linear"):
            layers.append(())
            continue
        heads = max(
            1,
            shape.heads
            // positive(attention, "n_heads_in_group", attention.int("n_heads_in_group"), MAX_WIDTH)
            // resolved.tensor_parallel_size,
        )
        layers.append((made.setdefault(heads, AttentionNeed(kind="full", token_bytes=heads * width)),))
    return ModelNeeds(layers=tuple(layers), backend=_ordinary(shape, resolved, rules), attention_token_bytes=width)


def longcat(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Two latent attentions in every layer."""
    token_bytes = mla_token_bytes(resolved.kv_cache_dtype, resolved.dtype, shape.kv_lora_rank + shape.qk_rope_head_dim, sparse=False)
    need = AttentionNeed(kind="mla", token_bytes=token_bytes)
    backend = mla_backend(resolved.gpu.capability, resolved.kv_cache_dtype, rules, shape.qk_nope_head_dim)
    return ModelNeeds(layers=((need, need),) * shape.layers, backend=backend, attention_token_bytes=token_bytes, uses_mla=True)


def whisper(config: HfConfig, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """A decoder layer keeps its own tokens and, per request, the encoder's 30 seconds."""
    text = config.text
    heads = positive(text, "decoder_attention_heads", text.int("decoder_attention_heads"), MAX_WIDTH)
    head_dim = positive(text, "d_model", text.int("d_model", "hidden_size") // heads, MAX_WIDTH)
    layers = positive(text, "decoder_layers", text.int("decoder_layers"), MAX_LAYERS)
    token_bytes = max(1, heads // resolved.tensor_parallel_size) * kv_head_bytes(
        resolved.kv_cache_dtype, resolved.dtype, head_dim, head_dim
    )
    own = AttentionNeed(kind="full", token_bytes=token_bytes)
    cross = AttentionNeed(kind="cross", token_bytes=token_bytes)
    backend = attention_backend(
        resolved.gpu.capability, resolved.kv_cache_dtype, rules, head_sizes=frozenset({head_dim}), mm_prefix=False, has_sink=False
    )
    return ModelNeeds(
        layers=((own, cross),) * layers,
        backend=backend,
        attention_token_bytes=token_bytes,
        encoder_tokens=text.int("max_source_positions", default=1500),
    )


def _ordinary(shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> Backend:
    return attention_backend(
        resolved.gpu.capability, resolved.kv_cache_dtype, rules, head_sizes=frozenset({shape.head_dim}), mm_prefix=False, has_sink=False
    )
