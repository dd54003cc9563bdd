"""MiniMax: Text-01 and M1 with lightning attention, M2, and M3 with sparse attention, alone and behind its tower.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{minimax_text_01,minimax_m2}.py, mamba/linear_attn.py (0.22.1), vllm/models/minimax_m3/ (0.33.0).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import VOCABULARY_PADDING, Rank, divide
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import Experts, IndexKeys, Lightning, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import ATTENDS, by_name, hybrid, mixture, routed_experts
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer, stage_layers
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.minimax_vit import minimax_tower
from plimsoll_estimator.units import round_up

_FREQUENCIES: Final = (*(0,) * 3, *(1,) * 57)
_SPARSE_ATTENTION: Final = {
    "sparse_index_dim": 128, "sparse_num_index_heads": 4, "sparse_block_size": 128, "sparse_attention_freq": list(_FREQUENCIES),
}  # fmt: skip


def _of_layer(value: Any, i: int, default: int) -> int:
    """One number, or the number of this layer in a list."""
    if isinstance(value, list | tuple):
        value = value[i] if i < len(value) else default
    return value if isinstance(value, int) and 0 <= value < 1 << 20 else default


def minimax_text_01(rank: Rank) -> None:
    """MiniMax-Text-01 and M1: lightning attention with gates and a divided norm, full attention in between, experts; a head in float32.

    Read from minimax_text_01.py and mamba/linear_attn.py of 0.22.1.
    """
    size = rank.shape.size
    rotary, inner = rank.text.int("rotary_dim", default=size.head_dim), size.heads * size.head_dim
    longest = min(size.positions, rank.resolved.max_model_len)

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            rank.qkv(name, size.hidden_size, size.heads, size.kv_heads, size.head_dim)
            rank.row(name, "o_proj", inner, size.hidden_size)
            rank.attention_scales(name)
            rope(rank, size.head_dim, longest, rotary_dim=rotary, item=4)
        else:
            rank.column(name, ("qkv_proj",), size.hidden_size, (3 * inner,))
            rank.column(name, ("output_gate",), size.hidden_size, (inner,))
            rank.row(name, "out_proj", inner, size.hidden_size)
            rank.norm(divide(inner, rank.tp))
        _experts_and_shared(rank, name, made.ffn)
        rank.norm(size.hidden_size, count=2)

    if rank.first:
        rank.embedding(size.vocab_size, size.hidden_size)
    rank.layers(stage_layers(size.layer_count, rank.resolved.pipeline_parallel_size)[rank.stage], rank.kind, layer)
    if rank.last:
        rank.norm(size.hidden_size)
        rank.tensor(divide(round_up(size.vocab_size, VOCABULARY_PADDING), rank.tp) * size.hidden_size, 4)


def _experts_and_shared(rank: Rank, name: str, ffn: Mlp | Experts | None) -> None:
    """Experts or an MLP; an MLP wider than the model's own holds the shared one, which has a gate in float32."""
    hidden, style = rank.shape.size.hidden_size, DecoderStyle()
    width = rank.shape.size.intermediate_size
    if isinstance(ffn, Experts):
        rank.tensor(ffn.count * hidden, 4)
        rank.experts(f"{name}.experts", ffn.count, hidden, ffn.width)
        shared = ffn.shared
    else:
        mlp(rank, name, hidden, width, style)
        shared = ffn.width - width if ffn is not None else 0
    if shared:
        mlp(rank, name, hidden, shared, style)
        rank.tensor(hidden, 4)


def _attends(text: HfConfig, count: int) -> list[bool]:
    """MiniMaxText01Model: the first list that the file has; MiniMaxConfig fills in every other layer from the first on."""
    for key in ("attn_type_list", "decoder_attention_types"):
        flags = text.list_or_none(key)
        if flags:
            return [_flag(text, key, flags[i] if i < len(flags) else None) for i in range(count)]
    listed = by_name(text, count, ATTENDS, "layer_types")
    if listed is not None:
        return listed
    return [i % 2 == 0 or text.model_type != "minimax" for i in range(count)]


def _flag(text: HfConfig, key: str, flag: object) -> bool:
    if flag not in (0, 1):
        raise InvalidInput(f"{text.path}.{key}", flag, "must be 0 (lightning) or 1 (full) for each layer")
    return flag == 1


