"""PaliGemma: SigLIP before the language model that its text configuration names, a Gemma.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/paligemma.py (0.22.1, 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.models.record import Wrapper, always
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.siglip import paligemma_tower

MODELS = (Wrapper(classes=("PaliGemmaForConditionalGeneration",), compose=behind(paligemma_tower), image_prefix=always),)
