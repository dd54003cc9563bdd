"""Granite, dense, with experts, with windows and sinks, and hybrid, read as Transformers 5.24's config classes read it."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Attention, Experts, Mamba2, Mlp

HYBRID: dict[str, Any] = {"model_type": "granitemoehybrid", "num_hidden_layers": 4}


def test_layers_of_published_models() -> None:
    dense = shipped("ibm-granite/granite-3.3-8b-instruct")
    assert (mixed(dense), dense.layers[0].ffn) == ("40A", Mlp(width=12800))
    sparse = shipped("ibm-granite/granite-3.1-1b-a400m-instruct")
    assert (mixed(sparse), sparse.layers[0].ffn) == ("24A", Experts(count=32, per_token=8, width=512))


def test_a_hybrid_without_experts_has_its_shared_mlp_alone() -> None:
    shape = shipped("ibm-granite/granite-4-8b-dense-hybrid")
    assert shape.hybrid == ("M" in mixed(shape))
    assert {layer.ffn for layer in shape.layers} == {Mlp(width=12800)}
    assert shape.experts is None


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("GraniteMoeHybridConfig: without a list all are Mamba 2", {}, "4M"),
        ("by Transformers' name", {"layer_types": ["mamba", "attention", "linear_attention", "full_attention"]}, "1M 1A 1M 1A"),
        ("by the other name", {"layers_block_type": ["mamba", "mamba", "mamba", "attention"]}, "3M 1A"),
    ],
)
def test_hybrid_layers_are_those_of_the_config_class(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert mixed(shape_of("GraniteMoeHybridForCausalLM", **HYBRID, **config)) == layers, sentence


def test_a_silent_hybrid_is_its_class() -> None:
    shape = shape_of("GraniteMoeHybridForCausalLM", **HYBRID)
    assert shape.mixers == (Mamba2(inner=8192, heads=128, head_dim=64, groups=1, state=256, kernel=4),)
    assert {layer.ffn for layer in shape.layers} == {Experts(count=8, per_token=2, width=11008, shared=1024)}


@pytest.mark.parametrize(
    ("sentence", "config", "windows"),
    [
        ("GraniteSWAConfig: every fourth layer from the first on is full", {}, [0, 128, 128, 128, 0]),
        ("a list wins", {"layer_types": ["sliding_attention"] * 4 + ["full_attention"]}, [128, 128, 128, 128, 0]),
        ("a null window is none", {"sliding_window": None}, [0, 0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize(
    ("architecture", "model_type"), [("GraniteSWAForCausalLM", "granite_swa"), ("GraniteMoeSWAForCausalLM", "granitemoe_swa")]
)
def test_windows_and_sinks(sentence: str, config: dict[str, Any], windows: list[int], architecture: str, model_type: str) -> None:
    shape = shape_of(architecture, model_type=model_type, num_hidden_layers=5, **config)
    seen = [layer.mixer(Attention) for layer in shape.layers]
    assert [one.window for one in seen] == windows, sentence
    assert all(one.sinks for one in seen)


def test_shared_experts_stand_beside_attention_alone() -> None:
    shape = shape_of("GraniteMoeSharedForCausalLM", model_type="granitemoeshared", num_hidden_layers=2, shared_intermediate_size=512)
    assert mixed(shape) == "2A"
    assert shape.experts == Experts(count=8, per_token=2, width=11008, shared=512)


@pytest.mark.parametrize(
    ("architecture", "model_type", "tied"),
    [
        ("GraniteForCausalLM", "granite", False),
        ("GraniteMoeForCausalLM", "granitemoe", False),
        ("GraniteMoeSharedForCausalLM", "granitemoeshared", False),
        ("GraniteMoeHybridForCausalLM", "granitemoehybrid", False),
        ("GraniteMoeSWAForCausalLM", "granitemoe_swa", False),
        ("GraniteSWAForCausalLM", "granite_swa", True),
    ],
)
def test_the_head_is_tied_where_the_class_ties_it(architecture: str, model_type: str, tied: bool) -> None:
    config = {"architectures": [architecture], "model_type": model_type, "num_hidden_layers": 2}
    said = created_bytes({**config, "tie_word_embeddings": tied}, "0.33.0")
    assert created_bytes(config, "0.33.0") == said
    assert created_bytes({**config, "tie_word_embeddings": not tied}, "0.33.0") != said


def test_a_layer_kind_without_a_rule_is_named() -> None:
    with pytest.raises(Unsupported, match="'conv'"):
        shape_of("GraniteMoeHybridForCausalLM", **HYBRID, layer_types=["conv"] * 4)
