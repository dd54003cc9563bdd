"""Aria: experts of the intermediate size in every layer, shared ones beside them, behind a tower."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, shape_of

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Experts

ARIA: dict[str, Any] = {"architectures": ["AriaForConditionalGeneration"], "model_type": "aria"}


@pytest.mark.parametrize(
    ("sentence", "text", "experts"),
    [
        ("AriaTextConfig's own (Transformers 5.24.0)", {}, Experts(count=8, per_token=2, width=4096, shared=8192)),
        (
            "Aria as published",
            {"moe_num_experts": 64, "moe_topk": 6, "moe_num_shared_experts": 2, "intermediate_size": 1664},
            Experts(count=64, per_token=6, width=1664, shared=3328),
        ),
        ("no shared expert", {"moe_num_shared_experts": 0}, Experts(count=8, per_token=2, width=4096)),
    ],
)
def test_every_layer_is_made_of_experts(sentence: str, text: dict[str, Any], experts: Experts) -> None:
    shape = shape_of({**ARIA, "text_config": {"model_type": "aria_text", "num_hidden_layers": 3, **text}})
    assert shape.experts == experts, sentence
    assert routed(shape) == [0, 1, 2]
    assert shape.multimodal


def test_another_language_is_unsupported_by_name() -> None:
    with pytest.raises(Unsupported, match="the model type novel of AriaForConditionalGeneration"):
        shape_of({**ARIA, "text_config": {"model_type": "novel"}})
