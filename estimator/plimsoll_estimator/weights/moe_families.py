"""Decoders whose feed-forward blocks are routed experts, with ordinary attention. Values from vllm/model_executor/models/."""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights import dense
from plimsoll_estimator.weights.decoder import (
    DecoderStyle,
    MoeStyle,
    Sizes,
    attention,
    expert_count,
    mlp,
    moe,
    rope_table,
    sizes,
    stack,
)
from plimsoll_estimator.weights.rank import Rank, positive
from plimsoll_estimator.weights.rope import rope

_MIXTRAL = MoeStyle(parent="block_sparse_moe", intermediate=("intermediate_size",))
_QWEN = MoeStyle(intermediate=("moe_intermediate_size",))


def everywhere(style: DecoderStyle) -> DecoderStyle:
    """The same style in a class that builds embedding, final norm and head on every pipeline stage."""
    return replace(style, embedding_always=True, norm_always=True, head_always=True)


def check_expert_count(rank: Rank, experts: int) -> None:
    """Several model classes refuse tensor parallelism beyond the number of experts."""
    if rank.tp > experts:
        raise EngineRefusal("TooManyRanksForExperts", f"Tensor parallel size {rank.tp} is greater than the number of experts {experts}.")


def build_moe(
    rank: Rank, style: DecoderStyle, sparse: MoeStyle, first_dense: int = 0, step: int = 1, listed: frozenset[int] = frozenset()
) -> None:
    """A decoder where the layers beyond `first_dense`, every `step`-th, and not `listed`, are sparse."""
    size = sizes(rank.text, style, rank.config)

    def is_sparse(i: int) -> bool:
        return i >= first_dense and i not in listed and (i + 1) % step == 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        if is_sparse(i):
            moe(rank, name, size.hidden, sparse)
        else:
            mlp(rank, f"{name}.{style.mlp}", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, bias=style.norm_bias, count=style.norms)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, is_sparse)


def mixtral(rank: Rank) -> None:
    """MixtralForCausalLM."""
    check_expert_count(rank, expert_count(rank.text))
    build_moe(rank, everywhere(DecoderStyle()), _MIXTRAL)


def _mlp_only(text: HfConfig) -> frozenset[int]:
    return frozenset(i for i in text.list_or_none("mlp_only_layers") or () if isinstance(i, int))


def qwen2_moe(rank: Rank) -> None:
    """Qwen2MoeForCausalLM: a gated shared expert."""
    text = rank.text
    check_expert_count(rank, expert_count(text))
    sparse = replace(_QWEN, shared="size", shared_gate=True, shared_name="shared_expert")
    build_moe(rank, everywhere(dense.QWEN2), sparse, step=positive(text, "decoder_sparse_step", default=1), listed=_mlp_only(text))


def qwen3_moe(rank: Rank) -> None:
    """Qwen3MoeForCausalLM."""
    text = rank.text
    check_expert_count(rank, expert_count(text))
    build_moe(rank, everywhere(dense.QWEN3), _QWEN, step=positive(text, "decoder_sparse_step", default=1), listed=_mlp_only(text))


def olmoe(rank: Rank) -> None:
    """OlmoeForCausalLM: norms over all query and key channels."""
    style = DecoderStyle(ties=False, qk_norm="full", qkv_bias=("attention_bias",))
    build_moe(rank, everywhere(style), MoeStyle(intermediate=("intermediate_size",)))


def phimoe(rank: Rank) -> None:
    """PhiMoEForCausalLM: biases and LayerNorms."""
    style = DecoderStyle(ties=False, qkv_bias=("attention_bias",), o_bias=("attention_bias",), norm_bias=True, head_bias=("lm_head_bias",))
    build_moe(rank, everywhere(style), _MIXTRAL)


def granite_moe(rank: Rank) -> None:
    """GraniteMoeForCausalLM."""
    style = replace(dense.GRANITE, mlp_bias="no")
    build_moe(rank, everywhere(style), _MIXTRAL)


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
        moe(rank, name, size.hidden, sparse)
        rank.norm(size.hidden, count=2)
        rope(rank, size.head_dim, size.positions, rotary_dim=rotary)

    stack(rank, size, style, layer)


def gpt_oss(rank: Rank) -> None:
    """GptOssForCausalLM: biases everywhere, attention sinks, a float32 rope table."""
    text = rank.text
    style = DecoderStyle(
        ties=False, qkv_bias="yes", o_bias="yes", attention="attn", embedding_always=True, norm_always=True, head_always=True
    )
    size = sizes(text, style, rank.config)
    sparse = MoeStyle(intermediate=("intermediate_size",), gate_bias=True, expert_bias=True)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(size.heads // rank.tp)
        moe(rank, name, size.hidden, sparse)
        rank.norm(size.hidden, count=2)
        rope(rank, size.head_dim, size.positions, item=4)

    stack(rank, size, style, layer)


def ernie4_5_moe(rank: Rank) -> None:
    """Ernie4_5_MoeForCausalLM: float32 router with correction, dense layers at the start."""
    text = rank.text
    style = DecoderStyle(tied=True, qkv_bias=("use_bias",), o_bias=("use_bias",), mlp_bias=("use_bias",))
    sparse = MoeStyle(gate_item=4, correction=True, shared="count")
    build_moe(rank, style, sparse, first_dense=_first_of(text, "moe_layer_start_index"), step=1)


def _first_of(text: HfConfig, key: str) -> int:
    value = text.raw(key)
    if isinstance(value, list | tuple):
        return min((v for v in value if isinstance(v, int)), default=0)
    return text.int(key, default=0)


def glm4_moe(rank: Rank) -> None:
    """Glm4MoeForCausalLM: dense layers first, float32 correction, shared experts."""
    text = rank.text
    style = DecoderStyle(ties=False, qkv_bias=("attention_bias",), partial_rotary=0.5, qk_norm="head" if text.bool("use_qk_norm") else "no")
    sparse = MoeStyle(gate_item=4, correction=True, shared="count", intermediate=("moe_intermediate_size",))
    build_moe(rank, style, sparse, first_dense=text.int("first_k_dense_replace", default=0))


def deepseek(rank: Rank) -> None:
    """DeepseekForCausalLM (the first): ordinary attention, shared experts."""
    text = rank.text
    sparse = MoeStyle(shared="count", intermediate=("moe_intermediate_size",))
    build_moe(rank, DecoderStyle(), sparse, first_dense=text.int("first_k_dense_replace", default=0))


def moe_sizes(rank: Rank, style: DecoderStyle) -> Sizes:
    """Dimensions of a sparse decoder."""
    return sizes(rank.text, style, rank.config)
