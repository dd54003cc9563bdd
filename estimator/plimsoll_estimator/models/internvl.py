"""InternVL and Intern-S1: InternViT before the language model that their text configuration names.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{internvl,interns1}.py (0.19.1 and 0.33.0 agree).
"""

from __future__ import annotations

from plimsoll_estimator.models.record import Wrapper
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.intern_vit import internvit_hf_tower, internvit_tower

MODELS = (
    Wrapper(classes=("InternVLChatModel",), compose=behind(internvit_tower)),
    Wrapper(classes=("InternVLForConditionalGeneration", "InternS1ForConditionalGeneration"), compose=behind(internvit_hf_tower)),
)
