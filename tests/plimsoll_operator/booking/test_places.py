"""Places in the decision order: they only grow, over changes of leader, clocks that are behind and places that somebody rewrote."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World

from plimsoll_operator.controller.booking.places import MAX_AHEAD, Places, settled
from plimsoll_operator.names import DECIDED_ANNOTATION
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
WISHED = "2026-06-01T11:00:00Z"


@given(behind=st.lists(st.integers(-3600, 3600 * 24), min_size=1, max_size=8), decisions=st.integers(1, 4))
def test_places_grow_over_leaders_whatever_their_clocks_say(behind: list[int], decisions: int) -> None:
    given_out: list[str] = []
    for seconds in behind:
        now = NOON - timedelta(seconds=seconds)
        leader = Places()
        leader.go_on_after(given_out, now)
        given_out += [leader.next(now, WISHED) for _ in range(decisions)]
    assert given_out == sorted(set(given_out))


PLACES = [
    ("a place after its wish stays", "2026-06-01T11:00:00.500000Z", "2026-06-01T11:00:00.500000Z"),
    ("one before its wish counts from the wish", "2026-06-01T10:00:00.000000Z", "2026-06-01T11:00:00.000000Z"),
    ("none counts from the wish", "", "2026-06-01T11:00:00.000000Z"),
    ("what is no place counts from the wish", "0000", "2026-06-01T11:00:00.000000Z"),
    ("nor is a date that is none", "2026-99-01T11:00:00.500000Z", "2026-06-01T11:00:00.000000Z"),
]


@pytest.mark.parametrize(("why", "read", "expected"), PLACES, ids=[row[0] for row in PLACES])
def test_a_place_that_was_read_never_lies_before_its_wish(why: str, read: str, expected: str) -> None:
    assert settled(read, WISHED) == expected, why


@pytest.mark.parametrize("far", ["9999-12-31T23:59:59.999999Z", "2026-07-02T12:00:00.000001Z", "zzzz"])
def test_a_place_from_a_far_future_moves_no_clock(far: str) -> None:
    leader = Places()
    leader.go_on_after([far], NOON)
    assert leader.next(NOON, WISHED) == "2026-06-01T12:00:00.000000Z"
    assert datetime(2026, 7, 2, 12, tzinfo=UTC) > NOON + MAX_AHEAD


def rewrite(world: World, name: str, place: str) -> None:
    child = world.child(name)
    assert child is not None
    child["metadata"]["annotations"][DECIDED_ANNOTATION] = place
    world.kube.replace(DEPLOYMENTS, child)


def test_a_new_leader_whose_clock_is_behind_goes_on_after_the_last_place() -> None:
    world = World(8)
    world.wish("first", 1)
    world.work()
    ahead = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # so far is our own clock behind
    rewrite(world, "first", ahead)
    again = World(kube=world.kube)
    again.wish("second", 1)
    again.work()
    assert again.annotation("second", DECIDED_ANNOTATION) > ahead


def test_who_rewrites_the_place_of_a_child_gets_none_before_its_wish() -> None:
    world = World(8)
    world.wish("early", 1)
    world.work()
    child = world.child("early")
    assert child is not None
    wish = world.kube.get(INFERENCE_DEPLOYMENTS, NS, "early")
    assert wish is not None
    wish["metadata"]["creationTimestamp"] = "2026-06-01T11:00:00Z"
    world.kube.replace(INFERENCE_DEPLOYMENTS, wish)
    rewrite(world, "early", "1970-01-01T00:00:00.000000Z")
    again = World(kube=world.kube)
    again.controller.queue.add((NS, "early"))
    again.work()
    promise = again.controller.ledger.reserved((NS, "early"))
    assert promise is not None
    assert promise.decided == "2026-06-01T11:00:00.000000Z"


def test_what_is_no_place_is_not_remembered() -> None:
    """Whoever may edit a child writes 256 KiB where its place is, as often as it likes."""
    settled("no place", "2026-11-25T12:00:00Z")
    tracemalloc.start()
    for number in range(100):
        settled(f"{number} " + "x" * 100_000, "2026-11-25T12:00:00Z")
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1_000_000
