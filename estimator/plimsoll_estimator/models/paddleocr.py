"""PaddleOCR-VL: SigLIP with rotary positions before ERNIE 4.5.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/paddleocr_vl.py (0.22.1, 0.33.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.ernie import DENSE
from plimsoll_estimator.models.record import seeing
from plimsoll_estimator.reader import TIES
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.siglip import paddleocr_tower


def _tied(text: HfConfig) -> Mapping[str, int]:
    """The head is the embedding whatever the file says (its own `false` included, as the engine's bytes show)."""
    return {TIES: True}


MODELS = (
    seeing(
        replace(DENSE, overrides=_tied), behind(paddleocr_tower), classes=("PaddleOCRVLForConditionalGeneration",),
        model_types=("paddleocr_vl", "paddleocr_vl_text"),
    ),
)  # fmt: skip
