"""Mistral Small 4 by itself and behind Mistral 3's tower: what vLLM 0.32.0's own code builds on the meta device, plans and refuses."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.built import Planned, answered, planned
from tests.plimsoll_estimator.models.reading import routed, shape_of
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.mixers import Attention, Experts, Latent, Mlp

SHIPPED: dict[str, Any] = dict(config_of("mistralai/Mistral-Small-4-119B-2603-W4A16").as_mapping())
TEXT: dict[str, Any] = {**SHIPPED["text_config"], "architectures": ["Mistral4ForCausalLM"]}
WHOLE: dict[str, Any] = {**{key: value for key, value in SHIPPED.items() if key != "quantization_config"}, "text_config": TEXT}
SILENT: dict[str, Any] = {"architectures": ["Mistral4ForCausalLM"], "model_type": "mistral4", "dtype": "bfloat16"}
SHORT = {"max_model_len": 8192}


@pytest.mark.parametrize("version", ["0.25.1", "0.32.0", "0.33.0"])
@pytest.mark.parametrize("args", [{}, SHORT, {"tensor_parallel_size": 2}, {"tensor_parallel_size": 4, "kv_cache_dtype": "fp8"}])
def test_the_shipped_file_is_refused(version: str, args: dict[str, Any]) -> None:
    """ "No model architectures are specified": its text config names no class, and Transformers lists no causal one for mistral4."""
    reply = answered(SHIPPED, version, args)
    assert (reply["verdict"], reply["reason"]) == ("refused", Check.LANGUAGE_MODEL_UNNAMED)


def test_heads_that_ranks_do_not_divide_are_refused_first() -> None:
    reply = answered(SHIPPED, "0.32.0", {"tensor_parallel_size": 3})
    assert (reply["verdict"], reply["reason"]) == ("refused", Check.HEADS_NOT_DIVISIBLE)


@pytest.mark.parametrize(
    "row",
    [
        Planned(says="one GPU", args=SHORT, created=(237945654080,), blocks=116508, tokens=1864128, concurrency=227.5546875),
        Planned(
            says="two", args={**SHORT, "tensor_parallel_size": 2}, created=(119190227776,), blocks=116508, tokens=1864128,
            concurrency=227.5546875,
        ),
        Planned(
            says="two stages", args={**SHORT, "pipeline_parallel_size": 2}, created=(118972823072, 118972831264), blocks=233016,
            tokens=3728256, concurrency=455.109375,
        ),
        Planned(says="too little for its context", gib=4, created=(237945654080,), blocks=0, tokens=186384),
    ],
    ids=str,
)  # fmt: skip
def test_by_itself_it_keeps_latents(row: Planned) -> None:
    assert planned({**TEXT, "dtype": "bfloat16"}, "0.32.0", row) == row


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        (
            Planned(says="dense layers", args=SHORT, created=(29264829792,), blocks=699050, tokens=11184800, concurrency=1365.33203125),
            {"first_k_dense_replace": 2, "num_hidden_layers": 6, "n_shared_experts": 2},
        ),
        (
            Planned(says="four layers", args=SHORT, created=(28347287872,), blocks=1048576, tokens=16777216, concurrency=2048.0),
            {"num_hidden_layers": 4},
        ),
    ],
    ids=lambda given: given.says if isinstance(given, Planned) else "of",
)
def test_what_a_file_leaves_out_is_mistral4_config(row: Planned, changed: dict[str, Any]) -> None:
    assert planned({**SILENT, **changed}, "0.32.0", row) == row


def test_by_itself_every_linear_may_be_quantised() -> None:
    row = Planned(
        says="4 bits", args={**SHORT, "tensor_parallel_size": 2}, created=(34321672384,), blocks=116508, tokens=1864128,
        concurrency=227.5546875,
    )  # fmt: skip
    stored = {**SHIPPED["quantization_config"], "ignore": ["lm_head"]}
    assert planned({**TEXT, "dtype": "bfloat16", "quantization_config": stored}, "0.32.0", row) == row


@pytest.mark.parametrize(
    "row",
    [
        Planned(says="one GPU", args=SHORT, created=(238802598976,), blocks=4551, tokens=72816, concurrency=8.888671875),
        Planned(
            says="the tower on both stages", args={**SHORT, "pipeline_parallel_size": 2}, created=(119829767968, 119829776160),
            blocks=9102, tokens=145632, concurrency=17.77734375,
        ),
        Planned(
            says="a cache of 8 bits", args={**SHORT, "kv_cache_dtype": "fp8"}, created=(238802598976,), blocks=9102, tokens=145632,
            concurrency=17.77734375,
        ),
    ],
    ids=str,
)  # fmt: skip
def test_behind_a_tower_that_names_it_every_head_is_kept(row: Planned) -> None:
    """ModelConfig.use_mla asks the outer class, which is vLLM's own and knows no latent mistral4."""
    assert planned(WHOLE, "0.32.0", row) == row


