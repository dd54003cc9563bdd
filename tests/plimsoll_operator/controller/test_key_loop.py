"""One turn of a loop over keys: what is through is forgotten, and what is refused, meets a bug or is put back comes again."""

from collections.abc import Callable

import pytest
from tests.plimsoll_operator.cluster import Clock

from plimsoll_operator.controller.loops.key_loop import KeyLoop
from plimsoll_operator.controller.loops.quarantine import Bug, Quarantine, Unit
from plimsoll_operator.errors import ApiFailure


def loop_of(act: Callable[[str], None], clock: Clock, on_bug: Callable[[str, Bug], None] | None = None) -> KeyLoop[str]:
    return KeyLoop(act, clock=clock, unit=Unit.PROFILE, what="looking at", name=str, group=len, border=Quarantine().border, on_bug=on_bug)


def refuse(_key: str) -> None:
    raise ApiFailure(429, "TooManyRequests", "slow down", retry_after_seconds=20.0)


def break_down(_key: str) -> None:
    raise ZeroDivisionError


def be_through(_key: str) -> None:
    pass


@pytest.mark.parametrize(
    ("why", "act", "seconds"),
    [
        ("what is through does not come again", be_through, None),
        ("what is refused comes again when the other side asks for it", refuse, 20.0),
        ("and what met a bug after a first short wait", break_down, 0.05),
    ],
)
def test_a_turn(why: str, act: Callable[[str], None], seconds: float | None) -> None:
    clock = Clock()
    loop = loop_of(act, clock)
    loop.add("a")
    assert loop.run_once(0.0)
    assert not loop.run_once(0.0), why
    clock.now += 1000.0 if seconds is None else seconds
    assert loop.run_once(0.0) is (seconds is not None), why


def test_what_puts_its_key_back_itself_waits_longer_each_time() -> None:
    clock = Clock()
    waits: list[float] = []
    loop: KeyLoop[str] = loop_of(lambda key: waits.append(loop.retry(key)), clock)
    loop.add("a")
    while len(waits) < 4:
        assert loop.run_once(0.0)
        clock.now += waits[-1]
    assert waits == [0.05, 0.1, 0.2, 0.4]


def test_who_sees_to_a_bug_itself_decides_whether_the_key_comes_again() -> None:
    clock, met = Clock(), list[str]()
    loop = loop_of(break_down, clock, lambda key, bug: met.append(f"{key}: {bug.kind}"))
    loop.add("a")
    assert loop.run_once(0.0)
    clock.now += 1000.0
    assert not loop.run_once(0.0)
    assert met == ["a: ZeroDivisionError"]
