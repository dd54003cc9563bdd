"""Mistral Small 3 with Pixtral; Mistral's decoders are Llama's.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mistral3.py.
"""

from __future__ import annotations

from plimsoll_estimator.models.text_language import text_language
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.pixtral import mistral3_tower

mistral3 = with_tower(mistral3_tower, text_language)
