"""Gemma 3 and 4 text models, and Llama 4's: layers that alternate between local and global attention.

Sources: vllm/model_executor/models/{gemma3,gemma4,llama4}.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights import dense
from plimsoll_estimator.weights.decoder import DecoderStyle, MoeStyle, attention, expert_count, mlp, moe, sizes, stack
from plimsoll_estimator.weights.rank import Rank, positive
from plimsoll_estimator.weights.rope import rope, rope_parameters

GEMMA3 = replace(dense.GEMMA2, qk_norm="head")


def locality(text: HfConfig, pattern: int) -> Callable[[int], bool]:
    """Whether a layer is local: `layer_types` where it reaches, else all but every `pattern`-th."""
    kinds = text.list_or_none("layer_types") or ()

    def is_local(layer: int) -> bool:
        if layer < len(kinds):
            return bool(kinds[layer] == "sliding_attention")
        return (layer + 1) % pattern != 0

    return is_local


def gemma3(rank: Rank) -> None:
    """Gemma3ForCausalLM: local layers have an unscaled rope table of their own."""
    text = rank.text
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208, "max_position_embeddings": 131072}
    filled = HfConfig({**heads, **text.as_mapping()}, text.path)
    size = sizes(filled, GEMMA3, rank.config)
    is_local = locality(text, positive(text, "sliding_window_pattern", "_sliding_window_pattern", default=6))

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, GEMMA3)
        mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, GEMMA3)
        rank.norm(size.hidden, count=4)
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
    first_shared = size.layers - shared
    per_layer = text.int_or_none("hidden_size_per_layer_input") or 0
    wide = text.bool("use_double_wide_mlp")
    experts = text.bool("enable_moe_block")

    is_local = locality(text, 6)

    def kind(i: int) -> tuple[bool, bool]:
        # The last layer is global whatever the list says (Transformers' Gemma4TextConfig).
        return is_local(i) and i < size.layers - 1, shared > 0 and i >= first_shared

    def layer(i: int) -> None:
        local, sharing = kind(i)
        name = f"layers.{i}"
        _gemma4_attention(rank, name, size.hidden, size.heads, local, sharing)
        mlp(rank, f"{name}.mlp", size.hidden, size.intermediate * (2 if wide and sharing else 1), style)
        rank.norm(size.hidden, count=4)
        rank.tensor(1)
        if per_layer:
            rank.replicated(name, ("per_layer_input_gate",), size.hidden, (per_layer,))
            rank.replicated(name, ("per_layer_projection",), per_layer, (size.hidden,))
            rank.norm(size.hidden)
        if experts:
            count = expert_count(text)
            rank.tensor(size.hidden + count + count * size.hidden + 1)
            rank.experts(f"{name}.experts", count, size.hidden, text.int("moe_intermediate_size", "expert_intermediate_size"))
            rank.norm(size.hidden, count=3)
        _gemma4_rope(rank, text, size.head_dim, size.positions, local)

    stack(rank, size, style, layer, kind)
    if per_layer:
        rank.embedding(text.int("vocab_size_per_layer_input", default=size.vocabulary), size.layers * per_layer)
        rank.column("", ("per_layer_model_projection",), size.hidden, (size.layers * per_layer,))
        rank.norm(per_layer)
        rank.tensor(3)


def _gemma4_attention(rank: Rank, layer: str, hidden: int, heads: int, local: bool, sharing: bool) -> None:
    text = rank.text
    parent = f"{layer}.self_attn"
    head_dim = text.int("head_dim", default=256) if local else positive(text, "global_head_dim", default=512)
    kv_heads, bias = text.int("num_key_value_heads"), text.bool("attention_bias")
    if not local and text.bool("attention_k_eq_v"):
        kv_heads = text.int_or_none("num_global_key_value_heads") or kv_heads
    if sharing and rank.version >= (0, 30):
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


def llama4(rank: Rank) -> None:
    """Llama4ForCausalLM: dense and sparse layers interleaved, a shared expert, one rope table for the layers that rotate."""
    text = rank.text
    style = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    step = text.int("interleave_moe_layer_step", default=1)
    listed = text.list_or_none("moe_layers")
    block = MoeStyle(
        parent="feed_forward", intermediate=("intermediate_size",), shared="size", shared_name="shared_expert", unsplit_since=(0, 11)
    )
    flat = text.int("intermediate_size_mlp", default=size.intermediate)

    def routed(i: int) -> bool:
        if listed:
            return i in listed
        return step > 0 and (i + 1) % step == 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        if routed(i):
            moe(rank, name, size.hidden, block)
            mlp(rank, f"{name}.feed_forward.shared_expert", size.hidden, size.intermediate, style, rank.shared_experts_tp((0, 11)))
        else:
            mlp(rank, f"{name}.feed_forward", size.hidden, flat, style)
        rank.norm(size.hidden, count=2)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer, routed)
