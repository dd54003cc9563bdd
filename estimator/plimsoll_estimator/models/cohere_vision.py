"""Command A Vision: SigLIP before the language model that its text configuration names.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/cohere2_vision.py (0.22.1, 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.models.record import Wrapper
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.siglip import cohere2_vision_tower

MODELS = (Wrapper(classes=("Cohere2VisionForConditionalGeneration",), compose=behind(cohere2_vision_tower)),)
