"""PaddleOCR-VL: ERNIE 4.5 behind SigLIP, its head always the embedding."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import shape_of

from plimsoll_estimator.mixers import Attention, Mlp

PADDLE: dict[str, Any] = {"architectures": ["PaddleOCRVLForConditionalGeneration"], "model_type": "paddleocr_vl"}


@pytest.mark.parametrize("said", [{}, {"tie_word_embeddings": False}, {"tie_word_embeddings": True}])
def test_the_head_is_the_embedding_whatever_the_file_says(said: dict[str, bool]) -> None:
    assert shape_of({**PADDLE, **said}).size.tied is True


def test_a_silent_file_is_paddle_ocr_text_config() -> None:
    """Transformers 5.24.0: 18 layers, heads of 128 beyond the hidden size's share."""
    shape = shape_of({**PADDLE, "text_config": {"head_dim": 128}})
    assert len(shape.layers) == 18
    assert shape.mixers == (Attention(heads=16, kv_heads=2, head_dim=128, v_head_dim=128),)
    assert [layer.ffn for layer in shape.kinds] == [Mlp(width=3072)]
