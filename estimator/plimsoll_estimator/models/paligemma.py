"""PaliGemma: SigLIP before the language model that its text configuration names.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/paligemma.py (0.22.1, 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.models.text_language import text_language
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.siglip import paligemma_tower

paligemma = with_tower(paligemma_tower, text_language)
