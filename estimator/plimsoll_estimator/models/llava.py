"""LLaVA 1.5, NeXT, NeXT-Video and OneVision: CLIP or SigLIP before the language model that their text configuration names.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{llava,llava_next,llava_next_video,llava_onevision}.py.
"""

from __future__ import annotations

from plimsoll_estimator.models.text_language import text_language
from plimsoll_estimator.towers.compose import image_newline, with_tower
from plimsoll_estimator.towers.llava import llava_tower, whole_llava_tower

llava = with_tower(llava_tower, text_language)
llava_next = with_tower(llava_tower, image_newline(text_language))
llava_onevision = with_tower(whole_llava_tower, image_newline(text_language))
llava_next_video = with_tower(whole_llava_tower, text_language)
