"""Qwens that see: Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen 3.5.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,qwen3_vl_moe,qwen3_5}.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from plimsoll_estimator.layers.decoder import build_decoder, rope_table
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.qwen import DENSE_2, DENSE_3, NEXT_5, NEXT_5_SPARSE, QWEN3, SPARSE_3
from plimsoll_estimator.models.record import seeing
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.qwen_vit import qwen2_5_tower, qwen2_tower, qwen3_tower


def _qwen3_vl_language(rank: Rank) -> None:
    build_decoder(rank, QWEN3, partial(rope_table, mrope_factor=1 if rank.version.since(0, 32) else 4))


MODELS = (
    seeing(
        DENSE_2, behind(qwen2_tower), classes=("Qwen2VLForConditionalGeneration",), model_types=("qwen2_vl", "qwen2_vl_text"),
    ),
    seeing(
        DENSE_2, behind(qwen2_5_tower), classes=("Qwen2_5_VLForConditionalGeneration",), model_types=("qwen2_5_vl", "qwen2_5_vl_text"),
    ),
    seeing(
        replace(DENSE_3, weights=_qwen3_vl_language), behind(qwen3_tower), classes=("Qwen3VLForConditionalGeneration",),
        model_types=("qwen3_vl", "qwen3_vl_text"),
    ),
    seeing(
        SPARSE_3, behind(qwen3_tower), classes=("Qwen3VLMoeForConditionalGeneration",), model_types=("qwen3_vl_moe", "qwen3_vl_moe_text"),
    ),
    seeing(NEXT_5, behind(qwen3_tower), classes=("Qwen3_5ForConditionalGeneration",), drafter="Qwen3_5MTP"),
    seeing(NEXT_5_SPARSE, behind(qwen3_tower), classes=("Qwen3_5MoeForConditionalGeneration",), drafter="Qwen3_5MoeMTP"),
)  # fmt: skip
