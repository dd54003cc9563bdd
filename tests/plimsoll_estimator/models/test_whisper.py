"""Whisper: its decoder is the language model, and each of its layers keeps the encoder's states too."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.mixers import CrossAttention

WHISPER: dict[str, Any] = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}
TURBO: dict[str, Any] = {
    **WHISPER, "d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "decoder_layers": 4,
    "decoder_attention_heads": 20, "decoder_ffn_dim": 5120, "num_mel_bins": 128, "vocab_size": 51866, "num_hidden_layers": 32,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "config", "found"),
    [
        ("WhisperConfig's own", WHISPER, ("4f", 384, 6, 1536)),
        ("the decoder's layers, whatever `num_hidden_layers` counts", TURBO, ("4f", 1280, 20, 5120)),
    ],
)
def test_the_decoder_is_the_language_model(sentence: str, config: dict[str, Any], found: tuple[str, int, int, int]) -> None:
    shape = shape_of(config)
    assert (seen(shape), shape.size.hidden_size, shape.size.heads, shape.size.intermediate_size) == found, sentence
    assert all(CrossAttention(kv_heads=found[2], head_dim=64, tokens=1500) in layer.mixers for layer in shape.layers)


def test_more_mel_bins_are_a_wider_first_convolution() -> None:
    assert created_bytes(TURBO, "0.33.0") - created_bytes({**TURBO, "num_mel_bins": 80}, "0.33.0") == 48 * 1280 * 3 * 2


@pytest.mark.parametrize("key", ["decoder_layers", "max_source_positions"])
def test_a_zero_is_refused_by_name(key: str) -> None:
    with pytest.raises(InvalidInput):
        shape_of({**WHISPER, key: 0})
