"""Hybrids of few relatives: Zamba 2, OLMo Hybrid, Step 3.5, MiniMax-Text-01.

Sources: vllm/model_executor/models/{zamba2,olmo_hybrid,step3p5}.py (0.17.1 to 0.33.0). Knows no quantisation.
"""

from __future__ import annotations

from typing import Any, Final

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.units import round_up
from plimsoll_estimator.weights.decoder import DecoderStyle, MoeStyle, attention, mlp, moe, sizes, stack
from plimsoll_estimator.weights.hybrids import Mamba2, mamba2
from plimsoll_estimator.weights.moe_families import everywhere
from plimsoll_estimator.weights.rank import VOCABULARY_PADDING, Rank, divide, positive, stage_layers
from plimsoll_estimator.weights.rope import rope

MOST_BLOCKS = 64


def zamba2(rank: Rank) -> None:
    """Zamba2ForCausalLM: Mamba 2 everywhere; a few attention blocks take turns in front of "hybrid" layers, with adapters of their own."""
    text = rank.text
    style = DecoderStyle(tied=True, embedding_always=True, norm_always=True)
    size = sizes(text, style, rank.config)
    if rank.resolved.pipeline_parallel_size > 1:
        raise Unsupported("UnsupportedArchitecture", "no rules for Zamba 2 on more than one pipeline stage")
    kinds = text.list_or_none("layers_block_type") or ()
    listed = text.list_or_none("hybrid_layer_ids")
    hybrid = [i for i in range(size.layers) if (i in listed if listed is not None else i < len(kinds) and kinds[i] == "hybrid")]
    blocks = positive(text, "num_mem_blocks", default=1, limit=MOST_BLOCKS)
    width = text.int("attention_hidden_size", default=2 * size.hidden)
    head_dim = text.int("attention_head_dim", default=2 * size.hidden // size.heads)
    rank_of_adapter = text.int("adapter_rank", default=128)
    dims = Mamba2(
        hidden=size.hidden,
        inner=text.int("mamba_expand", default=2) * size.hidden,
        heads=text.int("n_mamba_heads", default=8),
        groups=text.int("mamba_ngroups", default=1),
        state=text.int("mamba_d_state", default=64),
        kernel=text.int("mamba_d_conv", default=4),
        bias=text.bool("add_bias_linear"),
        conv_bias=text.bool("use_conv_bias", True),
    )

    def layer(i: int) -> None:
        mamba2(rank, f"layers.{i}.mamba", dims)
        rank.norm(size.hidden)
        if i not in hybrid:
            return
        rank.tensor(size.hidden * size.hidden)
        # An adapter belongs to every attention block it may meet, and each meets the layers of its turn.
        if text.bool("use_shared_mlp_adapter", True):
            rank.tensor(divide(rank_of_adapter, rank.tp) * size.hidden)
            rank.column("feed_forward", ("adapter",), rank_of_adapter, (size.intermediate, size.intermediate))
        if text.bool("use_shared_attention_adapter"):
            for _ in range(3):
                rank.tensor(divide(rank_of_adapter, rank.tp) * width)
                rank.column("self_attn", ("adapter",), rank_of_adapter, (width,))

    stack(rank, size, style, layer, lambda i: i in hybrid)
    for block in range(min(blocks, len(hybrid))):
        name = f"layers.{hybrid[block]}.shared_transformer"
        rank.qkv(f"{name}.self_attn", width, size.heads, size.kv_heads, head_dim)
        rank.row(f"{name}.self_attn", "o_proj", width, size.hidden)
        mlp(rank, f"{name}.feed_forward", size.hidden, size.intermediate, style)
        rank.norm(width + size.hidden)
    for _ in hybrid:
        rank.attention_scales("self_attn")
    if text.bool("use_mem_rope"):
        rope(rank, head_dim, size.positions)


def olmo_hybrid(rank: Rank) -> None:
    """OlmoHybridForCausalLM: Gated DeltaNet with plain gates, OLMo's attention with norms behind the blocks."""
    text = rank.text
    style = everywhere(DecoderStyle(qk_norm="full", qkv_bias=("attention_bias",), o_bias=("attention_bias",)))
    size = sizes(text, style, rank.config)
    kinds = text.list_or_none("layer_types") or ()
    keys = text.int("linear_num_key_heads")
    key, values = keys * text.int("linear_key_head_dim"), text.int("linear_num_value_heads")
    value = values * text.int("linear_value_head_dim")
    kernel = text.int("linear_conv_kernel_dim", default=4)
    rotates = text.raw("rope_parameters") is not None or text.raw("rope_theta") is not None

    def attends(i: int) -> bool:
        return kinds[i] == "full_attention" if i < len(kinds) else (i + 1) % 4 == 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if attends(i):
            attention(rank, name, size, style)
            if rotates:
                rope(rank, size.head_dim, size.positions)
        else:
            parent = f"{name}.linear_attn"
            rank.tensor(2 * divide(values, rank.tp))
            rank.column(parent, ("q_proj", "k_proj", "v_proj", "g_proj"), size.hidden, (key, key, value, value))
            rank.column(parent, ("b_proj",), size.hidden, (values,))
            rank.column(parent, ("a_proj",), size.hidden, (values,))
            rank.tensor(divide(2 * key + value, rank.tp) * kernel)
            rank.norm(text.int("linear_value_head_dim"))
            rank.row(parent, "o_proj", value, size.hidden)
        mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)

    stack(rank, size, style, layer, attends)


