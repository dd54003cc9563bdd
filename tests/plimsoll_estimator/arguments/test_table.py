"""The argument table and the parser of extra arguments: as vLLM's own parser, but nothing passes silently."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_estimator.argument_table import all_rows, releases
from plimsoll_estimator.arguments import flag_exists, parse_extra_args, parse_int, render_args
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported


def v(text: str) -> EngineVersion:
    return EngineVersion.parse(text)


@pytest.mark.parametrize(
    ("args", "version", "fields"),
    [
        (["-tp=2"], "0.19.0", {"tensor_parallel_size": 2}),  # a short alias with =
        (["-tp", "2"], "0.19.0", {"tensor_parallel_size": 2}),  # and with a blank
        (["--tensor-parallel-size=2"], "0.19.0", {"tensor_parallel_size": 2}),  # the long form
        (["--tensor_parallel_size", "4"], "0.19.0", {"tensor_parallel_size": 4}),  # underscores, as vLLM takes them
        (["--max-model-len", "32k"], "0.19.0", {"max_model_len": 32_000}),  # small k is a thousand
        (["--max-model-len=32K"], "0.19.0", {"max_model_len": 32_768}),  # capital K is 1024
        (["--max-model-len", "25.6k"], "0.19.0", {"max_model_len": 25_600}),  # decimals go with small letters
        (["--max-model-len", "auto"], "0.19.0", {"max_model_len": -1}),  # fitted by the engine, since 0.14
        (["--max-model-len", "-1"], "0.19.0", {"max_model_len": -1}),  # a negative number is a value, not a flag
        (["--no-enable-prefix-caching"], "0.19.0", {"enable_prefix_caching": False}),  # the negation
        (["--enforce-eager", "--max-num-seqs", "8"], "0.8.5", {"enforce_eager": True, "max_num_seqs": 8}),  # a plain switch then
        (["--device-memory-utilization", "0.8"], "0.33.0", {"gpu_memory_utilization": 0.8}),  # a late alias
        (["--limit-mm-per-prompt", '{"image": 2}'], "0.19.0", {"limit_mm_per_prompt": {"image": 2}}),  # JSON
        (
            ["--limit-mm-per-prompt.image", "2", "--limit-mm-per-prompt.video", "0"],
            "0.19.0",
            {"limit_mm_per_prompt": {"image": 2, "video": 0}},
        ),
        (
            ["--speculative-config", '{"method": "mtp", "num_speculative_tokens": 2}'],
            "0.19.0",
            {"speculative_method": "mtp", "num_speculative_tokens": 2},
        ),
        (["--speculative-config.method", "ngram"], "0.19.0", {"speculative_method": "ngram"}),  # key by key
        (["--task", "embed"], "0.8.5", {"runner": "pooling"}),  # what --runner says later
        (["--quantization", "None"], "0.19.0", {}),  # vLLM reads None as not given
        (["--kv-cache-memory-bytes", "4G"], "0.27.0", {"kv_cache_memory_bytes": 4 << 30}),
        (["--tensor-parallel-size", "2"], "0.40.0", {"tensor_parallel_size": 2}),  # newer than known: the newest table
    ],
)
def test_flags_set_engine_fields(args: list[str], version: str, fields: dict[str, Any]) -> None:
    parsed = parse_extra_args(args, v(version))
    assert parsed.engine_args == fields
    assert parsed.passthrough == ()


@pytest.mark.parametrize(
    ("args", "version"),
    [
        (["--served-model-name", "a", "b"], "0.19.0"),  # several values
        (["--disable-log-stats", "--seed=1"], "0.19.0"),
        (["--middleware", "a", "--middleware", "b"], "0.19.0"),  # may be repeated
        (["--load-format", "safetensors"], "0.19.0"),  # a value known to leave memory alone
        (["--api-key", "x", "--enable-log-requests", "--no-enable-log-outputs"], "0.19.0"),
        (["--default-chat-template-kwargs.enable_thinking", "false"], "0.19.0"),  # dotted JSON keeps its underscores
    ],
)
def test_what_does_not_move_memory_is_handed_on_unchanged(args: list[str], version: str) -> None:
    parsed = parse_extra_args(args, v(version))
    assert parsed.passthrough == tuple(args)
    assert parsed.engine_args == {}


@pytest.mark.parametrize(
    ("args", "version", "flag", "words"),
    [
        (["--tensor-paralel-size", "2"], "0.19.0", "--tensor-paralel-size", "is not an argument of vllm serve 0.19.0"),
        (["--tensor", "2", "--enable-l"], "0.19.0", "--enable-l", "ambiguous in vllm serve 0.19.0: it could be --enable-l"),
        (["--swap-space", "4"], "0.19.0", "--swap-space", "existed from 0.8.0 to 0.17.1"),  # gone by then
        (["--runner", "pooling"], "0.10.0", "--runner", "exists from 0.10.1 on"),  # not there yet
        (["-tp=2", "--tensor-parallel-size=2"], "0.19.0", "--tensor-parallel-size", "given twice, first as -tp"),
        (["--enable-prefix-caching", "--no-enable-prefix-caching"], "0.19.0", "--no-enable-prefix-caching", "given twice"),
        (["--seed", "1", "--seed", "1"], "0.19.0", "--seed", "given twice"),  # harmless ones too
        (["--max-num-seqs"], "0.19.0", "--max-num-seqs", "needs a value"),
        (["--max-num-seqs", "--enforce-eager"], "0.19.0", "--max-num-seqs", "needs a value"),
        (["--max-num-seqs=many"], "0.19.0", "--max-num-seqs", "whole number"),
        (["--max-num-seqs=8k"], "0.19.0", "--max-num-seqs", "whole number"),  # not a human-readable one
        (["--max-model-len", "auto"], "0.13.0", "--max-model-len", "whole number"),  # before 0.14
        (["--max-model-len", "1.5K"], "0.19.0", "--max-model-len", "decimals"),
        (["--gpu-memory-utilization", "nan"], "0.19.0", "--gpu-memory-utilization", "finite"),
        (["--enforce-eager=true"], "0.19.0", "--enforce-eager", "--no-enforce-eager"),
        (["--enforce-eager", "true"], "0.19.0", "extraArgs", "belongs to no flag"),
        (["serve"], "0.19.0", "extraArgs", "belongs to no flag"),
        (
            ["--no-trust-remote-code"],
            "0.8.4",
            "--no-trust-remote-code",
            "there --trust-remote-code has no negation",
        ),  # a plain switch has no negation
        (["--num-gpu-blocks-override", "100"], "0.19.0", "--num-gpu-blocks-override", "is refused: the cache would not be"),
        (["--load-format", "tensorizer"], "0.19.0", "--load-format", "is a loader without a rule here"),
        (["--config", "x.yaml"], "0.19.0", "--config", "a file of arguments is not seen here"),  # could carry anything
        (["-O9"], "0.19.0", "-O", "is no level with a rule here"),
        (["--speculative-config", '{"model": "x"}'], "0.19.0", "--speculative-config.model", "not supported yet"),
        (["--speculative-config", "{"], "0.19.0", "--speculative-config", "must be JSON"),
        (["--limit-mm-per-prompt", "[1]"], "0.19.0", "engine_args.limit_mm_per_prompt", "object"),
        (["--x"] * 300, "0.19.0", "extraArgs", "more than 256"),
    ],
)
def test_refusals_name_the_flag(args: list[str], version: str, flag: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)) as caught:
        parse_extra_args(args, v(version))
    assert caught.value.field == flag


@pytest.mark.parametrize(
    ("stated", "words"),
    [(2, "set in the spec too"), (4, "contradicts the spec, which says 4")],  # agreeing is refused too: one place to look
)
def test_what_the_spec_says_is_not_said_again(stated: int, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        parse_extra_args(["-tp", "2"], v("0.19.0"), {"tensor_parallel_size": stated, "dtype": None})
    assert caught.value.field == "--tensor-parallel-size"


def test_a_release_before_the_table_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        parse_extra_args([], v("0.7.3"))


@pytest.mark.parametrize(
    ("flag", "version", "there"),
    [
        ("--swap-space", "0.17.0", True),
        ("--swap-space", "0.18.0", False),
        ("-dcp", "0.10.2", True),
        ("--decode-context-parallel-size", "0.9.2", False),
        ("--no-enforce-eager", "0.9.2", True),
        ("--no-enforce-eager", "0.8.5", False),
        ("--disable-prefix-caching", "0.33.0", True),
        ("--disable-prefix-caching", "0.32.0", False),
        ("--runner", "0.10.0", False),
        ("--runner", "0.10.1", True),
        ("--runner", "0.33.0", True),
        ("--nope", "0.33.0", False),
    ],
)
def test_flags_exist_by_release(flag: str, version: str, there: bool) -> None:
    assert flag_exists(flag, v(version)) is there


@pytest.mark.parametrize(
    ("values", "version", "tokens"),
    [
        ({"max_model_len": 8192, "tensor_parallel_size": 2}, "0.19.0", ("--tensor-parallel-size=2", "--max-model-len=8192")),  # one order
        ({"enforce_eager": False, "enable_prefix_caching": True}, "0.19.0", ("--no-enforce-eager", "--enable-prefix-caching")),
        ({"enforce_eager": False}, "0.8.5", ()),  # a switch that has no negation is left out
        ({"runner": "pooling"}, "0.8.5", ("--task=embed",)),
        (
            {"num_speculative_tokens": 2, "speculative_method": "mtp"},
            "0.19.0",
            ('--speculative-config={"method":"mtp","num_speculative_tokens":2}',),
        ),
        ({"limit_mm_per_prompt": {"image": 2}, "dtype": None}, "0.19.0", ('--limit-mm-per-prompt={"image":2}',)),
    ],
)
def test_rendering_is_canonical(values: dict[str, Any], version: str, tokens: tuple[str, ...]) -> None:
    assert render_args(values, v(version)) == tokens


@pytest.mark.parametrize(
    ("values", "version"),
    [({"swap_space": 4.0}, "0.19.0"), ({"decode_context_parallel_size": 2}, "0.9.2"), ({"no_such": 1}, "0.19.0")],
)
def test_a_field_without_a_flag_is_refused(values: dict[str, Any], version: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        render_args(values, v(version))
    assert caught.value.field == next(iter(values))


ENGINE_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["auto", "bfloat16", "half"]),
        "tensor_parallel_size": st.integers(1, 64),
        "max_model_len": st.integers(1, 1 << 22),
        "max_num_seqs": st.integers(1, 4096),
        "gpu_memory_utilization": st.floats(0.01, 1.0),
        "enforce_eager": st.booleans(),
        "enable_expert_parallel": st.booleans(),
        "enable_lora": st.booleans(),
        "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
        "limit_mm_per_prompt": st.dictionaries(st.sampled_from(["image", "video"]), st.integers(0, 9)),
        "num_speculative_tokens": st.integers(0, 9),
        "speculative_method": st.sampled_from(["mtp", "eagle3"]),
    },
)


@given(ENGINE_VALUES, st.integers(9, 33))
def test_what_is_rendered_parses_to_the_same_fields(values: dict[str, Any], minor: int) -> None:
    version = EngineVersion(0, minor)
    assert parse_extra_args(render_args(values, version), version).engine_args == values


@given(st.lists(st.text(max_size=20) | st.sampled_from([row.flag for row in all_rows()]), max_size=6), st.integers(8, 33))
def test_any_tokens_are_parsed_or_refused_by_name(tokens: list[str], minor: int) -> None:
    with contextlib.suppress(InvalidInput):
        EngineArgs.from_mapping(parse_extra_args(tokens, EngineVersion(0, minor)).engine_args)


@given(st.text(max_size=12))
def test_human_numbers_are_whole_or_refused(text: str) -> None:
    try:
        assert parse_int(text, "x") >= 0
    except InvalidInput:
        assert not text.isascii() or not text.isdigit()


def test_every_field_of_engine_args_that_can_have_a_flag_has_one() -> None:
    flagged = {row.engine_field for row in all_rows()} | {"speculative_model_config"}
    flagged |= {"official_image", "flashinfer_installed", "use_flashinfer_sampler", "compile_cache"}  # of the process, not of its arguments
    flagged |= {"deep_gemm_installed", "use_deep_gemm", "deep_gemm_warmup", "reads_files_whole"}
    flagged |= {"loader_buffer_bytes", "weights_on_host", "reserved_gpu_bytes", "reserved_host_bytes", "unruled"}  # what several add up to
    flagged |= {"limits_unshared_objects", "renders_beside_cache", "long_prefill_token_threshold"}  # of several arguments
    flagged |= {"parses_mistral_reasoning", "reads_mistral_config", "attention_backend", "convert", "performance_mode", "images_backend"}
    flagged |= {"processes_logprobs", "cudagraph_capture_sizes", "cudagraph_mode", "flash_attn_version"}
    assert {name for name in EngineArgs.__dataclass_fields__ if name not in flagged} == set()


def test_the_rows_of_a_flag_never_overlap() -> None:
    assert len(releases()) == 49
    for release in releases():
        flags = [row.flag for row in all_rows() if row.holds(release)]
        assert len(flags) == len(set(flags))
        assert len(flags) > 130


LOADERS = [  # why, arguments, whether a file is held in host memory while it is read
    ("safetensors are mapped", ["--load-format", "safetensors"], None),
    ("pickled files are read whole", ["--load-format", "pt"], True),
    ("and so are safetensors where one says so", ["--safetensors-load-strategy=eager"], True),
    ("the strategy of old", ["--safetensors-load-strategy", "lazy"], None),
]


@pytest.mark.parametrize(("why", "args", "whole"), LOADERS, ids=[row[0] for row in LOADERS])
def test_a_loader_that_reads_files_whole_is_noted(why: str, args: list[str], whole: bool | None) -> None:
    assert parse_extra_args(args, EngineVersion(0, 19)).engine_args.get("reads_files_whole") == whole
