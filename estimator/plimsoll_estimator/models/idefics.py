"""Idefics 3 and SmolVLM: SigLIP before the language model that their text configuration names.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/idefics3.py.
"""

from __future__ import annotations

from plimsoll_estimator.models.record import Wrapper
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.siglip import idefics3_tower

MODELS = (Wrapper(classes=("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"), compose=behind(idefics3_tower)),)
