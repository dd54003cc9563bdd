"""Decoders of few relatives: BLOOM, MPT, Apertus, and Bailing (Ling), the hybrids Bamba and LFM2 with experts.

Sources: vllm/model_executor/models/{bloom,mpt,apertus,bamba,lfm2_moe,bailing_moe}.py (0.19.1 and 0.33.0). Knows no quantisation.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights import dense
from plimsoll_estimator.weights.decoder import Bias, DecoderStyle, MoeStyle, attention, mlp, moe, sizes, stack
from plimsoll_estimator.weights.hybrids import Mamba2, mamba2, short_conv
from plimsoll_estimator.weights.moe_families import check_expert_count, everywhere
from plimsoll_estimator.weights.rank import Rank
from plimsoll_estimator.weights.rope import rope

_BLOOM = DecoderStyle(
    qkv_bias="yes",
    o_bias="yes",
    mlp_bias="yes",
    gated=False,
    norm_bias=True,
    tied=True,
    attention="self_attention",
    o_name="dense",
    mlp_names=("dense_h_to_4h",),
    down_name="dense_4h_to_h",
    embedding_always=True,
    norm_always=True,
)
_APERTUS = DecoderStyle(
    qkv_bias=("attention_bias", "bias"),
    o_bias=("attention_bias", "bias"),
    mlp_bias=("mlp_bias",),
    gated=False,
    mlp_names=("up_proj",),
    qk_norm="head",
)
_LFM2_MOE = DecoderStyle(tied=True, qk_norm="head", o_name="out_proj", mlp_names=("w1", "w3"), down_name="w2", embedding_always=True)


def bloom(rank: Rank) -> None:
    """BloomForCausalLM: ALiBi instead of positions, biases everywhere, a LayerNorm behind the embedding."""
    text = rank.text
    hidden = text.int("hidden_size", "n_embed")
    size = replace(sizes(HfConfig({**text.as_mapping(), "hidden_size": hidden}, text.path), _BLOOM, rank.config), intermediate=4 * hidden)
    rank.norm(hidden, bias=True)

    def layer(i: int) -> None:
        name = f"h.{i}"
        attention(rank, name, size, _BLOOM)
        mlp(rank, f"{name}.mlp", hidden, size.intermediate, _BLOOM)
        rank.norm(hidden, bias=True, count=2)

    stack(rank, size, _BLOOM, layer)


def _served_until(rank: Rank, name: str, last: tuple[int, int]) -> None:
    """A class that registry.py lists as supported in earlier releases alone has rules for those alone."""
    if rank.version > last:
        raise Unsupported("UnsupportedArchitecture", f"vLLM has had no model class {name} since {last[0]}.{last[1]}")


def mpt(rank: Rank) -> None:
    """MPTForCausalLM: ALiBi, a tied head; `no_bias` also strips the LayerNorms' biases."""
    _served_until(rank, "MPTForCausalLM", (0, 28))
    text = rank.text
    nested = text.sub("attn_config") or HfConfig({}, f"{text.path}.attn_config")
    biased = not text.bool("no_bias")
    bias: Bias = "yes" if biased else "no"
    style = DecoderStyle(
        qkv_bias=bias, o_bias=bias, mlp_bias=bias, gated=False, norm_bias=biased, tied=True, attention="attn", mlp="ffn",
        o_name="out_proj", mlp_names=("up_proj",), embedding_always=True, norm_always=True,
    )  # fmt: skip
    size = sizes(text, style, rank.config)
    size = replace(size, kv_heads=nested.int_or_none("kv_n_heads") or size.heads)
    intermediate = text.int("expansion_ratio", default=4) * size.hidden

    def layer(i: int) -> None:
        name = f"blocks.{i}"
        attention(rank, name, size, style)
        if nested.bool("qk_ln"):
            rank.norm(size.hidden, bias=biased, count=2)
        mlp(rank, f"{name}.ffn", size.hidden, intermediate, style)
        rank.norm(size.hidden, bias=biased, count=2)

    stack(rank, size, style, layer)


def apertus(rank: Rank) -> None:
    """ApertusForCausalLM: an activation with two parameters and two buffers per layer (xIELU)."""
    size = sizes(rank.text, _APERTUS, rank.config)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _APERTUS)
        mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, _APERTUS)
        rank.tensor(4, 2)
        rank.norm(size.hidden, count=2)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, _APERTUS, layer)


