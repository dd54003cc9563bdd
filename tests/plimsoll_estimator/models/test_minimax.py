"""MiniMax: which of three lists says where Text-01 attends, the experts of M2, the index keys of M3."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Attention, Experts, IndexKeys, Lightning, Mlp

TEXT: dict[str, Any] = {"model_type": "minimax", "num_hidden_layers": 4}


def test_layers_of_a_published_model() -> None:
    shape = shipped("MiniMaxAI/MiniMax-M1-80k")
    assert mixed(shape) == " ".join(["7L 1A"] * 10)
    assert shape.layers[0].mixers == (Lightning(heads=64, head_dim=128),)
    assert {layer.ffn for layer in shape.layers} == {Experts(count=32, per_token=2, width=9216)}


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("MiniMaxConfig: every other layer from the first on", {}, "1A 1L 1A 1L"),
        ("by Transformers' names", {"layer_types": ["linear_attention"] * 3 + ["full_attention"]}, "3L 1A"),
        ("MiniMaxText01Model: attn_type_list wins", {"attn_type_list": [0, 0, 0, 1], "layer_types": ["full_attention"] * 4}, "3L 1A"),
        ("then decoder_attention_types", {"decoder_attention_types": [0, 1, 1, 1], "layer_types": ["full_attention"] * 4}, "1L 3A"),
        ("an empty list is none", {"attn_type_list": [], "decoder_attention_types": [0, 1, 1, 1]}, "1L 3A"),
    ],
)
def test_one_list_says_where_it_attends(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert mixed(shape_of("MiniMaxText01ForCausalLM", **TEXT, **config)) == layers, sentence


def test_a_class_of_remote_code_attends_everywhere_without_a_list() -> None:
    config = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 64, "num_local_experts": 4}
    assert mixed(shape_of("MiniMaxM1ForCausalLM", model_type="minimax_m1", **config)) == "2A"


def test_experts_and_shared_widths_may_be_listed() -> None:
    shape = shape_of("MiniMaxText01ForCausalLM", **TEXT, num_local_experts=[1, 8, 8, 1], shared_intermediate_size=[0, 0, 512, 512])
    block = Experts(count=8, per_token=2, width=14336)
    assert [layer.ffn for layer in shape.layers] == [
        Mlp(width=14336), block, Experts(count=8, per_token=2, width=14336, shared=512), Mlp(width=14336 + 512),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "flags"),
    [("a flag that is neither", [0, 2, 1, 1]), ("a list that ends early", [0, 1])],
)
def test_a_list_that_does_not_say_is_named(sentence: str, flags: list[int]) -> None:
    with pytest.raises(InvalidInput, match=r"attn_type_list.*must be 0 \(lightning\) or 1 \(full\)"):
        shape_of("MiniMaxText01ForCausalLM", **TEXT, attn_type_list=flags)


def test_a_layer_kind_without_a_rule_is_named() -> None:
    with pytest.raises(Unsupported, match="'retention'"):
        shape_of("MiniMaxText01ForCausalLM", **TEXT, layer_types=["retention"] * 4)


def test_m2_has_experts_everywhere() -> None:
    shape = shipped("MiniMaxAI/MiniMax-M2")
    assert (mixed(shape), shape.layers[0].ffn) == ("62A", Experts(count=256, per_token=8, width=1536))


def test_m3_chooses_by_index_keys_behind_its_first_layers() -> None:
    shape = shipped("nvidia/MiniMax-M3-NVFP4")
    full, index = Attention(heads=64, kv_heads=4, head_dim=128, v_head_dim=128), IndexKeys(width=128, block=128)
    assert [layer.mixers for layer in shape.layers] == [(full,)] * 3 + [(full, index)] * 57
    assert [layer.ffn for layer in shape.layers] == [Mlp(width=12288)] * 3 + [Experts(count=128, per_token=4, width=3072, shared=3072)] * 57


def test_a_silent_m3_is_its_class() -> None:
    """MiniMaxM3TextConfig (vLLM 0.32.0) fills in the lists that its checkpoint has."""
    silent = shape_of("MiniMaxM3SparseForCausalLM", model_type="minimax_m3_text")
    assert silent.layers == shipped("nvidia/MiniMax-M3-NVFP4").layers


def test_m3_experts_that_are_not_listed_for_every_layer_are_named() -> None:
    with pytest.raises(InvalidInput, match="moe_layer_freq"):
        shape_of("MiniMaxM3SparseForCausalLM", model_type="minimax_m3_text", moe_layer_freq=[0, 1])
