"""Mistral Small 3 with Pixtral; Mistral's decoders are Llama's.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mistral3.py.
"""

from __future__ import annotations

from plimsoll_estimator.models.record import Wrapper
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.pixtral import mistral3_tower

MODELS = (Wrapper(classes=("Mistral3ForConditionalGeneration",), compose=behind(mistral3_tower)),)