def _text_01(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """One expert alone is an MLP; experts and shared widths may differ from layer to layer."""
    count = size.layer_count
    state = Lightning(heads=size.heads, head_dim=size.head_dim)
    counts, widths = text.raw("num_local_experts"), text.raw("shared_intermediate_size")

    def ffn(i: int) -> Mlp | Experts:
        experts, shared = _of_layer(counts, i, 1), _of_layer(widths, i, 0)
        if experts == 1:
            return Mlp(width=size.intermediate_size + shared)
        return routed_experts(text, size.intermediate_size, shared=shared, count=experts)

    return stacks.stack(hybrid(_attends(text, count), stacks.attention(size), state), [ffn(i) for i in range(count)])


def minimax_m2(rank: Rank) -> None:
    """MiniMaxM2ForCausalLM: norms over the rank's query and key channels, float32 router with correction."""
    text, size = rank.text, rank.shape.size
    style, sparse = DecoderStyle(ties=False), _sparse_style(text)
    rotary = text.int_or_none("rotary_dim")
    heads, kv = size.heads // rank.tp, rank.kv_heads(size.kv_heads)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.norm((heads + kv) * size.head_dim)
        feed_forward(rank, name, rank.shape.layers[i].ffn, style, sparse)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)

    stack(rank, size, style, layer, rank.kind)


def _sparse_style(text: HfConfig) -> MoeStyle:
    return MoeStyle(parent="block_sparse_moe", gate_item=4, correction=text.bool("use_routing_bias", True))


def minimax_m3(rank: Rank) -> None:
    """MiniMaxM3SparseForCausalLM: an index head set in the fused projection of sparse layers, float32 router, shared expert."""
    text, size = rank.text, rank.shape.size
    style, sparse = DecoderStyle(qk_norm="head"), _sparse_style(text)
    rotary = text.int_or_none("rotary_dim")

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        parent, chooses = f"{name}.self_attn", made.mixes(IndexKeys)
        if chooses:
            _indexed_projection(rank, parent, made.mixer(IndexKeys).width)
        else:
            rank.qkv(parent, size.hidden_size, size.heads, size.kv_heads, size.head_dim)
        rank.row(parent, "o_proj", size.heads * size.head_dim, size.hidden_size)
        rank.norm(size.head_dim, count=2)
        if rank.version.since(0, 26) or not chooses:
            rank.attention_scales(parent)
        feed_forward(rank, name, made.ffn, style, sparse)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)

    stack(rank, size, style, layer, rank.kind)


def _indexed_projection(rank: Rank, parent: str, index_dim: int) -> None:
    """Queries, keys, values and what chooses blocks of them, in one weight."""
    size = rank.shape.size
    kv = rank.kv_heads(size.kv_heads) * size.head_dim
    index = rank.kv_heads(positive(_sparse_attention(rank.text), "sparse_num_index_heads", limit=MAX_WIDTH)) * index_dim
    parts = (size.heads // rank.tp * size.head_dim, kv, kv, index, index_dim)
    rank.column(parent, ("q_proj", "k_proj", "v_proj", "index_q_proj", "index_k_proj"), size.hidden_size, parts, tp=1)
    rank.norm(index_dim, count=2)


def _sparse_attention(text: HfConfig) -> HfConfig:
    """`sparse_attention_config`, or what MiniMaxM3TextConfig fills in."""
    return text.sub("sparse_attention_config") or HfConfig(_SPARSE_ATTENTION, f"{text.path}.sparse_attention_config")


def _m3(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Ordinary attention in every layer, index keys beside it in sparse ones; MLPs of a width of their own, then experts."""
    count, sparse, full = size.layer_count, _sparse_attention(text), stacks.attention(size)
    index = IndexKeys(
        width=positive(sparse, "sparse_index_dim", default=128, limit=MAX_WIDTH),
        block=positive(sparse, "sparse_block_size", default=128, limit=MAX_WIDTH),
    )
    chooses = sparse.list_or_none("sparse_attention_freq") or ()
    routed = _FREQUENCIES if text.raw("moe_layer_freq") is None else text.list_or_none("moe_layer_freq") or ()
    if len(routed) < count:
        raise InvalidInput(f"{text.path}.moe_layer_freq", len(routed), f"must have an entry for each of the {count} layers")
    dense = Mlp(width=positive(text, "dense_intermediate_size", "intermediate_size", limit=MAX_WIDTH))
    block = routed_experts(text, size.intermediate_size)
    return stacks.stack(
        [(full, index) if i < len(chooses) and chooses[i] else (full,) for i in range(count)],
        [block if routed[i] else dense for i in range(count)],
    )


M3 = Model(
    classes=("MiniMaxM3SparseForCausalLM", "MiniMaxM3ForCausalLM"),
    model_types=("minimax_m3_text", "minimax_m3", "minimax_m3_vl"),
    weights=minimax_m3,
    layers=_m3,
    predictions=partial(stacks.predicted, silent=1),
)
MODELS = (
    Model(
        classes=("MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM", "MiniMaxForCausalLM"),
        model_types=("minimax", "minimax_text_01", "minimax_m1"),
        weights=minimax_text_01,
        layers=_text_01,
    ),
    Model(classes=("MiniMaxM2ForCausalLM",), model_types=("minimax_m2",), weights=minimax_m2, layers=mixture),
    M3,
    seeing(M3, behind(minimax_tower), classes=("MiniMaxM3SparseForConditionalGeneration",), drafter="MiniMaxM3MTP"),
)
