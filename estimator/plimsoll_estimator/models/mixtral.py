"""Mixtral: experts in every layer.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mixtral.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, everywhere
from plimsoll_estimator.layers.experts import BLOCK_SPARSE, build_moe, check_expert_count
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import mixture


def mixtral(rank: Rank) -> None:
    """MixtralForCausalLM."""
    check_expert_count(rank)
    build_moe(rank, everywhere(DecoderStyle()), BLOCK_SPARSE)


MODELS = (Model(classes=("MixtralForCausalLM",), model_types=("mixtral",), weights=mixtral, layers=mixture),)
