"""Llama 3.2 Vision: all its layers keep a cache, those with cross-attention too."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of, shipped

from plimsoll_estimator.mixers import Mlp

MLLAMA: dict[str, Any] = {"architectures": ["MllamaForConditionalGeneration"], "model_type": "mllama"}


@pytest.mark.parametrize(
    ("name", "layers", "hidden"),
    [("meta-llama/Llama-3.2-11B-Vision-Instruct", 40, 4096), ("meta-llama/Llama-3.2-90B-Vision-Instruct", 100, 8192)],
)
def test_layers_of_published_models(name: str, layers: int, hidden: int) -> None:
    shape = shipped(name)
    assert (seen(shape), shape.size.hidden_size, shape.size.kv_heads) == (f"{layers}f", hidden, 8)
    assert shape.multimodal


def test_a_silent_text_is_mllama_text_config() -> None:
    """Transformers 5.24.0."""
    shape = shape_of({**MLLAMA, "text_config": {}})
    assert (len(shape.layers), shape.size.kv_heads, shape.size.vocab_size) == (40, 8, 128256)
    assert [layer.ffn for layer in shape.kinds] == [Mlp(width=14336)]
