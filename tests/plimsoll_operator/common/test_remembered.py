"""A memory with a budget in bytes: it answers, forgets the least recently asked first, and never holds more than its budget."""

from __future__ import annotations

import json
import threading
import tracemalloc
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator import plans

from plimsoll_operator.remembered import Remembered, all_figures, kept_bytes


def test_what_was_asked_once_is_not_worked_out_again() -> None:
    memory: Remembered[str, int] = Remembered("x", 1 << 20, kept_bytes)
    asked: list[str] = []

    def work(key: str) -> int:
        asked.append(key)
        return len(asked)

    assert [memory.ask(key, lambda key=key: work(key)) for key in ("a", "b", "a")] == [1, 2, 1]  # type: ignore[misc]
    figures = memory.figures()
    assert (asked, figures.hits, figures.misses, figures.entries) == (["a", "b"], 1, 2, 2)


def test_what_raises_is_not_remembered() -> None:
    memory: Remembered[str, int] = Remembered("x", 1 << 20, kept_bytes)
    with pytest.raises(ZeroDivisionError):
        memory.ask("a", lambda: 1 // 0)
    assert memory.ask("a", lambda: 7) == 7


def test_the_least_recently_asked_is_forgotten_first() -> None:
    memory: Remembered[str, bytes] = Remembered("x", 10 * 1512, lambda value: 1000)
    for number in range(10):
        memory.keep(str(number), b"")
    memory.ask("0", lambda: b"again")
    memory.keep("new", b"")
    worked_out: list[str] = []

    def work_out(key: str) -> bytes:
        worked_out.append(key)
        return b""

    for key in ("0", "1"):
        memory.ask(key, partial(work_out, key))
    assert worked_out == ["1"]


def test_a_value_that_would_crowd_out_the_others_is_answered_and_not_kept() -> None:
    memory: Remembered[str, bytes] = Remembered("x", 100_000, len)
    memory.keep("small", b"x")
    assert memory.ask("large", lambda: b"x" * 30_000) == b"x" * 30_000
    assert (memory.figures().entries, memory.ask("small", lambda: b"y")) == (1, b"x")


def test_a_value_that_grew_is_weighed_again() -> None:
    memory: Remembered[str, list[int]] = Remembered("x", 1 << 20, len)
    grows = [0] * 10
    memory.keep("a", grows)
    before = memory.figures().kept_bytes
    grows.extend([0] * 90)
    memory.keep("a", grows)
    assert (memory.figures().kept_bytes - before, memory.figures().entries) == (90, 1)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3000)), max_size=60))
def test_it_never_holds_more_than_its_budget(asked: list[tuple[int, int]]) -> None:
    memory: Remembered[int, bytes] = Remembered("x", 8000, len)
    for key, size in asked:
        assert memory.ask(key, lambda size=size: b"x" * size) is not None  # type: ignore[misc]
        figures = memory.figures()
        assert 0 <= figures.kept_bytes <= 8000
    memory.cache_clear()
    assert memory.figures().kept_bytes == 0


def test_many_threads_share_one_memory() -> None:
    memory: Remembered[int, int] = Remembered("shared", 1 << 14, kept_bytes)
    wrong: list[int] = []

    def ask() -> None:
        for number in range(2000):
            if memory.ask(number % 50, lambda number=number: number % 50) != number % 50:  # type: ignore[misc]
                wrong.append(number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, memory.figures().kept_bytes <= 1 << 14) == ([], True)
    assert "shared" in {kept.name for kept in all_figures()}


@pytest.mark.parametrize(
    "text", ["[" + "[]," * 9999 + "[]]", "[" + '{"a":1},' * 5000 + "1]", '{"a":"' + "x" * 60000 + '"}', "[" + "1234," * 9999 + "1]"]
)
def test_the_estimate_is_what_the_values_really_keep(text: str) -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    value = json.loads(text)
    really = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.8 * really <= kept_bytes(value) <= 2 * really + 1000


def test_dataclasses_and_their_parts_are_weighed() -> None:
    assert kept_bytes(plans.PLAN) > 20 * len(vars(type(plans.PLAN))["__slots__"])
