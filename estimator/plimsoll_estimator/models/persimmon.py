"""Persimmon: biased norms on the heads of queries and keys.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/persimmon.py and, since 0.26, the Transformers backend.
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, on_transformers, rope_table, sizes, stack
from plimsoll_estimator.layers.rank import Rank


def persimmon(rank: Rank) -> None:
    """PersimmonForCausalLM: biased LayerNorms on the heads of queries and keys; through the Transformers backend since 0.26."""
    text = rank.text
    style = DecoderStyle(
        qkv_bias="yes", o_bias="yes", mlp_bias="yes", gated=False, norm_bias=True, partial_rotary=0.5, o_name="dense",
        mlp_names=("dense_h_to_4h",), down_name="dense_4h_to_h", transformers_since=EngineVersion(0, 26),
        embedding_always=True, norm_always=True, head_always=True,
    )  # fmt: skip
    size = sizes(text, style, rank.config)
    if on_transformers(rank, style) and rank.tp > 1:
        raise Unsupported(Check.UNSUPPORTED_LAYOUT, "no rules for Persimmon over several ranks, which this release serves whole on each")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        if text.bool("qk_layernorm", True):
            rank.norm(size.head_dim, bias=True, count=2)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, bias=True, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)
