"""A log is text that a tenant's image writes: whatever it says, figures that cannot be move nothing, and status can hold what is said."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plimsoll_operator.observing.logs import L4, free_of, log_of, start

from plimsoll_operator.api import MAX_LEFT_OUT, InferenceDeploymentStatus, StartStatus, parse_part
from plimsoll_operator.controller.reporting.engine_starts import LIMIT_BYTES
from plimsoll_operator.metrics import DeploymentSeries, PoolSeries, Recorder
from plimsoll_operator.observation import ObservedFigures, components_of, differences, error_ratio, needed, observed_of, seen_of
from plimsoll_operator.reasons import Why

_HEAD = "(EngineCore_DP0 pid=271) INFO 11-30 10:00:00 [a.py:1]"
_NUMBER = st.one_of(
    st.floats(min_value=-1e6, max_value=1e6, allow_nan=False).map(lambda value: f"{value:.2f}"),
    st.integers(min_value=-(10**30), max_value=10**30).map(str),
    st.sampled_from(["0.00", "-0.00", "14.00", "4.00", "999999999999999999999", "1e9", "nan", "inf", "٣", ""]),
)
_FORMS = (
    "Model loading took {} GiB memory and {} seconds",
    "Available KV cache memory: {} GiB",
    "GPU KV cache size: {} tokens",
    "Maximum concurrency for {} tokens per request: {}x",
    "Free memory on device ({}/{} GiB) on startup. Desired GPU memory utilization is ({}, {} GiB).",
    "Memory profiling takes {} seconds. Total non KV cache memory: {}GiB; torch peak memory increase: {}GiB; non-torch forward increase "
    "memory: {}GiB; weights memory: {}GiB",
    "vLLM API server version {}",
)


@st.composite
def _logs(draw: st.DrawFn) -> str:
    rows = []
    for _ in range(draw(st.integers(min_value=0, max_value=8))):
        form = draw(st.sampled_from(_FORMS))
        rank = draw(st.sampled_from(["", " TP0", " TP1", " PP1_TP0", " DP7", " PP9999"]))
        rows.append(f"(Worker{rank} pid=7) {_HEAD} {form.format(*(draw(_NUMBER) for _ in range(form.count('{}'))))}")
    return "\n".join([*rows, *draw(st.lists(st.text(max_size=80), max_size=3))])


def _holds(found: StartStatus) -> None:
    """Nothing impossible is shown, and all that is shown can be written and exported."""
    memory = components_of(found.memory)
    assert all(0 <= value <= 2 * L4.gpu_total_bytes for value in memory.values())
    assert found.not_kv_cache_bytes is None or 0 < found.not_kv_cache_bytes <= 2 * L4.gpu_total_bytes
    assert (found.kv_cache_tokens or 0) <= 16 * L4.kv_cache_tokens
    assert len(found.left_out or ()) <= MAX_LEFT_OUT
    observed = observed_of(L4, [found])
    assert observed is not None
    shown = InferenceDeploymentStatus(observed=observed).model_dump(mode="json", by_alias=True, exclude_none=True)
    parse_part(InferenceDeploymentStatus, shown)
    text = Recorder(_Cache(DeploymentSeries(namespace="n", name="d", plan=L4, observed=ObservedFigures.of(observed)))).render().decode()
    values = [float(line.rpartition(" ")[2]) for line in text.splitlines() if 'name="d"' in line]
    assert values
    assert all(map(math.isfinite, values))
    assert len(seen_of(L4, [found], "").message) < 4096


class _Cache:
    def __init__(self, entry: DeploymentSeries) -> None:
        self._entry = entry

    def deployments(self) -> list[DeploymentSeries]:
        return [self._entry]

    def pools(self) -> list[PoolSeries]:
        return []

    def queue_depth(self) -> int:
        return 0

    def watch_ages(self) -> dict[str, float]:
        return {}


@settings(max_examples=100, deadline=None)
@given(_logs())
def test_any_log_at_all_gives_figures_that_can_be(log: str) -> None:
    _holds(start(log))


@settings(max_examples=60, deadline=None)
@given(_logs(), st.integers(min_value=0, max_value=8))
def test_lines_of_others_within_a_good_log_never_make_it_impossible(forged: str, at: int) -> None:
    lines = log_of().splitlines()
    _holds(start("\n".join([*lines[:at], forged, *lines[at:]])))


POISONED = [
    pytest.param(f"{_HEAD} Model loading took 99999999 GiB memory and 1 seconds", "weights_bytes", id="weights of an exabyte"),
    pytest.param(f"{_HEAD} Available KV cache memory: 4000.00 GiB", "available_kv_cache_bytes", id="a cache of four TiB"),
    pytest.param("INFO 11-30 10:00:00 [a.py:1] Model loading took 900.00 GiB", "weights_bytes 900.00 GiB is more", id="of no worker"),
    pytest.param(
        "(Worker TP7 pid=7) INFO 11-30 10:00:00 [a.py:1] Available KV cache memory: -3 GiB",
        "of TP7 is less than nothing",
        id="of one that is not",
    ),
    pytest.param(f"{_HEAD} GPU KV cache size: 900,000,000,000 tokens", "tokens", id="tokens without end"),
    pytest.param(f"{_HEAD} Available KV cache memory: 1.00 GiB", "contradicts", id="another figure than the engine's own"),
]


@pytest.mark.parametrize(("line", "word"), POISONED)
def test_a_poisoned_figure_is_left_out_and_said(line: str, word: str) -> None:
    """The engine's own lines come first and count; where the forged one comes first, neither can move more than its own deployment."""
    found = start(log_of(more=line))
    assert components_of(found.memory)["weights_bytes"] == 14 << 30
    assert found.not_kv_cache_bytes is not None
    rows = differences(L4, [found])
    if word != "tokens":  # the smallest of several workers' counts, so the forged one is none
        assert [row.reason for row in rows] == [Why.FIGURES_LEFT_OUT]
        assert word in rows[0].message
    assert found.kv_cache_tokens == L4.kv_cache_tokens


def test_a_forged_worker_with_tokens_beyond_reason_is_left_out() -> None:
    found = start(log_of(tokens=900_000_000_000))
    assert found.kv_cache_tokens is None
    assert "times what can be" in differences(L4, [found])[0].message


def test_no_secret_leaves_by_what_is_left_out_or_by_a_version() -> None:
    found = start(log_of(version="hf_abcdefghij0123456789"))
    assert "hf_abc" not in found.model_dump_json()


def test_an_error_is_never_larger_than_the_budget_over_a_byte() -> None:
    found = start(log_of(kv_gib=19.99, weights_gib=0.0))
    ratio = error_ratio(needed(L4.predicted), found.not_kv_cache_bytes)
    assert ratio is not None
    assert ratio < 10_000


@pytest.mark.thorough
@pytest.mark.parametrize(
    "log",
    [
        "x" * LIMIT_BYTES,
        "Error: x\n" * (LIMIT_BYTES // 9),
        "\n" * LIMIT_BYTES,
        f"{_HEAD} Model loading took 1.0 GiB memory and 2 seconds\n" * (LIMIT_BYTES // 100),
        free_of(1.0, 2.0) * (LIMIT_BYTES // 150),
    ],
    ids=[
        "one line without end",
        "nothing but errors",
        "ends of lines",
        "the same figure again and again",
        "many forms",
    ],
)
def test_the_longest_log_that_is_read_takes_seconds_of_one_thread(log: str) -> None:
    began = time.process_time()
    _holds(start(log))
    assert time.process_time() - began < 15