def bamba(rank: Rank) -> None:
    """BambaForCausalLM: Mamba 2, attention at `attn_layer_indices`, a gated MLP in every layer."""
    _served_until(rank, "BambaForCausalLM", (0, 23))
    text = rank.text
    style = everywhere(replace(dense.LLAMA, qkv_bias="no", o_bias="no", mlp="feed_forward"))
    size = sizes(text, style, rank.config)
    attends = {i for i in text.list_or_none("attn_layer_indices") or () if isinstance(i, int)}
    dims = Mamba2(
        hidden=size.hidden,
        inner=text.int("mamba_expand", default=2) * size.hidden,
        heads=text.int("mamba_n_heads", default=128),
        groups=text.int("mamba_n_groups", default=1),
        state=text.int("mamba_d_state", default=256),
        kernel=text.int("mamba_d_conv", default=4),
        bias=text.bool("mamba_proj_bias"),
        conv_bias=text.bool("mamba_conv_bias", True),
    )

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if i in attends:
            attention(rank, name, size, style)
            rope(rank, size.head_dim, size.positions, rotary_dim=text.int_or_none("attn_rotary_emb"))
        else:
            mamba2(rank, f"{name}.mamba", dims)
        mlp(rank, f"{name}.feed_forward", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)

    stack(rank, size, style, layer, lambda i: i in attends)


def lfm2_moe(rank: Rank) -> None:
    """Lfm2MoeForCausalLM: short convolutions and attention; experts behind `num_dense_layers`, their correction in float32."""
    text = rank.text
    size = sizes(text, _LFM2_MOE, rank.config)
    kinds = text.list_or_none("layer_types")
    if kinds is None or len(kinds) < size.layers:
        raise Unsupported("UnsupportedArchitecture", "no rules for LFM2 with experts without layer_types")
    check_expert_count(rank, text.int("num_experts"))
    kernel, bias, first = text.int("conv_L_cache", default=3), text.bool("conv_bias"), text.int("num_dense_layers")
    block = MoeStyle(parent="feed_forward", intermediate=("moe_intermediate_size",), correction=text.bool("use_expert_bias"))

    def kind(i: int) -> tuple[bool, bool]:
        return kinds[i] == "full_attention", i >= first

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attends, sparse = kind(i)
        if attends:
            attention(rank, name, size, _LFM2_MOE)
            rope(rank, size.head_dim, size.positions)
        else:
            short_conv(rank, f"{name}.short_conv", size.hidden, kernel, bias)
        if sparse:
            moe(rank, name, size.hidden, block)
        else:
            mlp(rank, f"{name}.feed_forward", size.hidden, size.intermediate, _LFM2_MOE)
        rank.norm(size.hidden, count=2)

    stack(rank, size, _LFM2_MOE, layer, kind)


def bailing_moe(rank: Rank) -> None:
    """BailingMoeForCausalLM and V2 (Ling, Ring): perhaps query and key norms, a router of its own dtype, shared experts."""
    text = rank.text
    style = DecoderStyle(
        qkv_bias=("use_bias", "use_qkv_bias"), o_bias=("use_bias",), mlp_bias=("use_bias",), attention="attention", o_name="dense",
        qk_norm="head" if text.bool("use_qk_norm") else "no",
    )  # fmt: skip
    if not text.bool("use_rmsnorm", True):
        raise Unsupported("UnsupportedArchitecture", "no rules for a Bailing model with LayerNorm")
    size = sizes(text, style, rank.config)
    check_expert_count(rank, text.int("num_experts"))
    routers = {"fp32": 4, None: 0}
    first, correction = text.int("first_k_dense_replace", default=0), text.bool("moe_router_enable_expert_bias")
    block = MoeStyle(
        gate_item=routers.get(text.str_or_none("router_dtype"), 2), correction=correction, intermediate=("moe_intermediate_size",)
    )
    width = text.int("moe_shared_expert_intermediate_size", "moe_intermediate_size")
    shared = width * (text.int_or_none("num_shared_experts") or 0)
    rotary = text.int_or_none("rotary_dim")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)
        if i < first:
            mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        else:
            moe(rank, name, size.hidden, block)
            if shared:
                mlp(rank, f"{name}.mlp.shared_experts", size.hidden, shared, style)
        rank.norm(size.hidden, count=2)

    stack(rank, size, style, layer, lambda i: i < first)
