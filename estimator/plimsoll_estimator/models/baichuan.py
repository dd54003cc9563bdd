"""Baichuan 1 and 2: the 13B models have ALiBi instead of rope.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/baichuan.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, build_plain
from plimsoll_estimator.layers.rank import Rank


def baichuan(rank: Rank) -> None:
    """BaichuanForCausalLM: 13B models use ALiBi instead of rope."""
    hidden = rank.text.int("hidden_size")
    style = DecoderStyle(rotates=hidden == 4096, embedding_always=True, norm_always=True, head_always=True)
    build_plain(rank, style, rank.text)
