"""What is certain holds in every order and wherever the scheduler puts each pod, by exhaustive search over small clusters."""

from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.capacity import Booking, certain_pods, gpus_for, placeable, possible_pods
from plimsoll_operator.facts import FreeNodes
from plimsoll_operator.pod import PodRequests

SIZES = st.sampled_from([1, 2, 3, 4, 8])
# (GPUs, host memory) of a node's free room and of a pod.
NODES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=1, max_size=3)
PODS = st.lists(st.tuples(SIZES, st.integers(0, 6)), max_size=4)
POD = st.tuples(SIZES, st.integers(0, 4))


def rows(nodes: list[tuple[int, int]]) -> list[FreeNodes]:
    return [FreeNodes(gpus=gpus, nodes=count, host_memory_bytes=host) for (gpus, host), count in Counter(nodes).items()]


def booking(pod: tuple[int, int], pods: int = 1) -> Booking:
    return Booking(pods=pods, each=PodRequests(gpus=pod[0], host_memory_bytes=pod[1]))


def certain(nodes: list[tuple[int, int]], pods: list[tuple[int, int]], ours: tuple[int, int]) -> int:
    free, pod = rows(nodes), booking(ours).each
    beside = [booking(other, count) for other, count in Counter(pods).items()]
    return certain_pods(gpus_for(free, pod), [placeable(gpus_for(free, other.each), other) for other in beside], pod)


@cache
def worst(nodes: tuple[tuple[int, int], ...], pods: tuple[tuple[int, int], ...], ours: tuple[int, int]) -> int:
    """Places for pods like `ours` in the worst course of all the other pods (each placed or left out)."""
    found = sum(gpus // ours[0] if not ours[1] else min(gpus // ours[0], host // ours[1]) for gpus, host in nodes)
    for at, pod in enumerate(pods):
        for node, free in enumerate(nodes):
            if free[0] >= pod[0] and free[1] >= pod[1]:
                left = (free[0] - pod[0], free[1] - pod[1])
                after = tuple(sorted((*nodes[:node], left, *nodes[node + 1 :])))
                found = min(found, worst(after, pods[:at] + pods[at + 1 :], ours))
    return found


@given(nodes=NODES, pods=PODS, ours=POD)
def test_no_course_of_the_scheduler_leaves_fewer_places_than_are_certain(
    nodes: list[tuple[int, int]], pods: list[tuple[int, int]], ours: tuple[int, int]
) -> None:
    assert certain(nodes, pods, ours) <= worst(tuple(sorted(nodes)), tuple(sorted(pods)), ours)


@given(nodes=st.lists(st.integers(0, 8), min_size=1, max_size=4), pods=st.lists(SIZES, max_size=4), ours=SIZES)
def test_what_is_certain_is_possible(nodes: list[int], pods: list[int], ours: int) -> None:
    free = tuple(Counter(nodes).items())
    beside = [placeable(free, Booking(pods=count, each=PodRequests(gpus=size))) for size, count in Counter(pods).items()]
    assert certain_pods(free, beside, PodRequests(gpus=ours)) <= possible_pods(free, beside, ours)


@pytest.mark.parametrize(
    ("why", "free", "beside", "gpus", "found"),
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
def test_places(why: str, free: dict[int, int], beside: dict[int, int], gpus: int, found: int) -> None:
    histogram = tuple(free.items())
    others = [placeable(histogram, Booking(pods=pods, each=PodRequests(gpus=size))) for size, pods in beside.items()]
    assert certain_pods(histogram, others, PodRequests(gpus=gpus)) == found, why


def test_a_pod_that_takes_much_of_the_host_takes_the_places_that_go_with_it() -> None:
    small, greedy = (1, 2), (1, 6)
    assert certain([(4, 8)], [small], small) == 4 - 1
    assert certain([(4, 8)], [greedy], small) == 4 - 3
