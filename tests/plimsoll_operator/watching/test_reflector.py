"""The rules of list and watch without any transport: what is asked next, and that what is kept comes to be what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.controller.cluster.informer import Trimmed
from plimsoll_operator.controller.loops.quarantine import no_border
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.namespaced import Namespaced
from plimsoll_operator.ports import Key, Manifest, Page, WatchEvent
from plimsoll_operator.reflector import ABSENT_SECONDS, STALE_SECONDS, Cache, ListPage, Pause, Reflector, Step, Watch


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def thing(name: str, version: int, value: int = 0) -> Manifest:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": str(version)}, "value": value}


class Written:
    """A cache that only says what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self) -> None:
        self.told.append("begin")

    def page(self, items: Sequence[Manifest]) -> None:
        self.told.append("page " + ",".join(item["metadata"]["name"] for item in items))

    def end(self) -> None:
        self.told.append("end")

    def put(self, manifest: Manifest) -> None:
        self.told.append("put " + manifest["metadata"]["name"])

    def drop(self, key: Key) -> None:
        self.told.append("drop " + key[1])


def listed(cache: Cache, clock: Clock) -> Reflector:
    found = Reflector("things", cache, clock=clock)
    assert found.next() == ListPage("")
    found.page(Page((thing("a", 1),), "5", ""))
    return found


def test_a_list_page_by_page_then_a_watch() -> None:
    cache, clock = Written(), Clock()
    found = Reflector("things", cache, clock=clock)
    assert found.next() == ListPage("")
    found.page(Page((thing("a", 1),), "4", "more"))
    assert (found.next(), found.synced) == (ListPage("more"), False)
    found.page(Page((thing("b", 1),), "5", ""))
    assert found.synced
    step = found.next()
    assert isinstance(step, Watch)
    assert step.resource_version == "5"
    assert cache.told == ["begin", "page a", "page b", "end"]
    found.event(WatchEvent("ADDED", thing("c", 6)))
    found.event(WatchEvent("DELETED", thing("a", 7)))
    found.event(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))
    assert cache.told[4:] == ["put c", "drop a"]
    clock.now += 60
    found.ended()
    step = found.next()
    assert isinstance(step, Watch)
    assert step.resource_version == "9"


def test_news_is_an_event_a_bookmark_or_the_end_of_a_list_and_at_first_the_start() -> None:
    clock = Clock()
    found = Reflector("things", Written(), clock=clock)
    clock.now += 30
    found.page(Page((), "1", "more"))
    found.failed(ApiFailure(500, "InternalError", "no"))
    assert found.age_seconds() == 30, "half a list is no news"
    found.page(Page((), "1", ""))
    assert found.age_seconds() == 0
    found.next()
    clock.now += 75
    found.ended()
    assert found.age_seconds() == 75, "a watch that ends in silence is none"
    found.event(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))
    assert found.age_seconds() == 0


@pytest.mark.parametrize(
    ("lasted", "events", "pause"),
    [
        pytest.param(75.0, 0, (0, 0), id="a watch that was silent for its time is followed by the next at once"),
        pytest.param(119.0, 9, (0, 0), id="and so is one that the server has ended"),
        pytest.param(0.0, 0, (0.8, 1.6), id="one that ends at once is a failure, whatever it says"),
        pytest.param(0.25, 1, (0.75, 0.75), id="one with an event may come once a second"),
    ],
)
def test_how_soon_the_next_watch_begins(lasted: float, events: int, pause: tuple[float, float]) -> None:
    clock = Clock()
    found = listed(Written(), clock)
    found.next()
    for _ in range(events):
        found.event(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "5"}}))
    clock.now += lasted
    found.ended()
    step = found.next()
    assert isinstance(step, Watch) if pause == (0, 0) else isinstance(step, Pause) and pause[0] <= step.seconds <= pause[1]


@pytest.mark.parametrize(
    ("lasted", "refusal"),
    [
        pytest.param(75.0, None, id="watches that are silent"),
        pytest.param(0.0, None, id="watches that end at once"),
        pytest.param(0.0, ApiFailure(429, "TooManyRequests", "later", retry_after_seconds=60), id="watches that are refused for load"),
    ],
)
def test_where_watches_tell_nothing_lists_keep_the_news_from_growing_too_old(lasted: float, refusal: ApiFailure | None) -> None:
    clock, ages = Clock(), []
    found = listed(Written(), clock)
    lists = 0
    while clock.now < 1000.0 + 3600:
        ages.append(found.age_seconds())
        step = found.next()
        if isinstance(step, Pause):
            clock.now += step.seconds
        elif isinstance(step, ListPage):
            found.page(Page((), "9", ""))
            lists += 1
        elif refusal is not None:
            found.failed(refusal)
        else:
            clock.now += lasted
            found.ended()
    assert max(ages) < STALE_SECONDS
    assert 12 <= lists <= 30


