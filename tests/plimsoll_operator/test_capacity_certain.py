"""What is certain holds in every order and wherever the scheduler puts each pod, by exhaustive search over small clusters."""

from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.capacity import Booking, certain_pods, possible_pods

SIZES = st.sampled_from([1, 2, 3, 4, 8])
NODES = st.lists(st.integers(0, 8), min_size=1, max_size=3)


def histogram(nodes: list[int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(Counter(nodes).items()))


def others(sizes: dict[int, int], gpus: int) -> list[Booking]:
    return [Booking(gpus=size, pods=pods) for size, pods in sizes.items() if size != gpus]


@cache
def worst(nodes: tuple[int, ...], pods: tuple[int, ...], ours: int) -> int:
    """Pods of size `ours` that still find nodes in the worst course of all the other pods (each placed or left out)."""
    found = sum(size // ours for size in nodes)
    for at, pod in enumerate(pods):
        for node, free in enumerate(nodes):
            if free >= pod:
                after = tuple(sorted((*nodes[:node], free - pod, *nodes[node + 1 :])))
                found = min(found, worst(after, pods[:at] + pods[at + 1 :], ours))
    return found


@cache
def best(nodes: tuple[int, ...], pods: tuple[int, ...], ours: int) -> int:
    """Pods of size `ours` that find nodes in the kindest course in which every other pod is placed that can be."""
    courses = [
        best(tuple(sorted((*nodes[:node], free - pods[0], *nodes[node + 1 :]))), pods[1:], ours)
        for node, free in enumerate(nodes)
        if pods and free >= pods[0]
    ]
    if courses:
        return max(courses)
    return best(nodes, pods[1:], ours) if pods else sum(size // ours for size in nodes)


@given(nodes=NODES, pods=st.lists(SIZES, max_size=4), ours=SIZES)
def test_no_course_of_the_scheduler_leaves_fewer_places_than_are_certain(nodes: list[int], pods: list[int], ours: int) -> None:
    found = certain_pods(histogram(nodes), [Booking(gpus=size, pods=count) for size, count in Counter(pods).items()], ours)
    assert found <= worst(tuple(sorted(nodes)), tuple(sorted(pods)), ours)


@given(nodes=NODES, pods=st.lists(SIZES, max_size=4), ours=SIZES)
def test_what_is_certain_is_possible(nodes: list[int], pods: list[int], ours: int) -> None:
    booked = [Booking(gpus=size, pods=count) for size, count in Counter(pods).items()]
    assert certain_pods(histogram(nodes), booked, ours) <= possible_pods(histogram(nodes), booked, ours)


@given(nodes=NODES, pods=st.lists(SIZES, max_size=3), ours=SIZES)
def test_no_course_finds_more_places_than_are_possible(nodes: list[int], pods: list[int], ours: int) -> None:
    placed = [size for size in sorted(pods, reverse=True) if size <= max(nodes)]
    if sum(placed) > min(nodes):  # only where every other pod certainly finds a place does leaving none out make sense
        placed = []
    booked = [Booking(gpus=size, pods=count) for size, count in Counter(placed).items()]
    assert best(tuple(sorted(nodes)), tuple(placed), ours) <= possible_pods(histogram(nodes), booked, ours)


@pytest.mark.parametrize(
    ("why", "free", "beside", "gpus", "certain"),
    [
        ("whole nodes count one each", {4: 7, 2: 3}, {}, 4, 7),
        ("pairs count in halves of nodes as well", {4: 7, 2: 3}, {}, 2, 17),
        ("another pod of the size takes one", {4: 7}, {4: 2}, 4, 5),
        ("a single GPU can break a whole node", {4: 7}, {1: 3}, 4, 4),
        ("two pairs on one node or on two", {4: 2}, {2: 2}, 4, 0),
        ("a pod of four takes four single places", {4: 2}, {4: 1}, 1, 4),
        ("a pod that finds no place takes none", {3: 1}, {4: 5}, 1, 3),
        ("a node with a remainder breaks later", {5: 1, 4: 1}, {1: 1}, 4, 1),
        ("nothing free, nothing certain", {}, {1: 1}, 1, 0),
    ],
)
def test_places(why: str, free: dict[int, int], beside: dict[int, int], gpus: int, certain: int) -> None:
    booked = [Booking(gpus=size, pods=pods) for size, pods in beside.items()]
    assert certain_pods(tuple(free.items()), booked, gpus) == certain, why