_LONGEST_NUMBER: Final = 16


def _numbers(text: HfConfig, key: str) -> frozenset[int]:
    """Layer numbers of a comma-separated string or a list."""
    value = text.raw(key)
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    words = (str(part)[:_LONGEST_NUMBER].strip() for part in parts)
    return frozenset(int(word) for word in words if word.isdecimal())


def step3p5(rank: Rank) -> None:
    """Step3p5ForCausalLM: windowed layers with heads of their own, a gate per head, float32 routers with a bias."""
    text = rank.text
    style = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    kinds = text.list_or_none("layer_types") or ()
    other = text.sub("attention_other_setting") or HfConfig({}, f"{text.path}.attention_other_setting")
    sparse = _numbers(text, "moe_layers_enum") or frozenset(range(1, size.layers))
    shared = text.int("share_expert_dim", "share_expert_dims", default=0)
    ropes = text.list_or_none("rope_theta") or ()
    shares = text.list_or_none("partial_rotary_factors") or ()
    block = MoeStyle(
        parent="moe", experts=("moe_num_experts",), intermediate=("moe_intermediate_size",),
        gate_item=4 if text.bool("need_fp32_gate") else 0, correction=text.bool("use_moe_router_bias"),
    )  # fmt: skip

    def windowed(i: int) -> bool:
        return i < len(kinds) and kinds[i] == "sliding_attention"

    def layer(i: int) -> None:
        name = f"layers.{i}"
        mine = size
        if windowed(i) and "num_attention_heads" in other:
            heads = positive(other, "num_attention_heads")
            mine = type(size)(
                layers=size.layers, hidden=size.hidden, heads=heads, kv_heads=other.int("num_attention_groups", default=size.kv_heads),
                head_dim=other.int("head_dim", default=size.head_dim), intermediate=size.intermediate, vocabulary=size.vocabulary,
                positions=size.positions, tied=size.tied,
            )  # fmt: skip
        attention(rank, name, mine, style)
        if text.bool("use_head_wise_attn_gate"):
            rank.column(f"{name}.self_attn", ("g_proj",), size.hidden, (mine.heads,))
        if i in sparse:
            moe(rank, name, size.hidden, block)
            mlp(rank, f"{name}.moe.share_expert", size.hidden, shared, style)
        else:
            mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)
        theta = ropes[i] if i < len(ropes) else text.raw("rope_theta")
        share = shares[i] if i < len(shares) and isinstance(shares[i], int | float) else 1.0
        rope(rank, mine.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": share})

    stack(rank, size, style, layer, lambda i: (windowed(i), i in sparse, ropes[i] if i < len(ropes) else 0))


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
            rank.qkv(name, size.hidden, size.heads, size.kv_heads, size.head_dim)
            rank.row(name, "o_proj", inner, size.hidden)
            rank.attention_scales(name)
            rope(rank, size.head_dim, longest, rotary_dim=rotary, item=4)
        else:
            rank.column(name, ("qkv_proj",), size.hidden, (3 * inner,))
            rank.column(name, ("output_gate",), size.hidden, (inner,))
            rank.row(name, "out_proj", inner, size.hidden)
            rank.norm(divide(inner, rank.tp))
        if experts == 1:
            mlp(rank, name, size.hidden, size.intermediate, style)
        else:
            rank.tensor(experts * size.hidden, 4)
            rank.experts(f"{name}.experts", experts, size.hidden, size.intermediate)
        if shared_width:
            mlp(rank, name, size.hidden, shared_width, style)
            rank.tensor(size.hidden, 4)
        rank.norm(size.hidden, count=2)

    if rank.first:
        rank.embedding(size.vocabulary, size.hidden)
    rank.layers(stage_layers(size.layers, rank.resolved.pipeline_parallel_size)[rank.stage], kind, layer)
    if rank.last:
        rank.norm(size.hidden)
        rank.tensor(divide(round_up(size.vocabulary, VOCABULARY_PADDING), rank.tp) * size.hidden, 4)
