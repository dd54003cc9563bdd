"""The rule of thumb gives the textbook figures, errs on the large side, and refuses what it has no rule for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_estimator import catalogue
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.quick import TYPICAL, gpus_needed, kv_cache_bytes, parse_parameters, quick_estimate, typical_shape, weights_bytes
from plimsoll_estimator.units import GIB

GB = 10**9


@pytest.mark.parametrize(
    ("params", "storage", "gigabytes"),
    [
        ("7B", "fp32", 28), ("7B", "bf16", 14), ("7B", "fp8", 7), ("7B", "int4", 3.5),
        ("13B", "fp32", 52), ("13B", "bf16", 26), ("13B", "fp8", 13), ("13B", "int4", 6.5),
        ("34B", "fp32", 136), ("34B", "bf16", 68), ("34B", "fp8", 34), ("34B", "int4", 17),
        ("70B", "fp32", 280), ("70B", "bf16", 140), ("70B", "fp8", 70), ("70B", "int4", 35),
        ("70B", "awq", 38.5), ("70B", "gptq", 38.5), ("7B", "AWQ", 3.85),
    ],
)  # fmt: skip
def test_textbook_weights(params: str, storage: str, gigabytes: float) -> None:
    assert weights_bytes(parse_parameters(params), storage) == int(gigabytes * GB)


@pytest.mark.parametrize(("kv_heads", "gib"), [(8, 1), (32, 4)])
def test_textbook_cache_of_8192_tokens(kv_heads: int, gib: int) -> None:
    assert kv_cache_bytes(32, kv_heads, 128, 2, 8192) == gib * GIB


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("70B", 70 * GB),
        ("70", 70 * GB),  # a bare number is billions
        ("0.5b", GB // 2),
        ("350M", 350_000_000),
        ("1.5T", 1500 * GB),
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),  # looked up by name
    ],
)
def test_sizes(text: str, parameters: int) -> None:
    assert parse_parameters(text) == parameters


@pytest.mark.parametrize("text", ["", "B", "-7B", "7 billion", "0", "1e9", "no/such-model", "9999999T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--params"):
        quick_estimate(text)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"storage": "int3"}, "--quantization"),
        ({"context": 0}, "--context"),
        ({"sequences": 0}, "--max-num-seqs"),
        ({"layers": 0}, "--layers"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        quick_estimate("7B", **options)


def test_the_fragmentation_factor_is_stated_and_applied() -> None:
    answer = quick_estimate("70B", storage="awq", context=8192)
    assert answer.total_bytes == answer.weights_bytes + answer.kv_cache_bytes + answer.overhead_bytes
    assert answer.total_bytes >= (answer.weights_bytes + answer.kv_cache_bytes) * 6 // 5
    assert any("1.2" in text for text in answer.assumptions)


@given(st.integers(1, 2000), st.integers(1, 100_000), st.integers(1, 100_000))
def test_more_context_never_needs_less(billions: int, context: int, more: int) -> None:
    assert quick_estimate(str(billions), context=context + more).total_bytes > quick_estimate(str(billions), context=context).total_bytes


@pytest.mark.parametrize(
    ("total_gib", "gpu_gib", "count"),
    [(10, 80, 1), (72, 80, 1), (73, 80, 2), (150, 80, 4), (300, 80, 8)],  # nine tenths of 80 GiB is 72 GiB
)
def test_gpus_come_in_powers_of_two(total_gib: int, gpu_gib: int, count: int) -> None:
    assert gpus_needed(total_gib * GIB, gpu_gib * GIB) == count


@pytest.mark.parametrize(
    ("params", "model", "context"),
    [
        ("0.6B", "Qwen/Qwen3-0.6B", 32768), ("1.7B", "Qwen/Qwen3-1.7B", 32768), ("4B", "Qwen/Qwen3-4B", 32768),
        ("8B", "meta-llama/Llama-3.1-8B", 131072), ("8B", "Qwen/Qwen3-8B", 32768), ("14B", "Qwen/Qwen2.5-14B", 32768),
        ("32B", "Qwen/Qwen2.5-32B", 32768), ("70B", "meta-llama/Llama-3.1-70B", 131072), ("72B", "Qwen/Qwen2.5-72B", 32768),
        ("405B", "meta-llama/Llama-3.1-405B", 131072),
    ],
)  # fmt: skip
def test_the_rule_is_within_30_percent_of_what_a_model_of_that_size_has(params: str, model: str, context: int) -> None:
    """Weights as the model class builds them, and the cache of its own config: the two that a size can tell."""
    entry = catalogue.entry(model)
    assert entry is not None
    assert entry.parameters is not None
    config = entry.config
    head = config.int("head_dim", default=config.int("hidden_size") // config.int("num_attention_heads"))
    cache = kv_cache_bytes(config.int("num_hidden_layers"), config.int("num_key_value_heads"), head, 2, context)
    answer, real = quick_estimate(params, context=context), 2 * entry.parameters + cache
    assert real <= answer.total_bytes <= real * 13 // 10


def test_eight_billion_at_128k_are_a_third_of_what_they_were_said_to_be() -> None:
    """The public measurement: Llama 3.1 8B takes 31.4 GiB with its whole context."""
    assert 31.4 * GIB <= quick_estimate("8B", context=131072).total_bytes <= 31.4 * 1.3 * GIB
    assert any("meta-llama/Llama-3.1-8B" in text for text in quick_estimate("8B").assumptions)


def test_every_typical_model_is_in_the_catalogue_and_of_the_size_it_stands_for() -> None:
    least = 0
    for most, model in TYPICAL:
        entry = catalogue.entry(model)
        assert entry is not None
        assert entry.parameters is not None
        assert least < entry.parameters <= most
        assert typical_shape(entry.parameters).model == model
        least = most
