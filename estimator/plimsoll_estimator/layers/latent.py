"""Multi-head latent attention, with and without the sparse indexer: its parameters.

Called by the lines of DeepSeek, Kimi, LongCat and MiniCPM 3. What it caches is in `keeps`. Knows no quantisation.
Sources: vllm/model_executor/models/deepseek_v2.py, vllm/model_executor/layers/mla.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.planner_rules import rules_for
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.mixers import Latent


def latent_attention(rank: Rank, parent: str, mixer: Latent, hidden: int, bias: bool = False) -> None:
    """Projections of one layer; loading adds the absorbed W_UK and W_UV in the activation dtype."""
    kept = mixer.kv_lora_rank + mixer.qk_rope_head_dim
    if mixer.q_lora_rank:
        rank.replicated(parent, ("q_a_proj", "kv_a_proj_with_mqa"), hidden, (mixer.q_lora_rank, kept), bias=bias)
        rank.norm(mixer.q_lora_rank)
        rank.column(parent, ("q_b_proj",), mixer.q_lora_rank, (mixer.query_width,))
    else:
        rank.replicated(parent, ("kv_a_proj_with_mqa",), hidden, (kept,), bias=bias)
        rank.column(parent, ("q_proj",), hidden, (mixer.query_width,))
    rank.norm(mixer.kv_lora_rank)
    expanded(rank, parent, mixer, hidden, bias)


def expanded(rank: Rank, parent: str, mixer: Latent, hidden: int, bias: bool = False) -> None:
    """What follows the latent: its expansion into heads, the output, scales, and the absorbed weights."""
    rank.column(parent, ("kv_b_proj",), mixer.kv_lora_rank, (mixer.expanded_width,))
    rank.row(parent, "o_proj", mixer.heads * mixer.v_head_dim, hidden, bias=bias)
    rank.attention_scales(parent, latent=True)
    rank.added_bytes += divide(mixer.heads, rank.tp) * (mixer.qk_nope_head_dim + mixer.v_head_dim) * mixer.kv_lora_rank * rank.item


def indexer(rank: Rank, parent: str, mixer: Latent, hidden: int) -> None:
    """The sparse indexer, replicated on every rank; none for a mixer that takes another layer's choice in this release, or sees all."""
    heads, head_dim = mixer.index_heads, mixer.index_head_dim
    if not head_dim or (mixer.shares_index and rules_for(rank.version).shares_index):
        return
    rank.replicated(f"{parent}.indexer", ("wq_b",), mixer.q_lora_rank, (heads * head_dim,))
    if rank.rules.merges_indexer:
        rank.tensor((head_dim + heads) * hidden)
    else:
        rank.replicated(f"{parent}.indexer", ("wk",), hidden, (head_dim,))
        rank.tensor(heads * hidden + (heads if rank.rules.indexer_weights_bias else 0))
    rank.tensor(2 * head_dim, 4)


def latent_rope(rank: Rank, mixer: Latent, positions: int, extra: str = "") -> None:
    """The table of the rotary part, any scaling read as DeepSeek's YaRN; `extra` tells the indexer's table apart."""
    values, rotary = dict(rope_parameters(rank.text)), mixer.qk_rope_head_dim
    if values["rope_type"] not in ("default", "deepseek_llama_scaling"):
        values["rope_type"] = "deepseek_yarn"
    rope(rank, rotary, positions, parameters={**values, "rope_theta": f"{values['rope_theta']}{extra}"}, rotary_dim=rotary)
