"""Decoders with layouts of their own: Falcon, OPT, MiMo-V2, MiniMax-M3.

Sources: vllm/model_executor/models/{falcon,opt,mimo_v2}.py, vllm/models/minimax_m3/.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights.decoder import DecoderStyle, MoeStyle, attention, mlp, moe, sizes, stack
from plimsoll_estimator.weights.rank import Rank
from plimsoll_estimator.weights.rope import rope


def falcon(rank: Rank) -> None:
    """FalconForCausalLM: multi-query or grouped heads, one or two LayerNorms beside each other."""
    text = rank.text
    new = text.bool("new_decoder_architecture")
    parallel = text.bool("parallel_attn", True)
    two = new and (text.int_or_none("num_ln_in_parallel_attn") or 2) == 2
    style = DecoderStyle(
        tied=True,
        gated=False,
        qkv_bias=("bias",),
        o_bias=("bias",),
        mlp_bias=("bias",),
        norm_bias=True,
        norms=2 if two or not parallel else 1,
        attention="self_attention",
        o_name="dense",
        mlp_names=("dense_h_to_4h",),
        down_name="dense_4h_to_h",
        embedding_always=True,
        norm_always=True,
        positions=2048,
    )
    size = sizes(text, style, rank.config)
    if not new and text.bool("multi_query", True):
        size = replace(size, kv_heads=1)
    elif not new:
        size = replace(size, kv_heads=size.heads)
    rotary = not text.bool("alibi")

    def layer(i: int) -> None:
        name = f"h.{i}"
        attention(rank, name, size, style)
        mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, bias=True, count=style.norms)
        if rotary:
            rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer)


def opt(rank: Rank) -> None:
    """OPTForCausalLM: learned positions (two more than the maximum), biases, tied head, perhaps a narrower embedding."""
    text = rank.text
    biased = text.bool("enable_bias", True)
    style = DecoderStyle(
        tied=True,
        gated=False,
        qkv_bias="yes" if biased else "no",
        o_bias="yes" if biased else "no",
        mlp_bias="yes" if biased else "no",
        norm_bias=text.bool("layer_norm_elementwise_affine", True),
        o_name="out_proj",
        mlp_names=("fc1",),
        down_name="fc2",
        embedding_always=True,
    )
    size = sizes(text, style, rank.config)
    projected = text.int("word_embed_proj_dim", default=size.hidden)
    final = text.bool("do_layer_norm_before", True) and not text.bool("_remove_final_layer_norm")
    if not final:
        style = replace(style, norms=0)

    def layer(i: int) -> None:
        name = f"decoder.layers.{i}"
        attention(rank, name, size, style)
        mlp(rank, name, size.hidden, size.intermediate, style)
        rank.norm(size.hidden, bias=style.norm_bias, count=2)

    rank.tensor((size.positions + 2) * size.hidden)
    if projected != size.hidden:
        rank.tensor(2 * projected * size.hidden)
        rank.embedding(size.vocabulary, projected)
        rank.created_bytes -= _embedding_bytes(rank, size.vocabulary, size.hidden)
    stack(rank, size, replace(style, norm_always=True), layer)


def _embedding_bytes(rank: Rank, vocabulary: int, hidden: int) -> int:
    before = rank.created_bytes
    rank.embedding(vocabulary, hidden)
    added = rank.created_bytes - before
    rank.created_bytes = before
    return added


def _flag(text: HfConfig, key: str, layer: int) -> bool:
    values = text.list_or_none(key)
    return bool(values[layer]) if values is not None and layer < len(values) else False


def mimo_v2(rank: Rank) -> None:
    """MiMoV2FlashForCausalLM: window and full layers differ in heads and rope; value heads are narrower; sinks."""
    text = rank.text
    style = DecoderStyle()
    size = sizes(text, style, rank.config)
    gate = 4 if (text.str_or_none("moe_router_dtype") or "float32") == "float32" else 0
    block = MoeStyle(gate_item=gate, correction=True, intermediate=("moe_intermediate_size",))

    def layer(i: int) -> None:
        name, window = f"layers.{i}", _flag(text, "hybrid_layer_pattern", i)
        parent, mark = f"{name}.self_attn", "swa_" if window else ""
        heads = text.int(f"{mark}num_attention_heads", "num_attention_heads")
        kv_heads = text.int(f"{mark}num_key_value_heads", "num_key_value_heads")
        head_dim = text.int(f"{mark}head_dim", "head_dim")
        v_dim = text.int_or_none(f"{mark}v_head_dim", "v_head_dim") or head_dim
        rank.qkv(parent, size.hidden, heads, kv_heads, head_dim, v_dim, bias=text.bool("attention_bias"), lenient=True)
        rank.row(parent, "o_proj", heads * v_dim, size.hidden)
        rank.attention_scales(parent)
        if text.bool("add_swa_attention_sink_bias" if window else "add_full_attention_sink_bias"):
            rank.tensor(heads // rank.tp)
        if _flag(text, "moe_layer_freq", i):
            moe(rank, name, size.hidden, block)
        else:
            mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)
        theta = text.float_or_none(f"{mark}rope_theta", "rope_theta")
        partial = text.float_or_none("partial_rotary_factor") or 1.0
        rope(rank, head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta}, partial=partial)

    stack(rank, size, style, layer, lambda i: (_flag(text, "hybrid_layer_pattern", i), _flag(text, "moe_layer_freq", i)))


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
        if _flag(sparse, "sparse_attention_freq", i):
            kv = rank.kv_heads(size.kv_heads) * size.head_dim
            index = rank.kv_heads(index_heads) * index_dim
            parts = (size.heads // rank.tp * size.head_dim, kv, kv, index, index_dim)
            names = ("q_proj", "k_proj", "v_proj", "index_q_proj", "index_k_proj")
            rank.column(parent, names, size.hidden, parts, tp=1)
            rank.norm(index_dim, count=2)
        else:
            rank.qkv(parent, size.hidden, size.heads, size.kv_heads, size.head_dim)
        rank.row(parent, "o_proj", size.heads * size.head_dim, size.hidden)
        rank.norm(size.head_dim, count=2)
        if rank.version >= (0, 26) or not _flag(sparse, "sparse_attention_freq", i):
            rank.attention_scales(parent)
        if _flag(text, "moe_layer_freq", i):
            moe(rank, name, size.hidden, block)
            mlp(rank, f"{name}.block_sparse_moe.shared_experts", size.hidden, shared, style)
        else:
            mlp(rank, f"{name}.mlp", size.hidden, dense, style)
        rank.norm(size.hidden, count=2)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)

    def kind(i: int) -> tuple[bool, bool]:
        return _flag(sparse, "sparse_attention_freq", i), _flag(text, "moe_layer_freq", i)

    stack(rank, size, style, layer, kind)
