"""Whose review waits, whose is turned away, and that none is begun without the time for it. Driven by hand, never by a clock."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.webhook.webhook_server import Server, Slow, admits, body, settle, slow_ones

from plimsoll_operator.facts import Facts
from plimsoll_operator.verdict import Verdict
from plimsoll_operator.webhook.lines import Busy, LineBounds, Lines, Place
from plimsoll_operator.webhook.workers import TooLate, Workers

MIB = 1 << 20
SMALL = LineBounds(most=8, of_one=6, most_bytes=8 * MIB, of_one_bytes=5 * MIB)
FLOODS = [
    ("a namespace has its share of the line", "aaaaaa", 10, "a", None),
    ("and another one has room beside it", "aaaaaa", 10, "b", ""),
    ("in a full line the last of the longest makes room", "aaaaaabb", 10, "c", "a"),
    ("also for a namespace that has fewer waiting", "aaaaaabb", 10, "b", "a"),
    ("of two as long it is the one whose turn is last", "aaaabbbb", 10, "c", "b"),
    ("who has the longest line pushes out nobody", "aaaaabbb", 10, "a", None),
    ("nor who would have as long a one", "aaaabbbb", 10, "b", None),
    ("lines of one are left as they are", "abcdefgh", 10, "i", None),
    ("a namespace has its share of the bytes", "aaaaa", MIB, "a", None),
    ("and another one its own", "aaaaa", MIB, "b", ""),
    ("bytes are made room for like places", "aaaaabbb", MIB, "c", "a"),
    ("who holds most bytes pushes out nobody", "aaaabbbb", MIB, "b", None),
]


@pytest.mark.parametrize(("why", "waiting", "size", "newcomer", "pushed_out"), FLOODS, ids=[row[0] for row in FLOODS])
def test_who_is_turned_away_where_many_wait(why: str, waiting: str, size: int, newcomer: str, pushed_out: str | None) -> None:
    lines = Lines(SMALL)
    for namespace in waiting:
        assert lines.join(Place(namespace, size)) == (), why
    before = {namespace: lines.of(namespace) for namespace in waiting}
    if pushed_out is None:
        with pytest.raises(Busy):
            lines.join(Place(newcomer, size))
        assert {namespace: lines.of(namespace) for namespace in waiting} == before, why
    else:
        assert "".join(place.namespace for place in lines.join(Place(newcomer, size))) == pushed_out, why


def test_one_body_waits_however_large_where_nothing_else_does() -> None:
    assert Lines(LineBounds(most_bytes=10, of_one_bytes=10)).join(Place("a", 1000)) == ()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3 * MIB)), max_size=60))
def test_whatever_comes_the_lines_stay_within_their_bounds_and_an_even_part_is_never_refused(comers: list[tuple[str, int]]) -> None:
    lines, inside = Lines(SMALL), list[Place]()
    for namespace, size in comers:
        place = Place(namespace, size)
        places = Counter(one.namespace for one in [*inside, place])
        held = Counter({name: sum(one.size for one in [*inside, place] if one.namespace == name) for name in places})
        try:
            out = lines.join(place)
        except Busy:
            # Even if nobody else had more than the newcomer's namespace, it would be too much.
            over_share = places[namespace] > SMALL.of_one or held[namespace] > SMALL.of_one_bytes
            full = sum(min(one, places[namespace]) for one in places.values()) > SMALL.most
            heavy = sum(min(one, held[namespace]) for one in held.values()) > SMALL.most_bytes
            assert over_share or full or heavy
            out = (place,)
        inside = [one for one in [*inside, place] if one not in out]
        assert out == (place,) or all(one.namespace != namespace for one in out)
        assert len(inside) <= SMALL.most
        assert len(inside) == 1 or sum(one.size for one in inside) <= SMALL.most_bytes
        assert all(lines.of(name) == sum(one.namespace == name for one in inside) for name in "abcd")


def test_two_namespaces_floods_shut_no_third_one_out() -> None:
    """As many as a tenant likes wait in two namespaces; the third one's review waits for its turn and has it next."""

    async def go() -> None:
        workers = Workers(threads=1, of_one_namespace=1, bounds=LineBounds(most=8, of_one=4))
        async with slow_ones(workers, "a") as rows:
            flood = [asyncio.create_task(workers.run(name, 10, lambda: "flood", 60)) for name in "ab" * 10]
            await settle()
            assert sum(task.done() for task in flood) == 12
            honest = asyncio.create_task(workers.run("honest", 10, lambda: "honest", 60))
            await settle()
            assert (honest.done(), sum(task.done() for task in flood)) == (False, 13)
            rows[0][0].gate.set()
            assert await honest == "honest"
            said = await asyncio.gather(*flood, return_exceptions=True)
        assert Counter("flood" if one == "flood" else type(one).__name__ for one in said) == {"flood": 7, "Busy": 13}

    asyncio.run(go())


