"""DeepSeek V4: what every layer compresses (vLLM 0.32.0's models/deepseek_v4/attention.py)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import CompressedLatent, Experts

SMALL: dict[str, Any] = {
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "num_hidden_layers": 3, "hidden_size": 4096,
    "num_attention_heads": 64, "num_key_value_heads": 1, "head_dim": 512, "sliding_window": 128, "vocab_size": 129280,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 6, "moe_intermediate_size": 2048, "compress_ratios": [0, 4, 128],
}  # fmt: skip


@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-V4-Flash", "sgl-project/DeepSeek-V4-Flash-FP8"])
def test_shipped_models_compress_by_4_and_by_128(name: str) -> None:
    shape = shipped(name)
    assert [layer.mixer(CompressedLatent).ratio for layer in shape.layers] == [1, 1, *([4, 128] * 20), 4]
    assert shape.layers[2].mixer(CompressedLatent) == CompressedLatent(heads=64, head_dim=512, window=128, ratio=4, index_head_dim=128)
    assert routed(shape) == list(range(43))
    assert shape.experts == Experts(count=256, per_token=6, width=2048, shared=2048)


@pytest.mark.parametrize(
    ("sentence", "ratios"),
    [("another ratio", [0, 4, 8]), ("a list that ends before the layers", [0, 4]), ("no list", None), ("no number", [0, 4, "4"])],
)
def test_layers_without_a_rule_are_unsupported_by_name(sentence: str, ratios: list[Any] | None) -> None:
    with pytest.raises(Unsupported, match="compress_ratios"):
        shape_of({**SMALL, "compress_ratios": ratios})


@pytest.mark.parametrize("key", ["sliding_window", "moe_intermediate_size", "vocab_size"])
def test_a_missing_dimension_is_named(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        shape_of({**SMALL, key: None})
    assert refused.value.field.endswith(key)


def test_a_prediction_module_keeps_a_window_alone() -> None:
    (module,) = shape_of({**SMALL, "num_nextn_predict_layers": 1}).predictions
    assert module.mixers == (CompressedLatent(heads=64, head_dim=512, window=128, ratio=1, index_head_dim=128),)
