"""MiniCPM-V: its version says which language model stands behind the tower."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Mlp

MINICPM_V: dict[str, Any] = {
    "architectures": ["MiniCPMV"], "model_type": "minicpmv", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "sliding_window": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "version", "windows"),
    [
        ("2.6 is a Qwen 2, which gives a window to no layer", 2.6, "4f"),
        ("4.0 is a Llama, whose lone window is every layer's", "4.0", "4s"),
        ("4.5 is a Qwen 3", "4.5", "4f"),
    ],
)
def test_the_version_names_the_language(sentence: str, version: float | str, windows: str) -> None:
    shape = shape_of({**MINICPM_V, "version": version})
    assert seen(shape) == windows, sentence
    assert [layer.ffn for layer in shape.kinds] == [Mlp(width=96)]
    assert shape.multimodal


@pytest.mark.parametrize("version", [None, "3.9", 4.6])
def test_another_version_is_unsupported_by_name(version: Any) -> None:
    with pytest.raises(Unsupported, match=f"MiniCPM-V of version {version}"):
        shape_of({**MINICPM_V, "version": version})
