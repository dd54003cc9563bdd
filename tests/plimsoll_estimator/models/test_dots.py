"""dots.llm1: DeepSeek's order of experts (vLLM 0.17.1's dots1.py), Dots1Config's defaults."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, seen, shape_of

from plimsoll_estimator.mixers import Experts

INST: dict[str, Any] = {
    "architectures": ["Dots1ForCausalLM"], "model_type": "dots1", "hidden_size": 4096, "num_hidden_layers": 6,
    "moe_intermediate_size": 1408, "n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "keys", "layers"),
    [
        ("behind one dense layer", {}, [1, 2, 3, 4, 5]),
        ("Dots1Config's own: none dense", {"first_k_dense_replace": None}, [0, 1, 2, 3, 4, 5]),
        ("every second, counted from 0", {"moe_layer_freq": 2}, [2, 4]),
        ("no experts named", {"n_routed_experts": None}, []),
    ],
)
def test_experts_fill_the_layers_that_the_class_counts(sentence: str, keys: dict[str, Any], layers: list[int]) -> None:
    shape = shape_of({**INST, **keys})
    assert routed(shape) == layers, sentence
    assert seen(shape) == "6f"
    assert shape.experts in (None, Experts(count=128, per_token=6, width=1408, shared=2816))
