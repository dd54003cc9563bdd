"""Baichuan 1 and 2: the 13B models have ALiBi instead of rope.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/baichuan.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder, no_rope, rope_table
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense

_BAICHUAN = DecoderStyle(every_stage=EVERY_PART)
_ROTATING_WIDTH = 4096


def baichuan(rank: Rank) -> None:
    """BaichuanForCausalLM: 13B models use ALiBi instead of rope."""
    rotates = rank.shape.size.hidden_size == _ROTATING_WIDTH
    build_decoder(rank, _BAICHUAN, rope_table if rotates else no_rope)


MODELS = (Model(classes=("BaichuanForCausalLM", "BaiChuanForCausalLM"), model_types=("baichuan",), weights=baichuan, layers=dense()),)
