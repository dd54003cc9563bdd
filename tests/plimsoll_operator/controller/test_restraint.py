"""An API server that has too much to do is left alone by all workers together, and asked by one of them first."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from tests.plimsoll_operator.cluster import Clock

from plimsoll_operator.controller.loops.restraint import FIRST_SECONDS, LONGEST_SECONDS, Restraint
from plimsoll_operator.errors import ApiFailure


def busy(asked: float | None = None) -> ApiFailure:
    return ApiFailure(429, "TooManyRequests", "slow down", retry_after_seconds=asked)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def let_in(restraint: Restraint, most: int = 9) -> int:
    """How many are let in at once now; all of them leave again."""
    entered = 0
    while entered < most and restraint.enter(0):
        entered += 1
    for _ in range(entered):
        restraint.leave()
    return entered


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        pytest.param(busy(), FIRST_SECONDS, id="too many requests"),
        pytest.param(busy(7.0), 7.0, id="and come back in seven seconds"),
        pytest.param(ApiFailure(503, "ServiceUnavailable", "later", retry_after_seconds=3.0), 3.0, id="not now, in three seconds"),
        pytest.param(ApiFailure(503, "ServiceUnavailable", "a webhook is away"), 0.0, id="not now: of this object, perhaps"),
        pytest.param(ApiFailure(409, "Conflict", "changed"), 0.0, id="a conflict"),
        pytest.param(ApiFailure(0, "", "not reached"), 0.0, id="nobody there"),
    ],
)
def test_what_is_refused_for_load_keeps_everybody_out(clock: Clock, failure: ApiFailure, seconds: float) -> None:
    restraint = Restraint(clock, 8)
    restraint.refused(failure)
    assert let_in(restraint) == (0 if seconds else 8)
    clock.now += seconds - 0.01
    assert let_in(restraint) == (0 if seconds else 8)
    clock.now += 0.02
    assert let_in(restraint) == (1 if seconds else 8)


def test_each_look_that_is_answered_lets_one_more_in(clock: Clock) -> None:
    restraint = Restraint(clock, 4)
    restraint.refused(busy())
    clock.now += FIRST_SECONDS
    found = []
    for _ in range(5):
        found.append(let_in(restraint))
        restraint.answered()
    assert found == [1, 2, 3, 4, 4]


def test_refusals_in_a_row_double_the_pause_and_those_under_way_count_once(clock: Clock) -> None:
    restraint = Restraint(clock, 8)
    pauses = []
    for _ in range(8):
        for _ in range(8):
            restraint.refused(busy())
        restraint.answered()  # it was asked before
        began = clock.now
        while not let_in(restraint):
            clock.now += 0.5
        pauses.append(clock.now - began)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert max(pauses) == LONGEST_SECONDS
    restraint.answered()
    restraint.refused(busy())
    clock.now += FIRST_SECONDS
    assert let_in(restraint) == 1, "it was answered since: the pause is the first one again"


def waits_inside(restraint: Restraint) -> tuple[threading.Thread, Callable[[], bool]]:
    entered = threading.Event()

    def work() -> None:
        if restraint.enter(30):
            entered.set()

    thread = threading.Thread(target=work)
    thread.start()
    return thread, entered.is_set


def test_who_waits_for_another_to_leave_is_woken(clock: Clock) -> None:
    restraint = Restraint(clock, 1)
    assert restraint.enter(0)
    thread, entered = waits_inside(restraint)
    assert not entered()
    restraint.leave()
    thread.join(30)
    assert entered()
