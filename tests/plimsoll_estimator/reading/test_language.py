"""What a config says of its language model: every spelling of a dimension, and what the class fills in. Expected values are those that
Transformers 5.24.0 (or vLLM 0.32.0's own config class) holds after reading such a file."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator import catalogue
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.reader import MAX_LAYERS, SPELLINGS, dimensions, language, text_type

LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000}


@pytest.mark.parametrize(
    ("sentence", "config", "expected"),
    [
        ("a silent llama is LlamaConfig's own", {"model_type": "llama"}, {"hidden_size": 4096, "layer_count": 32, "kv_heads": 32}),
        ("LLaVA's text without a type is a llama", {"model_type": "llava", "text_config": {}}, {"hidden_size": 4096, "heads": 32}),
        ("a head's width follows from the file's own sizes", {**LLAMA, "num_attention_heads": 64}, {"head_dim": 64, "kv_heads": 64}),
        ("Mistral shares key-value heads by default", {"model_type": "mistral"}, {"kv_heads": 8, "intermediate_size": 14336}),
        (
            "BLOOM spells its width n_embed",
            {"model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112},
            {"hidden_size": 14336, "layer_count": 70},
        ),
        (
            "GPT-2 has spellings of its own",
            {"model_type": "gpt2", "n_embd": 1600, "n_head": 25, "n_layer": 48},
            {"hidden_size": 1600, "heads": 25},
        ),
        ("MPT too", {"model_type": "mpt", "d_model": 7168, "n_heads": 64, "n_layers": 48}, {"hidden_size": 7168, "layer_count": 48}),
        (
            "a type that no class is known for has no defaults",
            {**LLAMA, "model_type": "novel"},
            {"kv_heads": 32, "intermediate_size": 16384},
        ),
        ("falcon's positions are its class's", {"model_type": "falcon"}, {"positions": 2048, "heads": 71}),
    ],
)
def test_dimensions_are_those_that_the_class_would_hold(sentence: str, config: dict[str, Any], expected: dict[str, int]) -> None:
    found = dimensions(HfConfig(config))
    assert {key: getattr(found, key) for key in expected} == expected, sentence


def test_a_null_has_no_default_as_in_transformers() -> None:
    text = language(HfConfig({"model_type": "mistral", "num_key_value_heads": None, "sliding_window": None}))
    assert text.raw("sliding_window") is None
    assert "num_key_value_heads" not in text


def test_another_spelling_of_a_key_is_no_gap_to_fill() -> None:
    text = language(HfConfig({"model_type": "gpt2", "n_positions": 64}))
    assert "max_position_embeddings" not in text


@pytest.mark.parametrize(
    ("sentence", "config", "key", "expected"),
    [
        ("DeepSeek-V3's class takes Mixtral's key", {"model_type": "deepseek_v3", "num_local_experts": 96}, "n_routed_experts", 96),
        ("DeepSeek-V2's takes Qwen's", {"model_type": "deepseek_v2", "num_experts": 96}, "n_routed_experts", 96),
        ("LongCat's takes the usual count of chosen ones", {"model_type": "longcat_flash", "num_experts_per_tok": 6}, "moe_topk", 6),
        ("ERNIE's too", {"model_type": "ernie4_5_moe", "num_experts_per_tok": 4}, "moe_k", 4),
        ("the class's own key wins", {"model_type": "deepseek_v3", "num_experts": 8, "n_routed_experts": 96}, "n_routed_experts", 96),
        ("silence is the class's default", {"model_type": "deepseek_v3"}, "n_routed_experts", 256),
    ],
)
def test_experts_by_another_spelling_are_the_class_s_own(sentence: str, config: dict[str, Any], key: str, expected: int) -> None:
    """`attribute_map` of the config classes (Transformers 5.24)."""
    assert language(HfConfig(config)).int(key) == expected, sentence


def test_ling_2_5_has_no_width_of_shared_experts_from_ling_3_s_class_of_the_same_type() -> None:
    """BailingMoeV3TextConfig (vLLM) fills 512 in; BailingMoeV2_5Config, which the checkpoints bring, has no such key."""
    text = language(HfConfig({"model_type": "bailing_hybrid", "moe_intermediate_size": 1024}))
    assert text.int_or_none("moe_shared_expert_intermediate_size") is None
    assert text.int("num_shared_experts") == 1


@pytest.mark.parametrize("usual", SPELLINGS)
def test_the_usual_key_answers_for_every_spelling(usual: str) -> None:
    for spelled in SPELLINGS[usual]:
        assert language(HfConfig({"model_type": "novel", spelled: 96})).int(usual) == 96, spelled


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [("num_hidden_layers", MAX_LAYERS + 1, str(MAX_LAYERS)), ("hidden_size", 0, "from 1"), ("num_attention_heads", 0, "from 1")],
)
def test_a_dimension_out_of_bounds_is_named_with_its_limit(key: str, value: int, limit: str) -> None:
    with pytest.raises(InvalidInput, match=limit) as refused:
        dimensions(HfConfig({**LLAMA, key: value}))
    assert refused.value.field.endswith(key)


@pytest.mark.parametrize(
    ("sentence", "config", "tied"),
    [
        ("the text's own word", {**LLAMA, "tie_word_embeddings": True}, True),
        ("its class's where it is silent", LLAMA, False),
        ("such as Gemma's", {"model_type": "gemma"}, True),
        ("and Granite's, whose files say otherwise", {"model_type": "granite"}, False),
        ("the outer class's where the text is silent", {"model_type": "llava", "text_config": LLAMA, "tie_word_embeddings": True}, True),
        ("also against the text's class", {"model_type": "gemma3", "text_config": {}, "tie_word_embeddings": False}, False),
        ("one word for it is enough",
         {"model_type": "llava", "text_config": {**LLAMA, "tie_word_embeddings": True}, "tie_word_embeddings": False}, True),
        ("a null is no word for it", {"model_type": "gemma", "tie_word_embeddings": None}, False),
        ("nor is silence of an unknown class", {**LLAMA, "model_type": "novel"}, False),
    ],
)  # fmt: skip
def test_input_and_output_embedding_are_one_where_file_or_class_say_so(sentence: str, config: dict[str, Any], tied: bool) -> None:
    assert dimensions(HfConfig(config)).tied is tied, sentence


def test_every_model_of_the_catalogue_has_a_text_type() -> None:
    assert [name for name in catalogue.names() if not text_type(config_of(name))] == []
