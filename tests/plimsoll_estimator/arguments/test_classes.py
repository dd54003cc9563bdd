"""Arguments by class: what each adds up to, which of a release's flags are refused, and that each says why."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from tools.argument_page import DEFAULT_OUT, page

from plimsoll_estimator.argument_effects import admits, effect_of, effects
from plimsoll_estimator.argument_table import all_rows, flags_of, known_values, releases, values_of
from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import InvalidInput

MIB = 1 << 20
GIB = 1 << 30
MOST_REFUSED = 25


def fields(args: list[str], version: str = "0.33.0", **ways: Any) -> dict[str, object]:
    return dict(parse_extra_args(args, EngineVersion.parse(version), **ways).engine_args)


COUNTED = [
    # why, arguments, release, fields of EngineArgs
    ("neutral: one number a sequence", ["--max-logprobs", "50", "--logprobs-mode", "raw_logits"], "0.33.0", {}),
    ("the default is not what it costs", ["--no-enable-dbo"], "0.33.0", {}),
    (
        "a backend's workspace, and the backend for what it cannot hold",
        ["--attention-backend", "flashinfer"],
        "0.33.0",
        {"reserved_gpu_bytes": 768 * MIB, "attention_backend": "FLASHINFER"},
    ),
    (
        "as a key of its configuration",
        ["-ac.backend=TRITON_ATTN"],
        "0.19.1",
        {"reserved_gpu_bytes": 768 * MIB, "attention_backend": "TRITON_ATTN"},
    ),
    (
        "or in it",
        ["--attention-config", '{"backend": "FLEX_ATTENTION"}'],
        "0.19.1",
        {"reserved_gpu_bytes": 768 * MIB, "attention_backend": "FLEX_ATTENTION"},
    ),
    (
        "with FlashAttention's version",
        ["-ac.flash_attn_version=2"],
        "0.19.1",
        {"reserved_gpu_bytes": 768 * MIB, "flash_attn_version": 2},
    ),
    ("but not the one it would choose", ["--attention-backend", "auto"], "0.33.0", {}),
    ("reserves add up", ["--enable-dbo", "--moe-backend=triton"], "0.33.0", {"reserved_gpu_bytes": 5 << 30}),
    ("level 3 is level 2", ["-O3"], "0.33.0", {}),
    ("level 0 fuses and captures nothing", ["-O0"], "0.33.0", {"reserved_gpu_bytes": GIB, "cudagraph_mode": "none"}),
    ("in older releases a level of compilation", ["-O3"], "0.10.2", {"reserved_gpu_bytes": GIB}),
    (
        "the largest graph",
        ["--cudagraph-capture-sizes", "1", "2", "64"],
        "0.33.0",
        {"max_cudagraph_capture_size": 64, "cudagraph_capture_sizes": (1, 2, 64)},
    ),
    ("by its older name", ["--cuda-graph-sizes", "128"], "0.10.2", {"max_cudagraph_capture_size": 128}),
    (
        "graphs by the dozen",
        ["--cudagraph-capture-sizes", *map(str, range(1, 65))],
        "0.33.0",
        {"max_cudagraph_capture_size": 64, "reserved_gpu_bytes": 53 * 24 * MIB, "cudagraph_capture_sizes": tuple(range(1, 65))},
    ),
    (
        "one that no batch reaches makes no room for others",
        ["--cudagraph-capture-sizes", *map(str, range(1, 65)), "100000"],
        "0.33.0",
        {
            "max_cudagraph_capture_size": 100000,
            "reserved_gpu_bytes": 53 * 24 * MIB,
            "cudagraph_capture_sizes": (*range(1, 65), 100000),
        },
    ),
    (
        "sizes inside the compilation's configuration",
        ["--compilation-config", '{"cudagraph_capture_sizes": [1, 8], "cudagraph_mode": "PIECEWISE"}'],
        "0.33.0",
        {"max_cudagraph_capture_size": 8, "reserved_gpu_bytes": GIB, "cudagraph_mode": "piecewise", "cudagraph_capture_sizes": (1, 8)},
    ),
    ("by key", ["--compilation-config.cudagraph_mode", "NONE"], "0.33.0", {"reserved_gpu_bytes": GIB, "cudagraph_mode": "none"}),
    ("a streamer's buffer", ["--load-format=runai_streamer"], "0.33.0", {"loader_buffer_bytes": 40 * 10**9}),
    (
        "and its limit",
        ["--load-format=runai_streamer", "--model-loader-extra-config", '{"memory_limit": 1000000000}'],
        "0.33.0",
        {"loader_buffer_bytes": 10**9},
    ),
    (
        "threads that hold a file each",
        ["--model-loader-extra-config", '{"enable_multithread_load": true, "num_threads": 4}'],
        "0.33.0",
        {"loader_buffer_bytes": 20 * GIB},
    ),
    ("layers that are fetched", ["--offload-group-size", "8"], "0.33.0", {"weights_on_host": True}),
    (
        "sleep copies weights",
        ["--enable-sleep-mode"],
        "0.33.0",
        {"enable_sleep_mode": True, "weights_on_host": True, "reserved_gpu_bytes": 256 * MIB},
    ),
    ("none of it is awake for ever", ["--no-enable-sleep-mode"], "0.33.0", {"enable_sleep_mode": False}),
    (
        "as if nothing were offloaded",
        ["--cpu-offload-gb", "2", "--cpu-offload-params", "experts"],
        "0.33.0",
        {"cpu_offload_gb": 2.0, "reserved_gpu_bytes": 2 * GIB},
    ),
    ("nothing but text", ["--language-model-only"], "0.33.0", {"limit_mm_per_prompt": {"image": 0, "video": 0, "audio": 0}}),
    ("keys of config.json", ["--hf-overrides", '{"num_hidden_layers": 4}'], "0.33.0", {"hf_overrides": {"num_hidden_layers": 4}}),
    ("by the flag of old", ["--rope-theta", "5e6"], "0.9.2", {"hf_overrides": {"rope_theta": 5e6}}),
    (
        "a connector by its size",
        ["--kv-offloading-size", "10"],
        "0.33.0",
        {
            "kv_transfer_config": {
                "kv_connector": "OffloadingConnector",
                "kv_role": "kv_both",
                "kv_connector_extra_config": {"cpu_bytes_to_use": 10 * GIB},
            }
        },
    ),
    (
        "a server's, which keeps its own memory",
        ["--kv-offloading-size", "10", "--kv-offloading-backend", "lmcache"],
        "0.33.0",
        {"kv_transfer_config": {"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both"}},
    ),
]


@pytest.mark.parametrize(("why", "args", "version", "expected"), COUNTED, ids=[row[0] for row in COUNTED])
def test_what_arguments_add_up_to(why: str, args: list[str], version: str, expected: dict[str, object]) -> None:
    assert fields(args, version) == expected


REFUSED = [
    ("--config", ["--config", "x.yaml"], "write its lines as extraArgs"),
    ("--revision", ["--revision", "main"], "pin spec.model.revision"),
    ("--load-format", ["--load-format", "tensorizer"], "use safetensors"),
    ("--load-format", ["--load-format", "modelexpress"], "use safetensors"),
    ("--compilation-config", ["--compilation-config", '{"new_pass": 1}'], "not supported yet"),
    ("--kv-transfer-config.kv_role", ["--kv-transfer-config", '{"kv_connector": "NixlConnector"}'], "kv_producer, kv_consumer or kv_both"),
    (
        "--kv-transfer-config",
        ["--kv-transfer-config", '{"kv_connector": "MineConnector", "kv_role": "kv_both"}'],
        "connectors with a rule are DecodeBenchConnector",
    ),
    ("--kv-offloading-size", ["--kv-offloading-size", "0"], "above 0"),
]


@pytest.mark.parametrize(("flag", "args", "words"), REFUSED, ids=[" ".join(row[1])[:60] for row in REFUSED])
def test_what_is_refused_says_why(flag: str, args: list[str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        fields(args)
    assert caught.value.field == flag


@pytest.mark.parametrize(
    ("args", "let"),
    [
        (["--use-replayssm"], True),  # no rule
        (["--load-format", "modelexpress"], True),
        (["--kv-transfer-config", '{"kv_connector": "MineConnector", "kv_role": "kv_both"}'], True),
        (["--config", "x.yaml"], False),  # contradicts the plan
        (["--worker-cls", "mine.Worker"], False),
    ],
)
def test_a_policy_lets_through_what_has_no_rule_and_not_what_contradicts_the_plan(args: list[str], let: bool) -> None:
    if not let:
        with pytest.raises(InvalidInput, match="is refused"):
            fields(args, reserves_unruled=True)
        return
    parsed = parse_extra_args(args, NEWEST_KNOWN, reserves_unruled=True)
    assert parsed.engine_args["unruled"] is True
    assert parsed.unruled == (args[0],)
    assert not parse_extra_args(["--seed", "1"], NEWEST_KNOWN, reserves_unruled=True).unruled


@pytest.mark.parametrize("version", releases(), ids=str)
def test_few_flags_of_a_release_are_refused_and_each_says_why(version: EngineVersion) -> None:
    rows = {row.flag: row for row in flags_of(version).values()}
    refused = [row for row in rows.values() if not admits(row, version)]
    assert len(refused) <= MOST_REFUSED, sorted(row.flag for row in refused)
    for row in refused:
        effect = effect_of(row, version)
        assert effect.flag in effects(), f"{row.flag} is refused without a row that says why"
        assert len(effect.why) > 20


def test_the_page_shows_what_the_tables_say() -> None:
    assert DEFAULT_OUT.read_text() == page(), "run python -m tools.argument_page"


def test_every_row_is_of_a_flag_and_every_value_is_one_that_some_release_takes() -> None:
    flags = {row.flag for row in all_rows()}
    text = resources.files("plimsoll_estimator").joinpath("data/argument_classes.json").read_text(encoding="utf-8")
    for row in json.loads(text)["classes"]:
        assert row["flag"] in flags, row
        assert len(row["why"]) > 20, row
        assert row.keys() <= {"flag", "class", "why", "since", "before", "values", "gpu_mib", "host_mib", "whole_weights"}, row
        assert row["class"] in ("neutral", "host", "reserve", "model", "rule", "refused", "unruled"), row
        listed = values_of(row["flag"], NEWEST_KNOWN)
        assert listed is None or set(row.get("values", ())) <= {*listed, *known_values(row["flag"])}, row
