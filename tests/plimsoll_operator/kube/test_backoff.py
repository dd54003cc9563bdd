"""Pauses before the API server is asked again: they grow, are bounded, forget, and honour what the server asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.backoff import FORGET_SECONDS, LONGEST_ASKED_SECONDS, LONGEST_SECONDS, Backoff, retry_after_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(Clock(), chance=lambda: 0.0)
    assert [backoff.pause() for _ in range(6)] == [0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_quiet_time_forgets_the_failures_before_it() -> None:
    clock = Clock()
    backoff = Backoff(clock, chance=lambda: 0.0)
    for _ in range(5):
        clock.now += backoff.pause()
    clock.now += FORGET_SECONDS
    assert backoff.pause() == LONGEST_SECONDS
    clock.now += LONGEST_SECONDS + FORGET_SECONDS + 1
    assert backoff.pause() == 0.8


@pytest.mark.parametrize(
    ("why", "asked", "pause"),
    [
        ("nothing is asked for", None, 0.8),
        ("less than the own pause is asked for", 0.0, 0.8),
        ("more is asked for, and honoured", 7.0, 7.0),
        ("a day is asked for, and not honoured", 86400.0, LONGEST_ASKED_SECONDS),
    ],
)
def test_what_the_server_asks_for_is_honoured_within_a_bound(why: str, asked: float | None, pause: float) -> None:
    assert Backoff(Clock(), chance=lambda: 0.0).pause(asked) == pause, why


@pytest.mark.parametrize(
    ("why", "lasted", "events", "pauses"),
    [
        ("a watch that lasted is followed at once by the next", 300.0, 0, [0.0, 0.0, 0.0]),
        ("one that brought nothing and ended at once has failed", 0.0, 0, [0.8, 1.6, 3.2]),
        ("one that brought something and ended at once is followed a second after its start", 0.25, 3, [0.75, 0.75, 0.75]),
        ("a clock that went back makes no pause longer", -5.0, 1, [1.0, 1.0, 1.0]),
    ],
)
def test_watches_that_end_at_once_are_not_asked_for_all_day_long(why: str, lasted: float, events: int, pauses: list[float]) -> None:
    backoff = Backoff(Clock(), chance=lambda: 0.0)
    assert [backoff.after_watch(lasted_seconds=lasted, events=events) for _ in pauses] == pauses, why


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1000), st.none() | st.floats(0, 1e9)), max_size=30))
def test_a_pause_is_never_nothing_and_never_longer_than_the_bound(steps: list[tuple[float, float, float | None]]) -> None:
    clock, chances = Clock(), iter([chance for chance, _, _ in steps])
    backoff = Backoff(clock, chance=lambda: next(chances))
    for _, passed, asked in steps:
        clock.now += passed
        assert 0.8 <= backoff.pause(asked) <= max(2 * LONGEST_SECONDS, LONGEST_ASKED_SECONDS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1.0), (" 30 ", 30.0), ("0", 0.0), ("", None), (None, None), ("-1", None), ("1e9", None), ("x", None), ("9" * 5000, None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_read_in_the_api_servers_form(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text) == seconds
