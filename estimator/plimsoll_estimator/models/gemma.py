"""Gemma 1 to 4, with and without their towers: layers that alternate between local and global attention.

`models.register` names it; `models.gemma3n` is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{gemma,gemma2,gemma3,gemma3_mm,gemma4,gemma4_mm}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import attention_backend
from plimsoll_estimator.layers.caches import head_bytes
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.experts import expert_count
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.layers.windows import layer_windows, locality
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.gemma4 import gemma4_tower
from plimsoll_estimator.towers.siglip import gemma3_tower

GEMMA = DecoderStyle(
    tied=True,
    head_dim=256,
    normalizer=True,
    embedding_always=True,
    norm_always=True,
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
)
GEMMA2 = replace(GEMMA, norms=4)
GEMMA3 = replace(GEMMA2, qk_norm="head")


def gemma3(rank: Rank) -> None:
    """Gemma3ForCausalLM: local layers have an unscaled rope table of their own."""
    text = rank.text
    size = sizes(text, GEMMA3, rank.config)
    is_local = locality(text, positive(text, "sliding_window_pattern", "_sliding_window_pattern", default=6))

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, GEMMA3)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, GEMMA3)
        rank.norm(size.hidden_size, count=4)
        if is_local(i):
            rope(rank, size.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": "local"})
        else:
            rope(rank, size.head_dim, size.positions, parameters=rope_parameters(text, "full_attention"))

    stack(rank, size, GEMMA3, layer, is_local)


def gemma4(rank: Rank) -> None:
    """Gemma4: two head sizes, layers that share keys and values, per-layer embeddings, experts beside the MLP."""
    text = rank.text
    style = replace(GEMMA3, qkv_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    shared = text.int_or_none("num_kv_shared_layers") or 0
    first_shared = size.num_hidden_layers - shared
    per_layer = text.int_or_none("hidden_size_per_layer_input") or 0
    wide = text.bool("use_double_wide_mlp")
    experts = text.bool("enable_moe_block")

    is_local = locality(text, 6)

    def kind(i: int) -> tuple[bool, bool]:
        # The last layer is global whatever the list says (Transformers' Gemma4TextConfig).
        return is_local(i) and i < size.num_hidden_layers - 1, shared > 0 and i >= first_shared

    def layer(i: int) -> None:
        local, sharing = kind(i)
        name = f"layers.{i}"
        _gemma4_attention(rank, name, size.hidden_size, size.heads, local, sharing)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size * (2 if wide and sharing else 1), style)
        rank.norm(size.hidden_size, count=4)
        rank.tensor(1)
        if per_layer:
            rank.replicated(name, ("per_layer_input_gate",), size.hidden_size, (per_layer,))
            rank.replicated(name, ("per_layer_projection",), per_layer, (size.hidden_size,))
            rank.norm(size.hidden_size)
        if experts:
            count = expert_count(text)
            rank.tensor(size.hidden_size + count + count * size.hidden_size + 1)
            rank.experts(f"{name}.experts", count, size.hidden_size, text.int("moe_intermediate_size", "expert_intermediate_size"))
            rank.norm(size.hidden_size, count=3)
        _gemma4_rope(rank, text, size.head_dim, size.positions, local)

    stack(rank, size, style, layer, kind)
    if per_layer:
        rank.embedding(text.int("vocab_size_per_layer_input", default=size.vocab_size), size.num_hidden_layers * per_layer)
        rank.column("", ("per_layer_model_projection",), size.hidden_size, (size.num_hidden_layers * per_layer,))
        rank.norm(per_layer)
        rank.tensor(3)


def _gemma4_attention(rank: Rank, layer: str, hidden: int, heads: int, local: bool, sharing: bool) -> None:
    text = rank.text
    parent = f"{layer}.self_attn"
    head_dim = text.int("head_dim", default=256) if local else positive(text, "global_head_dim", default=512)
    kv_heads, bias = text.int("num_key_value_heads"), text.bool("attention_bias")
    if not local and text.bool("attention_k_eq_v"):
        kv_heads = text.int_or_none("num_global_key_value_heads") or kv_heads
    if sharing and rank.version.since(0, 30):
        rank.column(parent, ("q_proj",), hidden, (heads * head_dim,), bias=bias)
        rank.norm(head_dim)
    else:
        rank.qkv(parent, hidden, heads, kv_heads, head_dim, bias=bias)
        rank.norm(head_dim, count=2)
    rank.row(parent, "o_proj", heads * head_dim, hidden, bias=bias)
    rank.attention_scales(parent)


def _gemma4_rope(rank: Rank, text: HfConfig, head_dim: int, positions: int, local: bool) -> None:
    if local:
        rope(rank, head_dim, positions, parameters={"rope_type": "default", "rope_theta": "local"})
    else:
        width = positive(text, "global_head_dim", default=512)
        rope(rank, width, positions, parameters=rope_parameters(text, "full_attention"), rotary_dim=width)


gemma3_vision = with_tower(gemma3_tower, gemma3)
gemma4_vision = with_tower(gemma4_tower, gemma4)


def gemma4_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Local and global layers differ in heads and width; the last layers read the cache of earlier ones."""
    text, tp = language(config), resolved.tensor_parallel_size
    wide = text.int("global_head_dim", default=shape.head_dim)
    wide_heads = (text.int_or_none("num_global_key_value_heads") if text.bool("attention_k_eq_v") else None) or shape.kv_heads
    window = text.int("sliding_window")
    local = AttentionNeed(
        kind="sliding", window=window, token_bytes=shape.kv_heads_per_rank(tp) * head_bytes(resolved, shape.head_dim, shape.head_dim)
    )
    globe = AttentionNeed(kind="full", token_bytes=max(1, wide_heads // tp) * head_bytes(resolved, wide, wide))
    shared = text.int("num_kv_shared_layers", default=0)
    kinds = [kind for kind, _ in layer_windows(text, shape)]
    kinds[-1] = "full"  # whatever the list says (Transformers' Gemma4TextConfig)
    own, parts = shape.layers - shared, {"sliding": (local,), "full": (globe,)}
    layers: tuple[tuple[Need, ...], ...] = tuple(parts[kind] if i < own else () for i, kind in enumerate(kinds))
    backend = attention_backend(
        resolved.gpu.capability,
        resolved.kv_cache_dtype,
        rules,
        head_sizes=frozenset({shape.head_dim, wide}),
        mm_prefix=text.raw("use_bidirectional_attention") == "vision" and not resolved.text_only,
        has_sink=False,
    )
    return ModelNeeds(layers=layers, backend=backend, attention_token_bytes=globe.token_bytes)
