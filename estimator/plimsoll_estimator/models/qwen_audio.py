"""Qwens that hear: Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni (their thinkers).

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker,qwen3_omni_moe_thinker}.py (0.12.0 to 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.qwen import DENSE_2, SPARSE_3
from plimsoll_estimator.models.record import Wrapper, seeing
from plimsoll_estimator.towers.audio import omni_audio_tower, qwen2_audio_tower, qwen3_omni_audio_tower
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.qwen_vit import qwen2_5_tower, qwen3_omni_tower


def _ears_and_eyes(rank: Rank) -> None:
    omni_audio_tower(rank)
    qwen2_5_tower(rank)


def _newer_ears_and_eyes(rank: Rank) -> None:
    rank.unquantised(qwen3_omni_audio_tower)
    qwen3_omni_tower(rank)


MODELS = (
    Wrapper(classes=("Qwen2AudioForConditionalGeneration",), compose=behind(qwen2_audio_tower, quantised=False)),
    seeing(
        DENSE_2, behind(_ears_and_eyes), classes=("Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration"),
        model_types=("qwen2_5_omni", "qwen2_5_omni_thinker", "qwen2_5_omni_text"),
    ),
    seeing(
        SPARSE_3, behind(_newer_ears_and_eyes), classes=("Qwen3OmniMoeForConditionalGeneration",),
        model_types=("qwen3_omni_moe", "qwen3_omni_moe_thinker", "qwen3_omni_moe_text"),
    ),
)  # fmt: skip
