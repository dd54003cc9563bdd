"""Multi-head latent attention, with and without the sparse indexer: DeepSeek V2/V3/V3.2, GLM-5, Kimi-K2, LongCat,
MiniCPM3.

Sources: vllm/model_executor/models/{deepseek_v2,minicpm3,glm4_moe_lite}.py, layers/mla.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights.decoder import DecoderStyle, MoeStyle, mlp, moe, sizes, stack
from plimsoll_estimator.weights.rank import Rank, divide, positive
from plimsoll_estimator.weights.rope import rope, rope_parameters

MAX_DRAFT_LAYERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Dimensions of one latent attention layer."""

    hidden: int
    heads: int
    q_rank: int
    kv_rank: int
    nope: int
    rotary: int
    v_dim: int


def latent(text: HfConfig) -> Latent:
    """Read the dimensions; `q_lora_rank` may be absent or null."""
    return Latent(
        hidden=text.int("hidden_size"),
        heads=text.int("num_attention_heads"),
        q_rank=text.int_or_none("q_lora_rank") or 0,
        kv_rank=text.int("kv_lora_rank"),
        nope=text.int("qk_nope_head_dim"),
        rotary=text.int("qk_rope_head_dim"),
        v_dim=text.int("v_head_dim", default=text.int("hidden_size") // positive(text, "num_attention_heads")),
    )


def latent_attention(rank: Rank, parent: str, dims: Latent, bias: bool = False) -> None:
    """Projections of one layer; loading adds the absorbed W_UK and W_UV in the activation dtype."""
    q_dim = dims.heads * (dims.nope + dims.rotary)
    if dims.q_rank:
        names = ("q_a_proj", "kv_a_proj_with_mqa")
        rank.replicated(parent, names, dims.hidden, (dims.q_rank, dims.kv_rank + dims.rotary), bias=bias)
        rank.norm(dims.q_rank)
        rank.column(parent, ("q_b_proj",), dims.q_rank, (q_dim,))
    else:
        rank.replicated(parent, ("kv_a_proj_with_mqa",), dims.hidden, (dims.kv_rank + dims.rotary,), bias=bias)
        rank.column(parent, ("q_proj",), dims.hidden, (q_dim,))
    rank.norm(dims.kv_rank)
    rank.column(parent, ("kv_b_proj",), dims.kv_rank, (dims.heads * (dims.nope + dims.v_dim),))
    rank.row(parent, "o_proj", dims.heads * dims.v_dim, dims.hidden, bias=bias)
    rank.attention_scales(parent, latent=True)
    rank.added_bytes += divide(dims.heads, rank.tp) * (dims.nope + dims.v_dim) * dims.kv_rank * rank.item


def indexer(rank: Rank, parent: str, dims: Latent) -> None:
    """The sparse indexer, replicated on every rank; since 0.20 wk and weights_proj are one unquantised weight."""
    text = rank.text
    heads, head_dim = text.int("index_n_heads"), text.int("index_head_dim")
    rank.replicated(f"{parent}.indexer", ("wq_b",), dims.q_rank, (heads * head_dim,))
    if rank.version >= (0, 20):
        rank.tensor((head_dim + heads) * dims.hidden)
    else:
        rank.replicated(f"{parent}.indexer", ("wk",), dims.hidden, (head_dim,))
        rank.tensor(heads * dims.hidden + (heads if rank.version < (0, 15) else 0))
    rank.tensor(2 * head_dim, 4)


def _rope_of_mla(rank: Rank, dims: Latent, positions: int, extra: str = "") -> None:
    values = dict(rope_parameters(rank.text))
    if values["rope_type"] not in ("default", "deepseek_llama_scaling"):
        values["rope_type"] = "deepseek_yarn"
    rope(rank, dims.rotary, positions, parameters={**values, "rope_theta": f"{values['rope_theta']}{extra}"}, rotary_dim=dims.rotary)


def _has_indexer(text: HfConfig, layer: int) -> bool:
    kinds = text.list_or_none("indexer_types")
    if kinds is not None and layer < len(kinds):
        return bool(kinds[layer] != "shared")
    return True


def deepseek_v2(rank: Rank) -> None:
    """DeepseekV2/V3/V32ForCausalLM, GlmMoeDsaForCausalLM, Glm4MoeLiteForCausalLM."""
    text = rank.text
    dims = latent(text)
    style = DecoderStyle(ties=False)
    size = sizes(text, style, rank.config)
    sparse = "index_topk" in text
    ax = rank.resolved.architecture == "AXK1ForCausalLM"
    correction = ax or text.str_or_none("topk_method") == "noaux_tc"
    wide = text.str_or_none("moe_router_dtype") == "float32" or text.model_type == "glm_moe_dsa"
    gate_item = 4 if wide and (0, 20) <= rank.version < (0, 26) else 0
    block = MoeStyle(
        shared="count", unsplit_since=(0, 11), correction=correction, gate_item=gate_item, intermediate=("moe_intermediate_size",)
    )
    first, step = text.int("first_k_dense_replace", default=0), positive(text, "moe_layer_freq", default=1)
    routed = "n_routed_experts" in text
    bias = text.bool("attention_bias")
    norms = 3 if ax else 2  # A.X K1 has one behind the feed-forward block too

    def is_sparse(i: int) -> bool:
        return routed and i >= first and i % step == 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        latent_attention(rank, f"{name}.self_attn", dims, bias)
        if sparse and _has_indexer(text, i):
            indexer(rank, f"{name}.self_attn", dims)
        if is_sparse(i):
            moe(rank, name, size.hidden, block)
        else:
            mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=norms)
        _rope_of_mla(rank, dims, size.positions)

    stack(rank, size, style, layer, lambda i: (is_sparse(i), sparse and _has_indexer(text, i)))
    if rank.drafts_by_mtp:
        # deepseek_mtp.py: whole layers after a joint projection; embedding and head are the target's.
        for i in range(min(text.int("num_nextn_predict_layers", default=0), MAX_DRAFT_LAYERS)):
            layer(size.layers + i)
            rank.tensor(2 * size.hidden * size.hidden)
            rank.norm(size.hidden, count=3)
    if sparse and not text.bool("indexer_rope_interleave") and rank.version >= (0, 13):
        _rope_of_mla(rank, dims, size.positions, "indexer")


