"""Which classes take more than text, and what overheads ask of their towers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import shape_of, shipped

from plimsoll_estimator.models.record import Wrapper
from plimsoll_estimator.models.register import records
from plimsoll_estimator.shape import Vision

SMALL: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "vocab_size": 256,
}  # fmt: skip
MULTIMODAL = frozenset({
    "AriaForConditionalGeneration", "Cohere2VisionForConditionalGeneration", "DeepseekOCRForCausalLM", "Exaone4_5_ForConditionalGeneration",
    "Gemma3ForConditionalGeneration", "Gemma4ForConditionalGeneration", "Glm4vForConditionalGeneration", "Glm4vMoeForConditionalGeneration",
    "GlmOcrForConditionalGeneration", "Idefics3ForConditionalGeneration", "InternS1ForConditionalGeneration", "InternVLChatModel",
    "InternVLForConditionalGeneration", "KimiK25ForConditionalGeneration", "KimiK3ForConditionalGeneration",
    "KimiVLForConditionalGeneration", "Lfm2VlForConditionalGeneration", "Llama4ForConditionalGeneration", "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration", "LlavaNextVideoForConditionalGeneration", "LlavaOnevisionForConditionalGeneration", "MiniCPMV",
    "MiniMaxM3SparseForConditionalGeneration", "Mistral3ForConditionalGeneration", "MllamaForConditionalGeneration", "MolmoForCausalLM",
    "PaddleOCRVLForConditionalGeneration", "PaliGemmaForConditionalGeneration", "Phi3VForCausalLM", "Phi4MMForCausalLM",
    "Qwen2AudioForConditionalGeneration", "Qwen2VLForConditionalGeneration", "Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniModel",
    "Qwen2_5_VLForConditionalGeneration", "Qwen3OmniMoeForConditionalGeneration", "Qwen3VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration", "Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration",
    "SmolVLMForConditionalGeneration", "Step3p7ForConditionalGeneration", "StepVLForConditionalGeneration",
})  # fmt: skip
"""What vLLM's registry files under multimodal models (model_executor/models/registry.py, 0.33.0; Mllama as of 0.10.2)."""


def test_classes_of_vllm_s_multimodal_registry_take_more_than_text() -> None:
    text_only = {name for model in records() if not isinstance(model, Wrapper) and not model.multimodal for name in model.classes}
    assert not text_only & MULTIMODAL


@pytest.mark.parametrize(
    ("sentence", "config", "vision"),
    [
        (
            "Qwen2VLVisionConfig merges patches where the file is silent",
            {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", **SMALL, "vision_config": {}},
            Vision(merges_patches=True, deepstack_levels=0),
        ),
        (
            "Qwen3VLVisionConfig hands three levels on where the file is silent",
            {"architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "text_config": SMALL},
            Vision(merges_patches=True, deepstack_levels=3),
        ),
        (
            "a file that names no level has none",
            {
                "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "text_config": SMALL,
                "vision_config": {"deepstack_visual_indexes": []},
            },
            Vision(merges_patches=True, deepstack_levels=0),
        ),
        (
            "a thinker's tower is the model's",
            {
                "architectures": ["Qwen3OmniMoeForConditionalGeneration"], "model_type": "qwen3_omni_moe",
                "thinker_config": {"text_config": {**SMALL, "moe_intermediate_size": 32}},
            },
            Vision(merges_patches=True, deepstack_levels=3),
        ),
        (
            "CLIP's patches go to the language model as they are",
            {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": SMALL},
            Vision(merges_patches=False, deepstack_levels=0),
        ),
        (
            "a class that hears only",
            {"architectures": ["Qwen2AudioForConditionalGeneration"], "model_type": "qwen2_audio", "text_config": SMALL},
            Vision(merges_patches=False, deepstack_levels=0),
        ),
        (
            "Molmo, whose file never speaks of its tower",
            {"architectures": ["MolmoForCausalLM"], "model_type": "molmo", **SMALL},
            Vision(merges_patches=False, deepstack_levels=0),
        ),
        ("text alone", {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **SMALL}, None),
        (
            "a text class stays one beside a tower's configuration",
            {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **SMALL, "vision_config": {}},
            None,
        ),
    ],
)  # fmt: skip
def test_what_overheads_ask_of_a_tower(sentence: str, config: dict[str, Any], vision: Vision | None) -> None:
    shape = shape_of(config)
    seen = None if shape.vision is None else shape.vision._replace(blocks=None)  # blocks have tests of their own
    assert seen == vision, sentence
    assert shape.multimodal is (vision is not None)


def test_llama_3_2_vision_sees() -> None:
    """vLLM 0.10.2's own class and the Transformers backend since: both take images."""
    assert shipped("meta-llama/Llama-3.2-11B-Vision-Instruct").multimodal
