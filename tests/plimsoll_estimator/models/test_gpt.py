"""GPT-2, GPT-NeoX, GPT-J and GPT-BigCode: their own spellings, and one key-value head for all."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.layouts import layout_of
from tests.plimsoll_estimator.models.built import answered
from tests.plimsoll_estimator.models.reading import seen, shape_of
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import Unsupported

GPT2: dict[str, Any] = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
NEOX: dict[str, Any] = {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox"}
GPTJ: dict[str, Any] = {"architectures": ["GPTJForCausalLM"], "model_type": "gptj"}
CODE: dict[str, Any] = {"architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode"}


@pytest.mark.parametrize(
    ("sentence", "config", "windows", "heads", "width"),
    [
        ("GPT2Config's own", GPT2, "12f", (12, 12, 64), 3072),
        ("GPT-2 XL by its own spellings", {**GPT2, "n_embd": 1600, "n_head": 25, "n_layer": 48}, "48f", (25, 25, 64), 6400),
        ("an MLP of another width", {**GPT2, "n_inner": 1024}, "12f", (12, 12, 64), 1024),
        ("GPTNeoXConfig's own", NEOX, "44f", (64, 64, 96), 24576),
        ("GPTJConfig's own", GPTJ, "28f", (16, 16, 256), 16384),
        ("GPTBigCodeConfig: one key-value head for all", CODE, "12f", (12, 1, 64), 3072),
        ("one each where the file says so", {**CODE, "multi_query": False}, "12f", (12, 12, 64), 3072),
        ("whatever it says of their number", {**CODE, "num_key_value_heads": 4}, "12f", (12, 1, 64), 3072),
    ],
)
def test_dimensions_are_those_of_the_config_class(
    sentence: str, config: dict[str, Any], windows: str, heads: tuple[int, int, int], width: int
) -> None:
    shape = shape_of(config)
    assert (seen(shape), (shape.size.heads, shape.size.kv_heads, shape.size.head_dim)) == (windows, heads), sentence
    assert shape.size.intermediate_size == width
    _, kv_heads, head_dim = heads
    assert layout_of(config).kv_block_bytes == (16 * kv_heads * 2 * head_dim * 2 * len(shape.layers),)


def test_neox_has_biases_unless_its_file_says_otherwise() -> None:
    """gpt_neox.py: `attention_bias`, which GPTNeoXConfig sets, is the bias of query_key_value and dense."""
    biased, bare = (created_bytes(config, "0.31.0") for config in (NEOX, {**NEOX, "attention_bias": False}))
    assert biased - bare == 44 * 4 * 6144 * 2


BIGCODE_ON_TWO = [
    # what the release's own class builds on the meta device at tensor parallel 2, of GPTBigCodeConfig's defaults in bfloat16
    ("0.25.1", 185_380_864),
    ("0.33.0", 171_216_064),
]


@pytest.mark.parametrize(("version", "built"), BIGCODE_ON_TWO)
def test_the_transformers_backend_cuts_packed_attention_from_0_27_on(version: str, built: int) -> None:
    """0.27.0 brings models/transformers/fusers/packed_qkv.py; until then each rank has all of c_attn and c_proj."""
    config = {**CODE, "dtype": "bfloat16", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
    answer = answered({**config, "multi_query": True}, version, {"tensor_parallel_size": 2})
    assert {rank["weights_created_bytes"] for rank in answer["ranks"]} == {built}


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**GPT2, "layer_types": ["ring_attention"] * 12})
