"""Decoders with routed experts of few relatives: DBRX, Afmoe (Trinity), dots.llm1, Hunyuan A13B, K-EXAONE, HY3, Command
with experts, Flex-OLMo, Granite with windows.

Sources: vllm/model_executor/models/{dbrx,afmoe,dots1,hunyuan_v1,exaone_moe,hy_v3,cohere2_moe}.py (0.17.1 to 0.33.0) and the
Transformers backend (transformers/moe.py), built on the meta device. Knows no quantisation.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights import dense
from plimsoll_estimator.weights.decoder import (
    DecoderStyle,
    MoeStyle,
    attention,
    expert_count,
    mlp,
    moe,
    on_transformers,
    rope_table,
    sizes,
    stack,
)
from plimsoll_estimator.weights.moe_families import build_moe, check_expert_count, everywhere
from plimsoll_estimator.weights.rank import Rank
from plimsoll_estimator.weights.rope import rope

_NATIVE_UNTIL = (0, 24)
_HUNYUAN_MOE = MoeStyle(experts=("num_experts",), intermediate=("moe_intermediate_size", "intermediate_size"))


def dbrx(rank: Rank) -> None:
    """DbrxForCausalLM: sizes under `ffn_config` and `attn_config`, LayerNorms without biases."""
    text = rank.text
    ffn = text.sub("ffn_config") or HfConfig({}, f"{text.path}.ffn_config")
    heads = text.sub("attn_config") or HfConfig({}, f"{text.path}.attn_config")
    style = everywhere(DecoderStyle(attention="norm_attn_norm.attn", o_name="out_proj"))
    size = sizes(text, style, rank.config)
    size = replace(size, kv_heads=heads.int_or_none("kv_n_heads") or size.kv_heads)
    experts, intermediate = ffn.int("moe_num_experts", default=4), ffn.int("ffn_hidden_size", default=3584)

    def layer(i: int) -> None:
        name = f"blocks.{i}"
        attention(rank, name, size, style)
        rank.tensor(experts * size.hidden)
        rank.experts(f"{name}.ffn.experts", experts, size.hidden, intermediate)
        rank.norm(size.hidden, count=2)
        rope(rank, size.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": heads.raw("rope_theta")})

    stack(rank, size, style, layer)


def afmoe(rank: Rank) -> None:
    """AfmoeForCausalLM: a gate on the attention's output, norms around both blocks, float32 routers."""
    text = rank.text
    style = DecoderStyle(ties=False, qk_norm="head", qkv_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    first = text.int("num_dense_layers", default=0)
    block = MoeStyle(intermediate=("moe_intermediate_size",), gate_item=4, correction=True, shared="count")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.column(f"{name}.self_attn", ("gate_proj",), size.hidden, (size.heads * size.head_dim,))
        if i < first:
            mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        else:
            moe(rank, name, size.hidden, block)
        rank.norm(size.hidden, count=4)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, style, layer, lambda i: i < first)


def dots1(rank: Rank) -> None:
    """Dots1ForCausalLM: Qwen 3's attention, DeepSeek's experts; served through the Transformers backend since 0.24."""
    text = rank.text
    style = replace(dense.QWEN3, transformers_since=_NATIVE_UNTIL)
    block = MoeStyle(intermediate=("moe_intermediate_size",), correction=True, shared="count")
    build_moe(rank, style, block, first_dense=text.int("first_k_dense_replace", default=0))


def hunyuan_moe(rank: Rank) -> None:
    """HunYuanMoEV1ForCausalLM: one entry per layer in `moe_intermediate_size` and `num_shared_expert`; the router's own class."""
    text = rank.text
    style = dense.HUNYUAN
    size = sizes(text, style, rank.config)
    experts = expert_count(text, ("num_experts",))
    check_expert_count(rank, experts)
    intermediate = expert_count(text, ("moe_intermediate_size", "intermediate_size"))
    shared = expert_count(text, ("num_shared_expert",)) * intermediate if text.raw("use_mixed_mlp_moe") is not False else 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(experts * size.hidden)
        rank.experts(f"{name}.mlp.experts", experts, size.hidden, intermediate)
        if shared:
            mlp(rank, f"{name}.mlp.shared_mlp", size.hidden, shared, style)
        rank.norm(size.hidden, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)


def exaone_moe(rank: Rank) -> None:
    """ExaoneMoeForCausalLM (K-EXAONE): norms on queries and keys, dense layers first, float32 correction, a shared expert."""
    text = rank.text
    listed = text.list_or_none("is_moe_layer")
    first = text.int("first_last_k_dense_replace", "first_k_dense_replace", default=0)
    dense_layers = frozenset(i for i, sparse in enumerate(listed or ()) if not sparse)
    check_expert_count(rank, expert_count(text))
    block = MoeStyle(intermediate=("moe_intermediate_size",), correction=True, shared="count")
    style = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",), o_bias=("attention_bias",))
    build_moe(rank, style, block, first_dense=0 if listed else first, listed=dense_layers)


def hy_v3(rank: Rank) -> None:
    """HYV3ForCausalLM (HY3): float32 routers with a bias, experts of `expert_hidden_dim`."""
    text = rank.text
    check_expert_count(rank, expert_count(text))
    style = everywhere(DecoderStyle(qk_norm="head" if text.bool("qk_norm") else "no"))
    block = MoeStyle(
        intermediate=("expert_hidden_dim", "moe_intermediate_size"),
        gate_item=4,
        correction=True,
        correction_item=4 if rank.version >= (0, 26) else 0,
        shared="count",
        shared_name="shared_mlp",
    )
    build_moe(rank, style, block, first_dense=text.int("first_k_dense_replace", default=0))


def cohere2_moe(rank: Rank) -> None:
    """Cohere2MoeForCausalLM: one LayerNorm a layer for attention and experts together, a tied head."""
    text = rank.text
    style = replace(dense.COHERE, qkv_bias=("attention_bias",), o_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    first = text.int("first_k_dense_replace", default=0)
    wide = text.int("prefix_dense_intermediate_size", default=size.intermediate)
    block = MoeStyle(intermediate=("intermediate_size",), shared="count")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        if i < first:
            mlp(rank, f"{name}.mlp", size.hidden, wide, style)
        else:
            moe(rank, name, size.hidden, block)
        rank.norm(size.hidden)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, lambda i: i < first)


def flex_olmo(rank: Rank) -> None:
    """FlexOlmoForCausalLM: OLMo 2's blocks with experts; through the Transformers backend since 0.29."""
    style = replace(dense.OLMO2, transformers_since=(0, 29))
    if not on_transformers(rank, style):
        style = everywhere(style)
    build_moe(rank, style, MoeStyle(intermediate=("intermediate_size",)))


def granite_moe_swa(rank: Rank) -> None:
    """GraniteMoeSWAForCausalLM: Granite's experts with attention sinks and perhaps a shared MLP."""
    text = rank.text
    style = everywhere(replace(dense.GRANITE, mlp_bias="no", tied=False))
    size = sizes(text, style, rank.config)
    block = MoeStyle(parent="block_sparse_moe", intermediate=("intermediate_size",))
    shared = text.int_or_none("shared_intermediate_size") or 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(size.heads // rank.tp)
        moe(rank, name, size.hidden, block)
        if shared:
            mlp(rank, f"{name}.shared_mlp", size.hidden, shared, style)
        rank.norm(size.hidden, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)