def test_who_has_given_up_takes_no_place_in_the_line() -> None:
    async def go() -> None:
        workers = Workers(threads=1, of_one_namespace=1, bounds=LineBounds(most=3))
        async with slow_ones(workers, "a"):
            waiting = [asyncio.create_task(workers.run(name, 10, lambda: "x", 60)) for name in "bcd"]
            await settle()
            waiting[1].cancel()
            await settle()
            late = asyncio.create_task(workers.run("e", 10, lambda: "late", 60))
            await settle()
            assert not late.done()
        assert await late == "late"
        assert [await waiting[0], await waiting[2]] == ["x", "x"]

    asyncio.run(go())


def test_a_review_whose_namespace_has_room_begins_at_once_however_many_of_others_wait() -> None:
    async def go() -> None:
        workers = Workers(threads=2, of_one_namespace=1, bounds=LineBounds(most=3))
        async with slow_ones(workers, *"aaaa") as rows:
            assert await workers.run("b", 10, lambda: "at once", 60) == "at once"
            assert not any(task.done() for _, task in rows)

    asyncio.run(go())


@pytest.mark.parametrize("begin_within", [0.01, 0.0, -1.0])
def test_work_whose_turn_comes_too_late_is_never_begun(begin_within: float) -> None:
    async def go() -> None:
        workers, work = Workers(threads=1, of_one_namespace=1), Slow()
        async with slow_ones(workers, "a"):
            with pytest.raises(TooLate):
                await workers.run("b", 10, work, 60, begin_within=begin_within)
        assert await workers.run("b", 10, lambda: "free", 60) == "free"
        assert not work.began.is_set()

    asyncio.run(go())


def never_decides(facts: Facts, seconds: float) -> Verdict:
    raise AssertionError(f"a decision was begun with {seconds} seconds left")


LATE = [
    (
        "the body came so late that reading it would take what is left",
        [0.0, 3.74],
        "its turn to be judged did not come within 3.73 seconds",
    ),
    ("the thread began too late", [0.0, 0.0, 3.74], "its turn to be judged did not come within 3.73 seconds"),
    ("reading took all the time", [0.0, 0.0, 0.0, 3.75], "no time was left to decide when the request had been read"),
]


@pytest.mark.parametrize(("why", "times", "said"), LATE, ids=[row[0] for row in LATE])
def test_what_has_no_time_left_is_answered_without_a_decision(why: str, times: list[float], said: str) -> None:
    ticks = iter(times)

    def clock() -> float:
        return next(ticks, times[-1])

    status, answer = asyncio.run(Server(never_decides, clock=clock).ask(body()))
    assert (status, answer["response"]["allowed"]) == (200, False), why
    assert answer["response"]["status"]["message"] == f"{said}, so nothing is admitted. Ask again."


def test_who_is_pushed_out_is_refused_and_told_why() -> None:
    async def go() -> None:
        workers = Workers(threads=1, of_one_namespace=1, bounds=LineBounds(most=2))
        server = Server(admits, workers=workers)
        async with slow_ones(workers, "a"):
            flood = [asyncio.create_task(server.ask(body("noisy"))) for _ in range(2)]
            await settle()
            honest = asyncio.create_task(server.ask(body("quiet")))
            status, answer = await flood[1]
            assert (status, answer["response"]["allowed"]) == (200, False)
            assert answer["response"]["status"]["message"].startswith("too many requests wait for their verdicts")
        assert [(await task)[1]["response"]["allowed"] for task in (flood[0], honest)] == [True, True]

    asyncio.run(go())
