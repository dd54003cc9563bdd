"""Llama and the dense decoders of its build: whose layers have a window where the file has no list, and what makes one an encoder."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import seen, shape_of, shipped
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.mixers import Attention, Mlp

LLAMA: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 8}
MISTRAL: dict[str, Any] = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_hidden_layers": 8}
CWM: dict[str, Any] = {"architectures": ["CwmForCausalLM"], "model_type": "cwm", "num_hidden_layers": 8}
SMOL: dict[str, Any] = {"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "num_hidden_layers": 8}
PLAMO: dict[str, Any] = {
    "architectures": ["Plamo3ForCausalLM"], "model_type": "plamo3", "num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 8192,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 107776, "auto_map": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "windows", "heads", "width"),
    [
        ("01-ai/Yi-34B", "60f", (56, 8, 128), 20480),
        ("intfloat/e5-mistral-7b-instruct", "32s", (32, 8, 128), 14336),
        ("HuggingFaceTB/SmolLM3-3B", "36f", (16, 4, 128), 11008),
        ("internlm/internlm2-7b", "32f", (32, 8, 128), 14336),
    ],
)
def test_as_shipped(name: str, windows: str, heads: tuple[int, int, int], width: int) -> None:
    shape = shipped(name)
    assert (seen(shape), (shape.size.heads, shape.size.kv_heads, shape.size.head_dim)) == (windows, heads)
    assert {layer.ffn for layer in shape.layers} == {Mlp(width=width)}


@pytest.mark.parametrize(
    ("sentence", "config", "windows"),
    [
        ("LlamaConfig has no window", LLAMA, "8f"),
        ("a lone one is every layer's", {**LLAMA, "sliding_window": 64}, "8s"),
        ("a list says whose it is",
         {**LLAMA, "sliding_window": 64, "layer_types": ["full_attention", "sliding_attention"] * 4}, "1f1s1f1s1f1s1f1s"),
        ("MistralConfig has one in every layer", MISTRAL, "8s"),
        ("a null is none", {**MISTRAL, "sliding_window": None}, "8f"),
        ("CwmConfig: the first of every four layers is full", CWM, "1f3s1f3s"),
        ("unless a list says otherwise", {**CWM, "layer_types": ["sliding_attention"] * 7 + ["full_attention"]}, "7s1f"),
        ("SmolLM3Config uses no window", {**SMOL, "sliding_window": 64}, "8f"),
        ("or one where positions do not rotate", {**SMOL, "sliding_window": 64, "use_sliding_window": True}, "3f1s3f1s"),
        ("by the file's own flags",
         {**SMOL, "sliding_window": 64, "use_sliding_window": True, "no_rope_layers": [0, 0, 1, 1, 1, 1, 1, 1]}, "2s6f"),
        ("Plamo3Config: every eighth layer is full", {**PLAMO, "window_size": 2048}, "7s1f7s1f"),
        ("by the file's period", {**PLAMO, "window_size": 2048, "sliding_window_pattern": 4}, "3s1f3s1f3s1f3s1f"),
        ("older files name the window for each layer", {**PLAMO, "sliding_window": [None, 512] * 8}, "7s1f7s1f"),
    ],
)  # fmt: skip
def test_windows_are_those_of_the_config_class(sentence: str, config: dict[str, Any], windows: str) -> None:
    assert seen(shape_of(config)) == windows, sentence


def test_an_older_file_s_window_is_the_first_that_it_names() -> None:
    mixers = shape_of({**PLAMO, "sliding_window": [None, 512] * 8}).mixers
    assert {mixer.window for mixer in mixers if isinstance(mixer, Attention)} == {0, 512}


def test_plamo_s_head_is_its_embedding_unless_told_otherwise() -> None:
    named = {**PLAMO, "window_size": 2048}
    assert shape_of(named).size.tied
    assert not shape_of({**named, "tie_word_embeddings": False}).size.tied


@pytest.mark.parametrize("config", [LLAMA, MISTRAL])
def test_a_llama_encodes_where_its_file_says_that_it_is_not_causal(config: dict[str, Any]) -> None:
    assert not shape_of(config).attends_both_ways
    assert shape_of({**config, "is_causal": False}).attends_both_ways


def test_what_the_class_does_not_know_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**LLAMA, "layer_types": ["ring_attention"] * 8})
    with pytest.raises(InvalidInput, match="window_size"):
        shape_of(PLAMO)


@pytest.mark.parametrize("tp", [1, 2])
def test_internlm_2_s_reward_model_has_one_value_for_a_head(tp: int) -> None:
    """vllm/model_executor/models/internlm2.py of 0.32.0: InternLM2ForRewardModel.v_head, in float32, and no head for words."""
    config = {"model_type": "internlm2", "num_hidden_layers": 2, "hidden_size": 2048, "num_attention_heads": 16, "vocab_size": 92544,
              "intermediate_size": 8192}  # fmt: skip
    bare, headed = ({**config, "architectures": [name]} for name in ("InternLM2Model", "InternLM2ForRewardModel"))
    assert created_bytes(headed, "0.32.0", tp) - created_bytes(bare, "0.32.0", tp) == 2048 // tp * 4