def longcat(rank: Rank) -> None:
    """LongcatFlashForCausalLM: two latent attentions and two dense MLPs a layer, one block of experts, some of them without weights."""
    text = rank.text
    dims = latent(text)
    style = DecoderStyle(ties=False)
    size = sizes(text, style, rank.config)
    experts, nothing = text.int("n_routed_experts"), text.int("zero_expert_num", default=0)
    intermediate = text.int("expert_ffn_hidden_size", "moe_intermediate_size")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        for half in range(2):
            latent_attention(rank, f"{name}.self_attn.{half}", dims, text.bool("attention_bias"))
            mlp(rank, f"{name}.mlps.{half}", size.hidden, size.intermediate, style)
            rank.norm(size.hidden, count=2)
        rank.tensor((experts + nothing) * size.hidden, 4)
        rank.tensor(experts + nothing, 4)
        rank.experts(f"{name}.mlp.experts", experts, size.hidden, intermediate)
        _rope_of_mla(rank, dims, size.positions)

    stack(rank, size, style, layer)


def minicpm3(rank: Rank) -> None:
    """MiniCPM3ForCausalLM: latent projections, but ordinary attention on the expanded heads."""
    text = rank.text
    dims = latent(text)
    style = DecoderStyle(tied=True, embedding_always=True, norm_always=True, head_always=True)
    size = sizes(text, style, rank.config)

    def layer(i: int) -> None:
        parent = f"layers.{i}.self_attn"
        rank.replicated(parent, ("q_a_proj",), dims.hidden, (dims.q_rank,))
        rank.norm(dims.q_rank)
        rank.column(parent, ("q_b_proj",), dims.q_rank, (dims.heads * (dims.nope + dims.rotary),))
        rank.replicated(parent, ("kv_a_proj_with_mqa",), dims.hidden, (dims.kv_rank + dims.rotary,))
        rank.norm(dims.kv_rank)
        rank.column(parent, ("kv_b_proj",), dims.kv_rank, (dims.heads * (dims.nope + dims.v_dim),))
        rank.row(parent, "o_proj", dims.heads * dims.v_dim, dims.hidden)
        rank.attention_scales(parent)
        mlp(rank, f"layers.{i}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)
        rope(rank, dims.rotary, size.positions)

    stack(rank, size, style, layer)
