"""Qwens that see and hear: the language is Qwen's own, whatever its text config is called there."""

from typing import Any

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import Attention, Experts, Mlp
from plimsoll_estimator.models.register import read

SMALL: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "vocab_size": 256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "layers", "attention", "ffn"),
    [
        (
            "Qwen/Qwen2.5-VL-7B-Instruct", 28,
            Attention(heads=28, kv_heads=4, head_dim=128, v_head_dim=128), Mlp(width=18944),
        ),
        (
            "Qwen/Qwen3-VL-30B-A3B-Instruct", 48,
            Attention(heads=32, kv_heads=4, head_dim=128, v_head_dim=128), Experts(count=128, per_token=8, width=768),
        ),
    ],
)  # fmt: skip
def test_layers_of_published_models(model: str, layers: int, attention: Attention, ffn: Mlp | Experts) -> None:
    config = catalogue.lookup(model)
    assert config is not None
    shape = read(config, config.architecture)
    assert len(shape.layers) == layers
    assert [(layer.mixers, layer.ffn) for layer in shape.kinds] == [((attention,), ffn)]
    assert shape.multimodal
    assert not shape.image_prefix


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("Qwen2VLForConditionalGeneration", {"model_type": "qwen2_vl", **SMALL}),
        ("Qwen2VLForConditionalGeneration", {"model_type": "qwen2_vl", "text_config": {"model_type": "qwen2_vl_text", **SMALL}}),
        ("Qwen2_5_VLForConditionalGeneration", {"model_type": "qwen2_5_vl", "text_config": {"model_type": "qwen2_5_vl_text", **SMALL}}),
        ("Qwen3VLForConditionalGeneration", {"model_type": "qwen3_vl", "text_config": SMALL}),
        (
            "Qwen2_5OmniModel",
            {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": {"model_type": "qwen2_5_omni_text", **SMALL}}},
        ),
        (
            "Qwen3OmniMoeForConditionalGeneration",
            {"thinker_config": {"text_config": {"model_type": "qwen3_omni_moe_text", **SMALL, "moe_intermediate_size": 32}}},
        ),
    ],
)
def test_no_layer_has_a_window_wherever_the_language_is_written(architecture: str, config: dict[str, Any]) -> None:
    shape = read(HfConfig({**config, "sliding_window": 16, "use_sliding_window": True}), architecture)
    assert [mixer.window for mixer in shape.mixers if isinstance(mixer, Attention)] == [0]
    assert len(shape.layers) == 4


def test_another_language_behind_the_tower_is_unsupported_by_name() -> None:
    config = HfConfig({"text_config": {"model_type": "novel", **SMALL}})
    with pytest.raises(Unsupported, match="no rules for the model type novel of Qwen3VLForConditionalGeneration"):
        read(config, "Qwen3VLForConditionalGeneration")
