"""Qwens that hear: Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni (their thinkers).

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker,qwen3_omni_moe_thinker}.py (0.12.0 to 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import build_decoder
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.qwen import QWEN2, qwen3_moe
from plimsoll_estimator.models.text_language import text_language
from plimsoll_estimator.towers.audio import omni_audio_tower, qwen2_audio_tower, qwen3_omni_audio_tower
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.qwen_vit import qwen2_5_tower, qwen3_omni_tower

qwen2_audio = with_tower(qwen2_audio_tower, text_language, quantised=False)


def _omni_tower(rank: Rank) -> None:
    omni_audio_tower(rank)
    qwen2_5_tower(rank)


def _omni_towers(rank: Rank) -> None:
    rank.unquantised(qwen3_omni_audio_tower)
    qwen3_omni_tower(rank)


qwen2_5_omni = with_tower(_omni_tower, lambda rank: build_decoder(rank, QWEN2))
qwen3_omni = with_tower(_omni_towers, qwen3_moe)
