"""Flags that send vLLM up to 0.10.2 to its V0 engine: `_is_v1_supported_oracle` of engine/arg_utils.py by release, one row a flag."""

from __future__ import annotations

import pytest

from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput

ROWS = [
    # the arguments, the last release that falls back, the first that does not
    ("traces", ["--otlp-traces-endpoint=http://x:4317"], "0.10.1.1", "0.10.2"),
    ("their details", ["--collect-detailed-traces", "model"], "0.8.5", None),
    ("how requests are put aside", ["--preemption-mode", "swap"], "0.10.2", None),
    ("a pattern of processors", ["--logits-processor-pattern", "x"], "0.10.2", None),
    ("output that waits", ["--disable-async-output-proc"], "0.10.2", None),
    ("two long prompts in parts", ["--max-long-partial-prefills", "2"], "0.10.2", None),
    ("a long prompt's length", ["--long-prefill-token-threshold", "5"], "0.8.2", "0.8.3"),
    ("a delay", ["--scheduler-delay-factor", "0.5"], "0.10.2", None),
    ("two prompts in parts", ["--max-num-partial-prefills", "2"], "0.10.2", None),
    ("priorities", ["--scheduling-policy=priority"], "0.9.1", "0.9.2"),
    ("a backend of guided decoding", ["--guided-decoding-backend", "lm-format-enforcer"], "0.9.2", None),
    ("outlines, which V1 took first in 0.10", ["--guided-decoding-backend=outlines"], "0.9.2", "0.10.0"),
    ("auto before it was taken", ["--guided-decoding-backend", "auto"], "0.8.1", "0.8.2"),
]


@pytest.mark.parametrize(("why", "arguments", "last", "first"), ROWS, ids=[row[0] for row in ROWS])
def test_a_flag_that_falls_back_is_refused_by_name_with_the_release_that_differs(
    why: str, arguments: list[str], last: str, first: str | None
) -> None:
    with pytest.raises(InvalidInput, match=f"makes vLLM {last} fall back to its V0 engine, which has no rules here; ") as caught:
        parse_extra_args(arguments, EngineVersion.parse(last))
    assert caught.value.field == arguments[0].partition("=")[0]
    if first is not None:
        assert parse_extra_args(arguments, EngineVersion.parse(first)).passthrough


TAKEN = [
    ("the default of a flag", ["--num-scheduler-steps", "1", "--scheduling-policy", "fcfs"], "0.8.5"),
    ("a backend with a setting behind a colon", ["--guided-decoding-backend", "xgrammar:disable-any-whitespace"], "0.8.3"),
    ("one prompt in parts", ["--max-num-partial-prefills=1"], "0.9.2"),
    ("traces on V1", ["--otlp-traces-endpoint", "http://x:4317"], "0.33.0"),
]


@pytest.mark.parametrize(("why", "arguments", "version"), TAKEN, ids=[row[0] for row in TAKEN])
def test_what_v1_takes_is_handed_on(why: str, arguments: list[str], version: str) -> None:
    assert parse_extra_args(arguments, EngineVersion.parse(version)).passthrough == tuple(arguments)
