"""PaddleOCR-VL: SigLIP with rotary positions before ERNIE 4.5.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/paddleocr_vl.py (0.22.1, 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import build_decoder
from plimsoll_estimator.models.ernie import ERNIE4_5
from plimsoll_estimator.towers.compose import tied, with_tower
from plimsoll_estimator.towers.siglip import paddleocr_tower

paddleocr_vl = with_tower(paddleocr_tower, tied(lambda rank: build_decoder(rank, ERNIE4_5)))
