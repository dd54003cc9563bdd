"""MiniMax: Text-01 and M1 with lightning attention, M2, and M3 with sparse attention, alone and behind its tower.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{minimax_text_01,minimax_m2}.py, mamba/linear_attn.py (0.22.1), vllm/models/minimax_m3/ (0.33.0).
"""

from __future__ import annotations

from typing import Any

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import Backend
from plimsoll_estimator.layers.caches import ATTENTION, STATE, mixed_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, layer_flag, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.kv_dtype import kv_head_bytes
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import VOCABULARY_PADDING, Rank, divide, stage_layers
from plimsoll_estimator.layers.recurrent import lightning_bytes, state_need
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.minimax_vit import minimax_tower
from plimsoll_estimator.units import round_up


def _of_layer(value: Any, i: int, default: int) -> int:
    """One number, or the number of this layer in a list."""
    if isinstance(value, list | tuple):
        value = value[i] if i < len(value) else default
    return value if isinstance(value, int) and 0 <= value < 1 << 20 else default


def minimax_text_01(rank: Rank) -> None:
    """MiniMax-Text-01 and M1: lightning attention with gates and a divided norm, full attention in between, experts; a head in float32.

    Read from minimax_text_01.py and mamba/linear_attn.py of 0.22.1.
    """
    text = rank.text
    style = DecoderStyle()
    size = sizes(text, style, rank.config)
    flags = text.list_or_none("attn_type_list") or text.list_or_none("decoder_attention_types") or text.list_or_none("layer_types")
    counts, shared = text.raw("num_local_experts"), text.raw("shared_intermediate_size")
    rotary, inner = text.int("rotary_dim", default=size.head_dim), size.heads * size.head_dim
    longest = min(size.positions, rank.resolved.max_model_len)

    def kind(i: int) -> tuple[bool, int, int]:
        attends = flags is None or (i < len(flags) and flags[i] in (1, "full_attention"))
        return attends, _of_layer(counts, i, 1), _of_layer(shared, i, 0)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attends, experts, shared_width = kind(i)
        if attends:
            rank.qkv(name, size.hidden_size, size.heads, size.kv_heads, size.head_dim)
            rank.row(name, "o_proj", inner, size.hidden_size)
            rank.attention_scales(name)
            rope(rank, size.head_dim, longest, rotary_dim=rotary, item=4)
        else:
            rank.column(name, ("qkv_proj",), size.hidden_size, (3 * inner,))
            rank.column(name, ("output_gate",), size.hidden_size, (inner,))
            rank.row(name, "out_proj", inner, size.hidden_size)
            rank.norm(divide(inner, rank.tp))
        if experts == 1:
            mlp(rank, name, size.hidden_size, size.intermediate_size, style)
        else:
            rank.tensor(experts * size.hidden_size, 4)
            rank.experts(f"{name}.experts", experts, size.hidden_size, size.intermediate_size)
        if shared_width:
            mlp(rank, name, size.hidden_size, shared_width, style)
            rank.tensor(size.hidden_size, 4)
        rank.norm(size.hidden_size, count=2)

    if rank.first:
        rank.embedding(size.vocab_size, size.hidden_size)
    rank.layers(stage_layers(size.num_hidden_layers, rank.resolved.pipeline_parallel_size)[rank.stage], kind, layer)
    if rank.last:
        rank.norm(size.hidden_size)
        rank.tensor(divide(round_up(size.vocab_size, VOCABULARY_PADDING), rank.tp) * size.hidden_size, 4)


def minimax_m2(rank: Rank) -> None:
    """MiniMaxM2ForCausalLM: norms over the rank's query and key channels, float32 router with correction."""
    text = rank.text
    style = DecoderStyle(ties=False)
    size = sizes(text, style, rank.config)
    sparse = MoeStyle(
        parent="block_sparse_moe", intermediate=("intermediate_size",), gate_item=4, correction=text.bool("use_routing_bias", True)
    )
    rotary = text.int_or_none("rotary_dim")
    heads, kv = size.heads // rank.tp, rank.kv_heads(size.kv_heads)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.norm((heads + kv) * size.head_dim)
        moe(rank, name, size.hidden_size, sparse)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)

    stack(rank, size, style, layer)


