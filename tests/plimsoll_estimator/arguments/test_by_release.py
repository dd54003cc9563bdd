"""Flags, values and spellings by patch release. What is expected was asked of the releases' own parsers and read in their sources."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_estimator.argument_spelling import split_arguments
from plimsoll_estimator.argument_table import find_spelling, flag_of, releases, spellings_of, values_of
from plimsoll_estimator.arguments import check_values, parse_extra_args, render_args
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EstimatorError, InvalidInput


def v(text: str) -> EngineVersion:
    return EngineVersion.parse(text)


# A field, its flag, and the releases around a border: parsers of vllm/engine/arg_utils.py and vllm/entrypoints of each.
BORDERS = [
    ("--decode-context-parallel-size is rendered where it exists", "decode_context_parallel_size", "0.10.1.1", "0.10.2"),
    ("--max-cudagraph-capture-size is one of 0.11.1", "max_cudagraph_capture_size", "0.11.0", "0.11.1"),
    ("--kv-cache-memory-bytes came with a patch", "kv_cache_memory_bytes", "0.10.1.1", "0.10.2"),
    ("--mamba-ssm-cache-dtype too", "mamba_ssm_cache_dtype", "0.10.0", "0.10.1"),
    ("--nnodes, by which engines span nodes", "nnodes", "0.11.0", "0.11.1"),
    ("--data-parallel-size", "data_parallel_size", "0.8.2", "0.8.3"),
    ("--speculative-config, before it single flags", "speculative_method", "0.8.1", "0.8.2"),
]


@pytest.mark.parametrize(("why", "field", "without", "with_it"), BORDERS)
def test_fields_have_a_flag_from_the_patch_that_brings_it(why: str, field: str, without: str, with_it: str) -> None:
    assert flag_of(field, v(without)) is None, why
    assert flag_of(field, v(with_it)) is not None, why
    value = "float32" if "dtype" in field else "ngram" if "method" in field else 2
    with pytest.raises(InvalidInput, match=f"has no flag in vllm serve {without}"):
        render_args({field: value}, v(without))
    assert render_args({field: value}, v(with_it)), why


@pytest.mark.parametrize(
    ("why", "args", "version", "flag", "words"),
    [
        ("a flag of the next patch", ["--stream-interval", "4"], "0.11.0", "--stream-interval", "it exists from 0.11.1 on"),
        ("a flag of the next minor", ["--enable-log-requests"], "0.10.0", "--enable-log-requests", "it exists from 0.10.1 on"),
        ("a flag that a patch took away", ["--num-scheduler-steps=1"], "0.10.1", "--num-scheduler-steps", "existed from 0.8.0 to 0.10.0"),
        ("a cache of bfloat16 (config.py: no choice of 0.10.2)", ["--kv-cache-dtype=bfloat16"], "0.10.2", "--kv-cache-dtype",
         "not a value of --kv-cache-dtype in vLLM 0.10.2 (auto, fp8, fp8_e4m3, fp8_e5m2, fp8_inc): it is one from 0.11.0 on"),
        ("a cache of float16", ["--kv-cache-dtype=float16"], "0.17.1", "--kv-cache-dtype", "it is one from 0.18.0 on"),
        ("Gaudi's cache", ["--kv-cache-dtype", "fp8_inc"], "0.9.2", "--kv-cache-dtype", "it is one from 0.10.0 on"),
        ("a cache that no release has", ["--kv-cache-dtype=fp9"], "0.33.0", "--kv-cache-dtype", "and 10 more)"),
        ("blocks of 256", ["--block-size=256"], "0.11.0", "--block-size", "it is one from 0.11.1 to 0.17.1"),
        ("blocks of one", ["--block-size=1"], "0.8.4", "--block-size", "it is one from 0.8.5 to 0.17.1"),
        ("states in bfloat16", ["--mamba-ssm-cache-dtype=bfloat16"], "0.21.0", "--mamba-ssm-cache-dtype", "from 0.22.0 on"),
        ("a scheduler's policy", ["--scheduling-policy", "sjf"], "0.19.0", "--scheduling-policy", "(fcfs, priority)"),
        ("one of several values", ["--collect-detailed-traces", "model", "x"], "0.19.0", "--collect-detailed-traces", "not a value"),
        ("a parser of tool calls that came later", ["--enable-auto-tool-choice", "--tool-call-parser=qwen3_coder"], "0.9.2",
         "--tool-call-parser", "it is one from 0.10.0 on"),
        ("and one of thoughts", ["--reasoning-parser", "openai_gptoss"], "0.10.1.1", "--reasoning-parser", "it is one from 0.10.2 on"),
        ("pairs and JSON of 0.8.0", ["--limit-mm-per-prompt", '{"image": 2}'], "0.8.4", "--limit-mm-per-prompt", "must be KEY=VALUE pairs"),
        ("a word for a configuration", ["--kv-events-config=abc"], "0.19.0", "--kv-events-config", "must be JSON"),
        ("a number for one", ["--kv-events-config=16"], "0.19.0", "--kv-events-config", "must be a JSON object"),
        ("an adapter without a path (LoRAParserAction)", ["--lora-modules", "sql"], "0.19.0", "--lora-modules", "must be JSON"),
        ("one of other keys", ['--lora-modules={"a": 1}'], "0.8.5", "--lora-modules", "must be NAME=PATH"),
        ("a level of 0.11 that is none", ["-O9"], "0.11.0", "-O", "not supported yet"),
        ("the same apart", ["-O", "9"], "0.11.0", "-O", "not supported yet"),
        ("a negative decimal apart is taken for a key", ["--seed", "-0.5"], "0.10.0", "--seed", "needs a value"),
        ("the model is no flag", ["--model=a"], "0.19.0", "--model", "is the model, which stands before all arguments"),
        ("pairs are gone", ["--limit-mm-per-prompt", "image=2"], "0.10.0", "--limit-mm-per-prompt", "must be JSON"),
        ("keys after a dot", ["--limit-mm-per-prompt.image", "2"], "0.8.5", "--limit-mm-per-prompt.image", "is not an argument"),
        ("the inverse of a switch", ["--disable-prefix-caching"], "0.32.0", "--disable-prefix-caching", "is not an argument"),
        ("a switch without negation", ["--no-headless"], "0.33.0", "--no-headless", "there --headless has no negation"),
    ],
)  # fmt: skip
def test_what_a_release_does_not_take_is_refused_with_the_releases_that_do(
    why: str, args: list[str], version: str, flag: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)) as caught:
        parse_extra_args(args, v(version))
    assert caught.value.field == flag, why


@pytest.mark.parametrize(
    ("why", "args", "version", "fields"),
    [
        ("EnableDisableAction of 0.33.0", ["--disable-prefix-caching", "--disable-chunked-prefill"], "0.33.0",
         {"enable_prefix_caching": False, "enable_chunked_prefill": False}),
        ("the negations of before stay", ["--no-enable-prefix-caching"], "0.33.0", {"enable_prefix_caching": False}),
        ("an abbreviation, as argparse takes it", ["--tensor-parallel", "2"], "0.19.0", {"tensor_parallel_size": 2}),
        ("an abbreviated negation", ["--no-enable-prefix"], "0.19.0", {"enable_prefix_caching": False}),
        ("an abbreviation of underscores", ["--max_model=8k"], "0.19.0", {"max_model_len": 8000}),
        ("a short flag with its value", ["-qfp8"], "0.19.0", {"quantization": "fp8"}),
        ("a number below zero", ["--max-model-len=-1"], "0.19.0", {"max_model_len": -1}),
        ("signs, as int() reads them", ["--max-num-seqs", "+8"], "0.19.0", {"max_num_seqs": 8}),
        ("digits in groups, as int() reads them", ["--max-num-seqs", "1_0"], "0.19.0", {"max_num_seqs": 10}),
        ("pairs of 0.8.0", ["--limit-mm-per-prompt", "image=2,video=0"], "0.8.0", {"limit_mm_per_prompt": {"image": 2, "video": 0}}),
        ("pairs or JSON of 0.9.2", ["--limit-mm-per-prompt=image=2"], "0.9.2", {"limit_mm_per_prompt": {"image": 2}}),
        ("an abbreviated key", ["--limit-mm.image", "2"], "0.19.0", {"limit_mm_per_prompt": {"image": 2}}),
        ("true and false of 0.8.0", ["--enable-chunked-prefill", "False"], "0.8.0", {"enable_chunked_prefill": False}),
        ("a size with a suffix, where the release reads one", ["--max-num-batched-tokens=8k"], "0.11.0", {"max_num_batched_tokens": 8000}),
        ("--task as the table of its time lists it", ["--task=draft"], "0.12.0", None),
    ],
)  # fmt: skip
def test_spellings_that_the_release_takes_are_read(why: str, args: list[str], version: str, fields: dict[str, Any] | None) -> None:
    if fields is None:
        with pytest.raises(InvalidInput, match="a task that is not supported yet"):
            parse_extra_args(args, v(version))
    else:
        assert parse_extra_args(args, v(version)).engine_args == fields, why


@pytest.mark.parametrize(
    ("why", "args", "version"),
    [
        ("the inverse of a switch that 0.33.0 pairs", ["--enable-uvicorn-access-log", "--disable-mfu-metrics"], "0.33.0"),
        ("a seed below zero", ["--seed", "-1"], "0.19.0"),
        (
            "a parser of tool calls by plug-in",
            ["--enable-auto-tool-choice", "--tool-call-parser=x", "--tool-parser-plugin=/p.py"],
            "0.19.0",
        ),
        ("a parser that nobody asks for is not looked up", ["--tool-call-parser=x"], "0.19.0"),
        ("keys with underscores and lists", ["--override-generation-config.stop_token_ids+", "1,2"], "0.19.0"),
        ("adapters in both forms", ["--lora-modules", "a=x/y", '{"name": "b", "path": "z"}'], "0.19.0"),
        ("a list that is not given", ["--allowed-media-domains="], "0.19.0"),
        ("a value with a dash and a blank", ["--response-role", "- x"], "0.19.0"),
        ("none for no parser of thoughts (arg_utils.py: parse_reasoning_parser)", ["--reasoning-parser", "none"], "0.33.0"),
        ("what moves memory unless its value does not", ["--load-format", "auto"], "0.8.2"),
    ],
)
def test_no_spelling_of_the_release_is_refused(why: str, args: list[str], version: str) -> None:
    assert parse_extra_args(args, v(version)).passthrough == tuple(args), why


@pytest.mark.parametrize(
    ("why", "args", "version", "words"),
    [
        ("cli_args.py: validate_parsed_serve_args", ["--enable-auto-tool-choice"], "0.19.0", "requires --tool-call-parser"),
        ("the same under an abbreviation", ["--enable-auto"], "0.33.0", "requires --tool-call-parser"),
        ("thoughts of 0.8", ["--enable-reasoning"], "0.8.5", "requires --reasoning-parser"),
        ("thoughts beside tools, until 0.8.1",
         ["--enable-reasoning", "--reasoning-parser=deepseek_r1", "--enable-auto-tool-choice", "--tool-call-parser=hermes"], "0.8.1",
         "does not go with --enable-auto-tool-choice"),
        ("outputs in the log, from 0.11 on", ["--enable-log-outputs"], "0.11.0", "requires --enable-log-requests"),
        ("figures of requests without figures", ["--enable-per-request-metrics", "--disable-log-stats"], "0.25.0", "does not go with"),
        ("comments that keep a stream open", ["--sse-keep-alive-interval=-1"], "0.29.0", "must be 0 or more"),
    ],
)  # fmt: skip
def test_what_the_front_end_refuses_together_is_refused(why: str, args: list[str], version: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_extra_args(args, v(version))


@pytest.mark.parametrize(
    ("args", "version"),
    [
        (["--no-enable-auto-tool-choice"], "0.19.0"),  # switched off needs nothing
        (["--enable-log-outputs"], "0.10.2"),  # before the rule
        (["--enable-auto-tool-choice", "--tool-call-parser", "hermes"], "0.8.0"),
        (["--enable-reasoning", "--reasoning-parser", "deepseek_r1", "--enable-auto-tool-choice", "--tool-call-parser=hermes"], "0.8.2"),
    ],
)
def test_what_goes_together_passes(args: list[str], version: str) -> None:
    assert parse_extra_args(args, v(version)).passthrough == tuple(args)


@pytest.mark.parametrize(
    ("field", "value", "version", "words"),
    [
        ("kv_cache_dtype", "bfloat16", "0.10.2", "it is one from 0.11.0 on"),
        ("kv_cache_dtype", "fp8_inc", "0.9.2", "it is one from 0.10.0 on"),
        ("block_size", 256, "0.10.0", "it is one from 0.11.1 to 0.17.1"),
        ("block_size", 48, "0.17.1", "(1, 128, 16, 256, 32, 64, 8)"),
        ("mamba_ssm_cache_dtype", "float16", "0.12.0", "it is one from 0.13.0 on"),
        ("dtype", "int8", "0.19.0", "(auto, bfloat16, float, float16, float32, half)"),
    ],
)
def test_values_are_checked_wherever_they_come_from(field: str, value: object, version: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)) as caught:
        check_values(EngineArgs.from_mapping({field: value}), v(version))
    assert caught.value.field == f"engine_args.{field}"


def test_a_list_of_values_that_a_release_opened_takes_others() -> None:
    check_values(EngineArgs(block_size=48), v("0.18.0"))  # arg_utils.py of 0.18.0: an int without choices
    assert values_of("--block-size", v("0.18.0")) is None
    assert values_of("--no-such", v("0.18.0")) is None


@given(st.sampled_from(releases()), st.data())
def test_every_spelling_means_its_flag_and_an_abbreviation_the_only_one_that_begins_so(release: EngineVersion, data: st.DataObject) -> None:
    table = spellings_of(release)
    word = data.draw(st.sampled_from(sorted(table)))
    assert find_spelling(word.replace("-", "_").replace("__", "--", 1) if word.startswith("--") else word, release) == table[word]
    begun = word[: data.draw(st.integers(3, len(word) + 1))]
    meant = [other for other in table if other.startswith(begun)]
    if begun in table or len(meant) == 1:
        assert find_spelling(begun, release) == table[begun if begun in table else meant[0]]
    else:
        with pytest.raises(InvalidInput, match="ambiguous"):
            find_spelling(begun, release)


@given(
    st.sampled_from(releases()), st.lists(st.text("-=. _a1{}", max_size=8) | st.sampled_from(["--seed", "-tp", "--api-key"]), max_size=6)
)
def test_any_tokens_are_cut_without_losing_one_or_refused(release: EngineVersion, tokens: list[str]) -> None:
    try:
        items = split_arguments(tokens, release)
    except EstimatorError:
        return
    assert [token for item in items for token in item.tokens] == tokens
