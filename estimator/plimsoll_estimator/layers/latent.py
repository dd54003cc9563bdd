"""Multi-head latent attention, with and without the sparse indexer: its parameters.

Called by the lines of DeepSeek, Kimi, LongCat and MiniCPM 3. What it caches is in `caches`. Knows no quantisation.
Sources: vllm/model_executor/models/deepseek_v2.py, vllm/model_executor/layers/mla.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank, divide, positive
from plimsoll_estimator.layers.rope import rope, rope_parameters


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
    """The sparse indexer, replicated on every rank."""
    text = rank.text
    heads, head_dim = text.int("index_n_heads"), text.int("index_head_dim")
    rank.replicated(f"{parent}.indexer", ("wq_b",), dims.q_rank, (heads * head_dim,))
    if rank.rules.merges_indexer:
        rank.tensor((head_dim + heads) * dims.hidden)
    else:
        rank.replicated(f"{parent}.indexer", ("wk",), dims.hidden, (head_dim,))
        rank.tensor(heads * dims.hidden + (heads if rank.rules.indexer_weights_bias else 0))
    rank.tensor(2 * head_dim, 4)


def latent_rope(rank: Rank, dims: Latent, positions: int, extra: str = "") -> None:
    """The table of the rotary part, any scaling read as DeepSeek's YaRN; `extra` tells the indexer's table apart."""
    values = dict(rope_parameters(rank.text))
    if values["rope_type"] not in ("default", "deepseek_llama_scaling"):
        values["rope_type"] = "deepseek_yarn"
    rope(rank, dims.rotary, positions, parameters={**values, "rope_theta": f"{values['rope_theta']}{extra}"}, rotary_dim=dims.rotary)