def minimax_m3(rank: Rank) -> None:
    """MiniMaxM3SparseForCausalLM: an index head set in the fused projection of sparse layers, float32 router, shared expert."""
    text = rank.text
    style = DecoderStyle(qk_norm="head")
    size = sizes(text, style, rank.config)
    sparse = text.sub("sparse_attention_config") or HfConfig({}, "sparse_attention_config")
    index_heads, index_dim = sparse.int("sparse_num_index_heads", default=0), sparse.int("sparse_index_dim", default=128)
    shared = (text.int_or_none("n_shared_experts") or 0) * text.int("shared_intermediate_size", "intermediate_size")
    dense = text.int("dense_intermediate_size", "intermediate_size")
    block = MoeStyle(
        parent="block_sparse_moe", intermediate=("intermediate_size",), gate_item=4, correction=text.bool("use_routing_bias", True)
    )
    rotary = text.int_or_none("rotary_dim")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        parent = f"{name}.self_attn"
        if layer_flag(sparse, "sparse_attention_freq", i):
            kv = rank.kv_heads(size.kv_heads) * size.head_dim
            index = rank.kv_heads(index_heads) * index_dim
            parts = (size.heads // rank.tp * size.head_dim, kv, kv, index, index_dim)
            names = ("q_proj", "k_proj", "v_proj", "index_q_proj", "index_k_proj")
            rank.column(parent, names, size.hidden_size, parts, tp=1)
            rank.norm(index_dim, count=2)
        else:
            rank.qkv(parent, size.hidden_size, size.heads, size.kv_heads, size.head_dim)
        rank.row(parent, "o_proj", size.heads * size.head_dim, size.hidden_size)
        rank.norm(size.head_dim, count=2)
        if rank.version.since(0, 26) or not layer_flag(sparse, "sparse_attention_freq", i):
            rank.attention_scales(parent)
        if layer_flag(text, "moe_layer_freq", i):
            moe(rank, name, size.hidden_size, block)
            mlp(rank, f"{name}.block_sparse_moe.shared_experts", size.hidden_size, shared, style)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, dense, style)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)

    def kind(i: int) -> tuple[bool, bool]:
        return layer_flag(sparse, "sparse_attention_freq", i), layer_flag(text, "moe_layer_freq", i)

    stack(rank, size, style, layer, kind)


minimax_m3_vision = with_tower(minimax_tower, minimax_m3)


def lightning_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """MiniMax-Text-01 and M1: `attn_type_list` or `layer_types` tell lightning (0) from full (1)."""
    text = language(config)
    flags = text.list_or_none("attn_type_list") or text.list_or_none("layer_types") or ()
    kinds = [ATTENTION if i < len(flags) and flags[i] in (1, "full_attention") else STATE for i in range(shape.layers)]
    state = state_need(resolved, rules, lightning_bytes(resolved, heads=shape.heads, head_dim=shape.head_dim), role="lightning")
    return mixed_caches(shape, resolved, rules, kinds, state)


def minimax_m3_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Ordinary keys and values in every layer, and one 16-bit index key on the sparse ones."""
    text = language(config)
    token_bytes = shape.kv_heads_per_rank(resolved.tensor_parallel_size) * kv_head_bytes(
        resolved.kv_cache_dtype, resolved.dtype, shape.head_dim, shape.head_dim
    )
    attention = AttentionNeed(kind="full", token_bytes=token_bytes)
    sparse = text.sub("sparse_attention_config")
    flags = (sparse.list_or_none("sparse_attention_freq") if sparse else None) or (0,) * shape.layers
    width = sparse.int("sparse_index_dim", default=128) if sparse else 128
    indexer = AttentionNeed(kind="mla", token_bytes=width * 2, role="indexer")
    plain: tuple[Need, ...] = (attention,)
    chooses: tuple[Need, ...] = (attention, indexer)
    layers = tuple(chooses if i < len(flags) and flags[i] else plain for i in range(shape.layers))
    block = (sparse.int("sparse_block_size", default=128) if sparse else 128) if rules.common_block_of_backends else 16
    return ModelNeeds(
        layers=layers,
        backend=Backend(name="MINIMAX_M3_SPARSE", block_size=block, kernel_block=block),
        attention_token_bytes=token_bytes,
    )
