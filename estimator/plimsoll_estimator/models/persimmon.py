"""Persimmon: biased norms on the heads of queries and keys.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/persimmon.py and, since 0.26, the Transformers backend.
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, attention, mlp, on_transformers, rope_table, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense

_PERSIMMON = DecoderStyle(
    qkv_bias="yes", o_bias="yes", mlp_bias="yes", gated=False, norm_bias=True, partial_rotary=0.5, o_name="dense",
    mlp_names=("dense_h_to_4h",), down_name="dense_4h_to_h", transformers_since=EngineVersion(0, 26), every_stage=EVERY_PART,
)  # fmt: skip


def persimmon(rank: Rank) -> None:
    """PersimmonForCausalLM: biased LayerNorms on the heads of queries and keys; through the Transformers backend since 0.26."""
    size = rank.shape.size
    if on_transformers(rank, _PERSIMMON) and rank.tp > 1:
        raise Unsupported(Check.UNSUPPORTED_LAYOUT, "no rules for Persimmon over several ranks, which this release serves whole on each")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _PERSIMMON)
        if rank.text.bool("qk_layernorm", True):
            rank.norm(size.head_dim, bias=True, count=2)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _PERSIMMON)
        rank.norm(size.hidden_size, bias=True, count=2)
        rope_table(rank, size, _PERSIMMON)

    stack(rank, size, _PERSIMMON, layer)


MODELS = (Model(classes=("PersimmonForCausalLM",), model_types=("persimmon",), weights=persimmon, layers=dense()),)
