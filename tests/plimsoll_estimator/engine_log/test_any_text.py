"""Any text at all gives a value: no exception, no figure that cannot be, in bounded time."""

import dataclasses
import random
import time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.folders import DATA
from tests.laws import law

from plimsoll_estimator import EngineLog, Figure, failure_of, read_engine_log

CORPUS: Final = [line for path in sorted((DATA / "engine_logs").glob("*.log")) for line in path.read_text("utf-8").splitlines()]
PIECES: Final = [
    "\n",
    "\r",
    "\x1b[0m",
    "{",
    "}",
    "'",
    '"',
    "\\",
    "(",
    ")",
    "9" * 30,
    "-",
    ".",
    " GiB",
    "NaN",
    "1e308",
    "\ud800",
    "\u2028",
    ",",
    "\0",
]
MOST_BYTES: Final = 4 << 40


def can_be(found: EngineLog) -> bool:
    figures = [
        figure
        for worker in found.workers
        for item in dataclasses.fields(worker)
        if isinstance(figure := getattr(worker, item.name), Figure)
    ]
    times = [seconds for seconds in dataclasses.astuple(found.times) if seconds is not None]
    return (
        all(abs(figure.value_bytes) <= MOST_BYTES and 0 <= figure.off_by_bytes <= 1 << 40 for figure in figures)
        and all(0 <= seconds <= 7 * 24 * 3600 for seconds in times)
        and (found.kv_cache_tokens is None or 0 <= found.kv_cache_tokens <= 10**12)
        and (found.max_concurrency is None or 0 <= found.max_concurrency <= 1e9)
        and (found.gpu_memory_utilization is None or 0 < found.gpu_memory_utilization <= 1)
        and len(found.dropped) <= 20
    )


def mutated(draw: random.Random) -> str:
    """A line of the corpus, altered at up to four places, or put together with a piece of another."""
    line = draw.choice(CORPUS)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(line) + 1), draw.randrange(12)
        what = draw.randrange(4)
        if what == 0:
            line = line[:at] + draw.choice(PIECES) + line[at:]
        elif what == 1:
            line = line[:at] + line[at + length :]
        elif what == 2:
            line = line[:at] + line[at : at + length] * draw.randint(2, 40) + line[at + length :]
        else:
            other = draw.choice(CORPUS)
            line = line[:at] + other[draw.randrange(len(other) + 1) :]
    return line


@pytest.mark.thorough
def test_ten_thousand_mutated_lines_never_raise_and_never_give_what_cannot_be() -> None:
    draw = random.Random(20261130)
    for _ in range(1_000):
        text = "\n".join(mutated(draw) for _ in range(10))
        assert can_be(read_engine_log(text)), text


@given(st.lists(st.one_of(st.text(max_size=80), st.sampled_from(CORPUS), st.sampled_from(PIECES)), max_size=12).map("".join))
@law(60)
def test_any_text_gives_a_value(text: str) -> None:
    assert can_be(read_engine_log(text))


@given(
    st.sampled_from(["{", "[", "(", "{'a': ", "Namespace(", "non-default args: {", '{"log": "', "\\", "'", "a=("]), st.integers(1, 20_000)
)
@law(20)
def test_nesting_without_end_is_read_too(piece: str, times: int) -> None:
    assert can_be(read_engine_log("INFO 11-21 10:00:20 [utils.py:1] non-default args: {'a': " + piece * times))
    assert can_be(read_engine_log(piece * times))


@pytest.mark.parametrize("piece", ["a.", "Aa.", "A", "a", "_", " ", "(Worker", "INFO "])
def test_a_line_that_anybody_may_print_is_read_in_time_that_grows_with_its_length_alone(piece: str) -> None:
    """Of the square of it, each of these lines took two seconds in which the controller did nothing else."""
    line = (piece * 16_384)[:16_380] + "rror"
    begun = time.process_time()
    failure_of("\n".join([line] * 4))
    assert time.process_time() - begun < 2
