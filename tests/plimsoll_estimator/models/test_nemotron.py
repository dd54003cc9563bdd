"""Nemotron, dense, NAS and H: what the pattern says, and nothing that it does not."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Attention, Experts, Mamba2, Mlp

H: dict[str, Any] = {"model_type": "nemotron_h"}


def of_h(**config: Any) -> str:
    return mixed(shape_of("NemotronHForCausalLM", **H, **config))


def test_a_published_mixture() -> None:
    shape = shipped("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")
    assert len(shape.layers) == shape.size.layer_count == 52
    assert sum(layer.attends for layer in shape.layers) == 6
    assert shape.experts == Experts(count=128, per_token=6, width=1856, shared=3712)
    assert next(mixer for mixer in shape.mixers if isinstance(mixer, Mamba2)).state_dtype == "float32"


def test_a_dense_pattern_has_no_experts_whatever_the_class_fills_in() -> None:
    """NemotronHConfig holds n_routed_experts 8 for every file that is silent."""
    shape = shipped("nvidia/Nemotron-H-56B-Base-8K")
    assert shape.experts is None
    assert {layer.ffn for layer in shape.layers} == {None, Mlp(width=32768)}


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("letters", {"hybrid_override_pattern": "M-M*E"}, "1M 1- 1M 1A 1-"),
        ("as many layers as letters", {"hybrid_override_pattern": "MM*", "num_hidden_layers": 9}, "2M 1A"),
        ("a list", {"layers_block_type": ["mamba", "attention", "mlp", "moe"]}, "1M 1A 2-"),
        ("in Transformers' words", {"layers_block_type": ["linear_attention", "full_attention"]}, "1M 1A"),
        ("by the class's other name", {"layer_types": ["linear_attention", "full_attention"]}, "1M 1A"),
        ("a list wins over letters", {"hybrid_override_pattern": "MMM", "layers_block_type": ["attention"]}, "1A"),
        ("NemotronHConfig without either", {"num_hidden_layers": 52}, "1M 1- 1A 1-"),
    ],
)
def test_layers_are_those_of_the_config_class(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert of_h(**config) == layers, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "kind"),
    [
        ("NemotronHConfig refuses the marks of stages (KeyError '|')", {"hybrid_override_pattern": "M-|M*"}, r"'\|'"),
        ("a letter of others", {"hybrid_override_pattern": "MG"}, "'G'"),
        ("a kind of others", {"layers_block_type": ["mamba", "retention"]}, "'retention'"),
    ],
)
def test_a_layer_kind_without_a_rule_is_named(sentence: str, config: dict[str, Any], kind: str) -> None:
    with pytest.raises(Unsupported, match=kind):
        of_h(**config)


def test_older_names_of_the_states_win() -> None:
    state = shape_of("NemotronHForCausalLM", **H, hybrid_override_pattern="M", mamba_n_groups=4, mamba_d_conv=3, n_groups=2).layers[0]
    assert state.mixers == (Mamba2(inner=8192, heads=128, head_dim=64, groups=4, state=128, kernel=3, state_dtype="float32"),)


@pytest.mark.parametrize(
    ("sentence", "widths", "expected"),
    [
        ("one for all", 512, [512, 512]),
        ("a list of one for all", [512], [512, 512]),
        ("one for each MLP in turn", [512, 1024], [512, 1024]),
    ],
)
def test_mlps_may_have_widths_of_their_own(sentence: str, widths: Any, expected: list[int]) -> None:
    shape = shape_of("NemotronHForCausalLM", **H, hybrid_override_pattern="M-*-", intermediate_size=widths)
    assert [layer.ffn.width for layer in shape.layers if isinstance(layer.ffn, Mlp)] == expected, sentence
    assert shape.size.intermediate_size == max(expected)


def test_widths_that_are_not_enough_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"intermediate_size.*must be one width or 3"):
        of_h(hybrid_override_pattern="---", intermediate_size=[512, 1024])


def test_blocks_of_nas_have_heads_and_widths_of_their_own_or_lack_them() -> None:
    shape = shipped("nvidia/Llama-3_3-Nemotron-Super-49B-v1")
    assert len(shape.layers) == 80
    assert {mixer.kv_heads for mixer in shape.mixers if isinstance(mixer, Attention)} == {8}
    assert sum(layer.attends for layer in shape.layers) == 49
    assert len({layer.ffn for layer in shape.layers}) > 2


@pytest.mark.parametrize(
    ("sentence", "block", "message"),
    [
        ("an object for each layer", None, "must have an object for layer 0"),
        ("heads in a group", {"attention": {}, "ffn": {"ffn_mult": 1.0}}, "n_heads_in_group"),
        ("a width", {"attention": {"n_heads_in_group": 8}, "ffn": {}}, "intermediate_size"),
    ],
)
def test_what_a_block_of_nas_lacks_is_named(sentence: str, block: Any, message: str) -> None:
    config = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 8, "vocab_size": 64, "block_configs": [block]}
    with pytest.raises(InvalidInput, match=message):
        shape_of("DeciLMForCausalLM", model_type="nemotron-nas", **config)


def test_dense_nemotron_is_its_class() -> None:
    shape = shape_of("NemotronForCausalLM", model_type="nemotron")
    assert (mixed(shape), shape.layers[0].ffn) == ("32A", Mlp(width=24576))
