"""OPT: an embedding that may be narrower than the layers, and a last norm that may be left out."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of, shipped
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import Unsupported

OPT: dict[str, Any] = {"architectures": ["OPTForCausalLM"], "model_type": "opt", "vocab_size": 50304}


def test_opt_as_shipped() -> None:
    shape = shipped("facebook/opt-125m")
    assert (seen(shape), shape.size.heads, shape.size.kv_heads, shape.size.intermediate_size) == ("12f", 12, 12, 3072)


@pytest.mark.parametrize(
    ("sentence", "change", "difference"),
    [
        ("project_in and project_out stand between a narrower embedding and the layers",
         {"word_embed_proj_dim": 512}, 2 * 512 * 768 - 50304 * (768 - 512)),
        ("a head of its own is as narrow as the embedding",
         {"word_embed_proj_dim": 512, "tie_word_embeddings": False}, 2 * 512 * 768 - 50304 * (768 - 2 * 512)),
        ("norms behind each block need no last one", {"do_layer_norm_before": False}, -2 * 768),
        ("nor do files converted without it", {"_remove_final_layer_norm": True}, -2 * 768),
        ("norms may have no parameters", {"layer_norm_elementwise_affine": False}, -(12 * 2 + 1) * 2 * 768),
        ("no biases", {"enable_bias": False}, -12 * (4 * 768 + 3072 + 768)),
    ],
)  # fmt: skip
def test_what_a_file_may_leave_out(sentence: str, change: dict[str, Any], difference: int) -> None:
    plain, changed = (created_bytes(config, "0.33.0") for config in (OPT, {**OPT, **change}))
    assert changed - plain == 2 * difference, sentence


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**OPT, "layer_types": ["ring_attention"] * 12})