@pytest.mark.parametrize(
    ("sentence", "config", "created"),
    [
        ("by itself", {**TEXT, "dtype": "bfloat16", "num_hidden_layers": 2, "attention_bias": True, "q_lora_rank": None}, 15280957984),
        (
            "behind the tower",
            {**WHOLE, "text_config": {**TEXT, "num_hidden_layers": 2, "attention_bias": True, "q_lora_rank": None}}, 16137902880,
        ),
        ("with query ranks", {**WHOLE, "text_config": {**TEXT, "num_hidden_layers": 2, "attention_bias": True}}, 16104356640),
    ],
)  # fmt: skip
def test_biases_and_queries_without_ranks(sentence: str, config: dict[str, Any], created: int) -> None:
    assert answered(config, "0.32.0", SHORT)["ranks"][0]["weights_created_bytes"] == created, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "version", "args", "named"),
    [
        ("a release whose backend was not read", {**TEXT, "dtype": "bfloat16"}, "0.31.0", SHORT, "vLLM 0.31.0"),
        ("whole attention before a divided cache", WHOLE, "0.32.0", {**SHORT, "tensor_parallel_size": 2}, "several ranks"),
        ("names of modules that the backend gives otherwise", {**SHIPPED, "text_config": TEXT}, "0.32.0", SHORT, "quantised"),
    ],
)
def test_what_has_no_rule_is_named(sentence: str, config: dict[str, Any], version: str, args: dict[str, Any], named: str) -> None:
    reply = answered(config, version, args)
    assert reply["verdict"] == "unsupported", sentence
    assert named in reply["message"]


def test_its_head_width_is_that_of_both_parts() -> None:
    shape = shape_of({**TEXT, "head_dim": 96})
    assert shape.size.head_dim == 128
    assert shape.mixers == (Latent(heads=32, q_lora_rank=1024, kv_lora_rank=256, qk_nope_head_dim=64, qk_rope_head_dim=64, v_head_dim=128),)
    assert shape_of(WHOLE).mixers == (Attention(heads=32, kv_heads=32, head_dim=128, v_head_dim=128),)


@pytest.mark.parametrize(("first", "sparse"), [(0, 36), (1, 35), (36, 0)])
def test_experts_follow_the_dense_layers(first: int, sparse: int) -> None:
    shape = shape_of({**TEXT, "first_k_dense_replace": first})
    assert routed(shape) == list(range(first, 36))
    assert len(routed(shape)) == sparse
    assert {layer.ffn for layer in shape.layers} <= {Mlp(width=12288), Experts(count=128, per_token=4, width=2048, shared=2048)}


def test_a_width_of_nothing_is_named() -> None:
    with pytest.raises(InvalidInput, match="kv_lora_rank"):
        shape_of({**TEXT, "kv_lora_rank": 0})
