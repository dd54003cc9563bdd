"""Mixtral: experts in every layer.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mixtral.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, everywhere
from plimsoll_estimator.layers.experts import BLOCK_SPARSE, build_moe, check_expert_count, expert_count
from plimsoll_estimator.layers.rank import Rank


def mixtral(rank: Rank) -> None:
    """MixtralForCausalLM."""
    check_expert_count(rank, expert_count(rank.text))
    build_moe(rank, everywhere(DecoderStyle()), BLOCK_SPARSE)