def test_a_resource_that_is_not_served_is_empty_and_looked_for_again() -> None:
    told: list[bool] = []
    cache, clock = Written(), Clock()
    found = Reflector("things", cache, clock=clock, on_served=lambda: told.append(found.served))
    found.page(Page((thing("a", 1),), "5", ""))
    assert (told, found.served) == ([True], True)
    found.next()
    assert not found.failed(ApiFailure(404, "NotFound", "gone in the middle of a watch")), "only a list can say so"
    assert isinstance(found.next(), Pause)
    assert found.failed(ApiFailure(404, "NotFound", "no such resource"))
    assert (told, found.served, found.synced, cache.told[-2:]) == ([True, False], False, True, ["begin", "end"])
    assert (found.next(), found.next()) == (Pause(ABSENT_SECONDS), ListPage(""))
    found.page(Page((), "9", ""))
    assert told == [True, False, True]


def test_a_resource_that_must_be_served_and_is_not_is_a_failure() -> None:
    found = Reflector("things", Written(), clock=Clock())
    assert not found.failed(ApiFailure(404, "NotFound", "no such resource"))
    assert not found.synced


def test_after_a_bug_everything_is_listed_again_with_growing_pauses() -> None:
    found = listed(Written(), Clock())
    pauses: list[float] = []
    for _ in range(5):
        found.failed(None)
        step = found.next()
        assert isinstance(step, Pause)
        assert found.next() == ListPage("")
        pauses.append(step.seconds)
    assert pauses[-1] >= 10 > 2 * pauses[0]


class ApiServer:
    """Things of one name each, their history, and how far back it goes."""

    def __init__(self) -> None:
        self.things: dict[str, int] = {}
        self.history: list[tuple[int, WatchEvent]] = []
        self.version = 1
        self.oldest = 1

    def write(self, name: str, value: int) -> None:
        self.version += 1
        gone = value == 0
        if gone and name not in self.things:
            return
        kind: Literal["DELETED", "MODIFIED", "ADDED"] = "DELETED" if gone else "MODIFIED" if name in self.things else "ADDED"
        self.history.append((self.version, WatchEvent(kind, thing(name, self.version, value))))
        self.things = {key: old for key, old in self.things.items() if key != name} | ({} if gone else {name: value})

    def answer(self, step: Step, found: Reflector, cut: int) -> None:
        """Do the step, but a watch that is `cut` after so many events."""
        if isinstance(step, ListPage):
            names = sorted(self.things)
            start = names.index(step.continue_token) if step.continue_token in names else 0
            page = tuple(thing(name, self.version, self.things[name]) for name in names[start : start + 2])
            found.page(Page(page, str(self.version), names[start + 2] if start + 2 < len(names) else ""))
        elif isinstance(step, Watch) and int(step.resource_version) < self.oldest:
            found.failed(WatchExpired("things"))
        elif isinstance(step, Watch):
            told = [event for version, event in self.history if version > int(step.resource_version)]
            for event in told[:cut]:
                found.event(event)
            found.ended()


WRITE = st.tuples(st.sampled_from("abcdef"), st.integers(0, 3))
TURN = st.one_of(
    st.tuples(st.just("write"), WRITE),
    st.tuples(st.just("step"), st.integers(0, 3)),
    st.tuples(st.just("refuse"), st.sampled_from([0, 403, 404, 410, 429, 500, 503, 504])),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("bug"), st.none()),
)


def caches() -> list[tuple[Cache, Any]]:
    trimmed = Trimmed("things", trim=lambda row: row, keep=None, on_change=lambda *_: None, border=no_border)
    parsed: Namespaced[int] = Namespaced("Thing", lambda row: int(row["value"]))
    return [
        (trimmed, lambda: {row["metadata"]["name"]: row["value"] for row in trimmed.values()}),
        (parsed, lambda: dict(parsed.of("n"))),
    ]


@given(st.lists(TURN, max_size=40))
def test_whatever_goes_wrong_what_is_kept_comes_to_be_what_there_is(turns: list[tuple[str, Any]]) -> None:
    for cache, kept in caches():
        server, found = ApiServer(), Reflector("things", cache, clock=Clock())
        for what, how in turns:
            if what == "write":
                server.write(*how)
            elif what == "step":
                server.answer(found.next(), found, how)
            elif what == "refuse":
                found.next()
                found.failed(ApiFailure(how, "Refused", "no"))
            elif what == "bug":
                found.failed(None)
            else:
                server.oldest, server.history = server.version, []
        for _ in range(20):
            server.answer(found.next(), found, 100)
        assert kept() == server.things
        assert found.synced
