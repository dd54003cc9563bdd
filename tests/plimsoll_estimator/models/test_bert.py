"""Encoders that pool: what their config classes fill in, their heads, and that they keep no cache."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.layouts import layout_of
from tests.plimsoll_estimator.models.reading import seen, shape_of
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.resolved import KvPlan

BERT: dict[str, Any] = {"architectures": ["BertModel"], "model_type": "bert"}
MODERN: dict[str, Any] = {"architectures": ["ModernBertModel"], "model_type": "modernbert"}


def test_a_silent_file_is_the_class_s_own() -> None:
    """BertConfig and ModernBertConfig."""
    old, new = shape_of(BERT), shape_of(MODERN)
    assert (seen(old), old.size.kv_heads, old.size.intermediate_size) == ("12f", 12, 3072)
    assert (seen(new), new.size.kv_heads, new.size.intermediate_size) == ("1f2s" * 7 + "1f", 12, 1152)


@pytest.mark.parametrize(
    ("sentence", "change", "windows"),
    [
        ("every other layer is global", {"global_attn_every_n_layers": 2, "num_hidden_layers": 4}, "1f1s1f1s"),
        ("a list wins", {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}, "1s1f1s"),
    ],
)
def test_modern_bert_s_windows(sentence: str, change: dict[str, Any], windows: str) -> None:
    assert seen(shape_of({**MODERN, **change})) == windows, sentence


@pytest.mark.parametrize("config", [BERT, MODERN, {"model_type": "xlm-roberta"}, {"model_type": "modernbert"}])
def test_encoders_keep_no_cache_and_no_class_needs_to_be_named(config: dict[str, Any]) -> None:
    plan = layout_of(config).plan((0,))
    assert isinstance(plan, KvPlan)
    assert plan.kv_block_bytes == (0,)


@pytest.mark.parametrize(
    ("architecture", "change", "difference"),
    [
        ("BertForSequenceClassification", {}, (768 * 768 + 768 + 2 * 768 + 2) * 4),
        ("BertForTokenClassification", {"id2label": {str(i): str(i) for i in range(9)}}, (9 * 768 + 9) * 4),
        ("BgeM3EmbeddingModel", {}, (768 + 1 + 768 * 768 + 768) * 4),
    ],
)
def test_heads_are_float32(architecture: str, change: dict[str, Any], difference: int) -> None:
    headed = {**BERT, "architectures": [architecture], **change}
    assert created_bytes(headed, "0.33.0") - created_bytes(BERT, "0.33.0") == difference


def test_modern_heads_are_float32_for_sequences_alone() -> None:
    sequences, tokens = (
        created_bytes({**MODERN, "architectures": [f"ModernBertFor{what}Classification"]}, "0.33.0") for what in ("Sequence", "Token")
    )
    assert sequences - tokens == 2 * (768 * 768 + 768)


def test_what_the_class_does_not_know_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**MODERN, "layer_types": ["ring_attention"] * 22})
    with pytest.raises(InvalidInput, match="global_attn_every_n_layers"):
        shape_of({**MODERN, "global_attn_every_n_layers": 0})
