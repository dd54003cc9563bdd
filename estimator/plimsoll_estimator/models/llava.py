"""LLaVA 1.5, NeXT, NeXT-Video and OneVision: CLIP or SigLIP before the language model that their text configuration names.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{llava,llava_next,llava_next_video,llava_onevision}.py.
"""

from __future__ import annotations

from plimsoll_estimator.models.record import Wrapper
from plimsoll_estimator.towers.compose import Builder, behind, image_newline, with_tower
from plimsoll_estimator.towers.llava import llava_tower, whole_llava_tower


def _next(language: Builder) -> Builder:
    return with_tower(llava_tower, image_newline(language))


def _one_vision(language: Builder) -> Builder:
    return with_tower(whole_llava_tower, image_newline(language))


MODELS = (
    Wrapper(classes=("LlavaForConditionalGeneration",), compose=behind(llava_tower)),
    Wrapper(classes=("LlavaNextForConditionalGeneration",), compose=_next),
    Wrapper(classes=("LlavaOnevisionForConditionalGeneration",), compose=_one_vision),
    Wrapper(classes=("LlavaNextVideoForConditionalGeneration",), compose=behind(whole_llava_tower)),
)
