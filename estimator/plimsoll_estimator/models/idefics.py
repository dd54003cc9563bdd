"""Idefics 3 and SmolVLM: SigLIP before the language model that their text configuration names.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/idefics3.py.
"""

from __future__ import annotations

from plimsoll_estimator.models.text_language import text_language
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.siglip import idefics3_tower

idefics3 = with_tower(idefics3_tower, text_language)
