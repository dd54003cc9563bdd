"""One model, one reader: whatever a file leaves out or spells otherwise, every part sees the same layers, heads and widths, or the answer
is `unsupported` or `invalid` by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator import catalogue
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import TEXT_KEYS, HfConfig
from plimsoll_estimator.mixers import Experts
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.overhead.widths import widths_of
from plimsoll_estimator.reader import SPELLINGS
from plimsoll_estimator.resolve.facts import layout_bounds
from plimsoll_estimator.shape import Layer, Shape

NAMES = catalogue.names()
MAY_BE_ZERO = {"heads", "kv_heads", "head_dim"}  # of a model of states alone
DIMENSIONS = {spelled for spellings in SPELLINGS.values() for spelled in spellings}


def readable(config: HfConfig) -> Shape | None:
    """The shape, or None where the config is refused by name."""
    try:
        return shape_of(config)
    except (Unsupported, InvalidInput):  # both name what is missing or wrong
        return None


def numbers(value: object) -> Mapping[str, int]:
    """Every whole number of a dataclass."""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    return {field.name: got for field in fields if isinstance(got := getattr(value, field.name), int) and not isinstance(got, bool)}


def check_whole(shape: Shape) -> None:
    """No dimension is 0, and every part counts the same layers."""
    attends = shape.attends or shape.attends_both_ways
    for name, value in numbers(shape.size).items():
        assert value > 0 or (name in MAY_BE_ZERO and not attends), f"{name} is {value}"
    assert len(shape.layers) == shape.size.layer_count
    for layer in shape.kinds:
        check_layer(layer)
    widths = widths_of(shape, text_only=False)
    assert widths.layers == len(shape.layers)
    assert widths.hidden_size == shape.size.hidden_size > 0
    assert widths.vocab_size >= shape.size.vocab_size > 0
    assert widths.attention_width > 0 or not attends
    assert (widths.experts > 0) == any(layer.routed for layer in shape.layers)


def check_layer(layer: Layer) -> None:
    for mixer in layer.mixers:
        may_be_none = {"window", "q_lora_rank", "index_head_dim", "index_heads", "ratio", "qk_nope_head_dim", "qk_rope_head_dim"}
        assert all(value > 0 or name in may_be_none for name, value in numbers(mixer).items()), mixer
    if isinstance(layer.ffn, Experts):
        assert layer.ffn.count > 0
        assert layer.ffn.width > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_the_catalogue_is_whole(name: str) -> None:
    shape = readable(config_of(name))
    if shape is not None:
        check_whole(shape)
        bounds = layout_bounds(config_of(name))
        assert (bounds.layers, bounds.has_experts) == (len(shape.layers), shape.experts is not None)


def language_of(config: dict[str, Any]) -> dict[str, Any]:
    for key in TEXT_KEYS:
        if isinstance(config.get(key), dict):
            return language_of(config[key])
    return config


@st.composite
def altered(draw: st.DrawFn) -> tuple[str, HfConfig]:
    """A model of the catalogue with a few keys of its language left out, and a few dimensions spelled otherwise."""
    name = draw(st.sampled_from(NAMES))
    config = _copied(config_of(name).as_mapping())
    language = language_of(config)
    optional = sorted(key for key in language if key not in ("architectures", "model_type", *TEXT_KEYS))
    for key in draw(st.lists(st.sampled_from(optional), max_size=4, unique=True)) if optional else ():
        del language[key]
    for usual, spellings in SPELLINGS.items():
        spelled = next((key for key in spellings if key in language), None)
        if spelled is not None and draw(st.booleans()) and draw(st.booleans()):
            language[draw(st.sampled_from((*spellings, usual)))] = language.pop(spelled)
    return name, HfConfig(config)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list | tuple) else value


@law(1000)
@given(altered())
def test_whatever_a_file_leaves_out_or_respells_it_is_whole_or_refused_by_name(case: tuple[str, HfConfig]) -> None:
    shape = readable(case[1])
    if shape is not None:
        check_whole(shape)


def test_no_model_type_is_planned_that_no_record_claims() -> None:
    config = {**config_of("meta-llama/Llama-3.1-8B-Instruct").as_mapping(), "model_type": "never_seen"}
    with pytest.raises(Unsupported, match="never_seen"):
        shape_of(HfConfig(config))


def test_no_layer_kind_is_planned_that_no_record_knows() -> None:
    base = config_of("meta-llama/Llama-3.1-8B-Instruct").as_mapping()
    config = {**base, "layer_types": ["full_attention"] * 31 + ["dreaming_attention"]}
    with pytest.raises(Unsupported, match="dreaming_attention"):
        shape_of(HfConfig(config))


@pytest.mark.parametrize(
    ("sentence", "name", "change", "says"),
    [
        ("a mixture of no experts", "mistralai/Mixtral-8x7B-v0.1", {"num_local_experts": 0}, "num_local_experts: 0 must be at least 1"),
        ("a null is no default", "openai/gpt-oss-20b", {"num_local_experts": None, "num_experts": None}, "experts: 0 must be at least 1"),
        ("experts of no width", "Qwen/Qwen3-30B-A3B", {"moe_intermediate_size": 0}, "config: 0 is no width for experts"),
    ],
)  # fmt: skip
def test_layers_of_experts_without_experts_are_refused_by_name(sentence: str, name: str, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        shape_of(HfConfig({**config_of(name).as_mapping(), **change}))
    assert says in str(refused.value), sentence


def test_gemma_4_s_block_of_experts_without_their_number_is_refused_by_name() -> None:
    config = _copied(config_of("google/gemma-4-26B-A4B").as_mapping())
    del language_of(config)["num_experts"]
    with pytest.raises(InvalidInput, match="num_experts: 0 must be at least 1"):
        shape_of(HfConfig(config))
