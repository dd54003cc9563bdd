"""Bookings against a scheduler that takes visible pods in any order and puts them on any node that has room."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.booking.shapes import Clock, shape

from plimsoll_operator.controller.booking.bookings import Bookings
from plimsoll_operator.controller.booking.demand import BIND_SECONDS, PodDemand, PodShape, Standing


@dataclass
class Deployment:
    gpus: int
    pods: int
    decided: str
    gated: bool = False
    child: int = 0  # pods the child asks for
    lifted: int = 0  # of these without gate
    nodes: list[str] = field(default_factory=list)
    told: bool = False  # its user, by the status that follows its child and its gates

    @property
    def visible(self) -> int:
        return (self.lifted if self.gated else self.child) - len(self.nodes)


class World:
    """Nodes by free GPUs, deployments, and the bookings as a ledger would keep them."""

    def __init__(self, *free: int) -> None:
        self.free = {f"n{index}": gpus for index, gpus in enumerate(free)}
        self.deployments: dict[str, Deployment] = {}
        self.decisions = 0
        self.clock = Clock()
        self.bookings = Bookings(self.clock)

    def histogram(self, asked: PodShape) -> dict[str, tuple[tuple[int, int], ...]]:
        return {pool: tuple(sorted(Counter(self.free.values()).items())) for pool in asked.pools}

    def put(self, name: str) -> None:
        one = self.deployments[name]
        waiting = max(0, one.child - len(one.nodes))
        self.bookings.put(
            ("ns", name),
            PodDemand(
                shape=shape(one.gpus),
                desired=one.pods,
                bound=len(one.nodes),
                waiting=waiting,
                visible=max(0, one.visible) if one.gated else waiting,
                child_pods=one.child,
                gated=one.gated,
                decided=one.decided,
            ),
        )

    def settle(self) -> list[str]:
        return [name for _, name in self.bookings.settle(self.histogram)]

    def decide(self, name: str, gpus: int, pods: int = 1, *, gated: bool = False) -> Standing:
        self.decisions += 1
        decided = f"{self.decisions:04}"
        self.deployments[name] = Deployment(gpus=gpus, pods=pods, decided=decided, gated=gated)
        self.put(name)
        self.settle()
        return self.standing(name)

    def standing(self, name: str) -> Standing:
        return self.bookings.standing(("ns", name))

    def apply(self, name: str) -> None:
        """What the reconciler does: show the pods unless they are held, lift gates as far as they are booked."""
        one = self.deployments[name]
        if self.standing(name) is not Standing.WAITING_FOR_TURN:
            one.child = one.pods
        if one.gated:
            one.lifted = max(one.lifted, len(one.nodes) + self.bookings.may_show(("ns", name)))
        self.put(name)
        one.told = self.standing(name) is Standing.BOOKED
        self.settle()

    def bind(self, name: str, node: str) -> None:
        one = self.deployments[name]
        assert self.free[node] >= one.gpus
        self.free[node] -= one.gpus
        one.nodes.append(node)
        self.put(name)
        self.settle()

    def delete(self, name: str) -> None:
        one = self.deployments.pop(name)
        for node in one.nodes:
            self.free[node] += one.gpus
        self.bookings.drop(("ns", name))
        self.settle()

    def bindable(self) -> list[tuple[str, str]]:
        return [
            (name, node)
            for name, one in self.deployments.items()
            if one.visible > 0
            for node, free in self.free.items()
            if free >= one.gpus
        ]

    def in_flight(self) -> list[str]:
        return [name for name in self.deployments if self.standing(name) is Standing.BOOKED]

    def restarted(self) -> World:
        """A new leader: what children and pods tell, and nothing else; what has no child is decided again."""
        again = World()
        again.free, again.clock, again.decisions = self.free, self.clock, self.decisions
        again.bookings = Bookings(self.clock)
        again.deployments = {name: one for name, one in self.deployments.items() if one.child}
        for name in again.deployments:
            again.put(name)
        again.settle()
        return again


@law(150)
@given(
    nodes=st.lists(st.sampled_from([1, 2, 4, 4, 8]), min_size=1, max_size=6),
    wishes=st.lists(st.tuples(st.sampled_from([1, 1, 2, 4]), st.integers(1, 3), st.booleans()), min_size=1, max_size=14),
    restart_at=st.integers(0, 30),
    seed=st.integers(0, 1 << 32),
)
@example(  # a leader that ends between booking a gated pod and showing it: what was decided before it is booked anew first
    nodes=[1, 1, 4, 8, 8],
    wishes=[(4, 1, False), (4, 3, False), *[(1, 1, False)] * 4, (4, 1, True), (1, 1, True), *[(1, 1, False)] * 2],
    restart_at=19,
    seed=1579664,
)
def test_whoever_is_booked_gets_its_nodes_whatever_the_scheduler_does(  # noqa: C901 one walk, told in its order
    nodes: list[int], wishes: list[tuple[int, int, bool]], restart_at: int, seed: int
) -> None:
    chance = random.Random(seed)
    world = World(*nodes)
    told: set[str] = set()
    by_name = {f"d{index}": wish for index, wish in enumerate(wishes)}
    todo = list(by_name)
    step = 0
    while True:
        step += 1
        if step == restart_at:
            lost = [name for name, one in world.deployments.items() if not one.child]
            told = {name for name in told if world.deployments[name].told or world.standing(name) is Standing.SETTLED}
            todo = [*lost, *todo]
            world = world.restarted()
        moves = ["decide"] * bool(todo) + ["apply"] * bool(world.deployments) + ["bind"] * 2 * bool(world.bindable())
        move = chance.choice(moves)
        if move == "decide":
            name = todo.pop(0)
            gpus, pods, gated = by_name[name]
            world.decide(name, gpus, pods, gated=gated)
        elif move == "apply":
            for name in chance.sample(sorted(world.deployments), chance.randint(1, len(world.deployments))):
                world.apply(name)
        else:
            world.bind(*chance.choice(world.bindable()))
        told |= set(world.in_flight())
        for name in told:
            assert world.standing(name) in (Standing.BOOKED, Standing.SETTLED), f"{name} was promised GPUs and lost them"
        if not todo and move == "apply":
            for name in list(world.deployments):
                world.apply(name)
            if not world.bindable():
                break
    for name, one in world.deployments.items():
        assert world.standing(name) is not Standing.WAITING_FOR_TURN, f"{name} is held although nothing is on its way"
        assert (len(one.nodes) == one.pods) == (world.standing(name) is Standing.SETTLED)
        room = max(world.free.values())
        assert len(one.nodes) == one.pods or room < one.gpus, f"{name} waits although a node has {room} GPUs"


def test_what_comes_later_is_shown_only_after_what_is_booked_is_on_nodes() -> None:
    world = World(4)
    assert world.decide("first", 4) is Standing.BOOKED
    assert world.decide("second", 1) is Standing.WAITING_FOR_TURN
    world.apply("second")
    assert world.deployments["second"].visible == 0
    world.apply("first")
    world.bind("first", "n0")
    assert world.standing("second") is Standing.WAITING
    world.apply("second")
    assert world.deployments["second"].visible == 1


def test_a_whole_node_is_not_promised_while_a_single_gpu_may_still_land_on_it() -> None:
    world = World(4, 4)
    assert world.decide("small", 1) is Standing.BOOKED
    assert world.decide("one", 4) is Standing.BOOKED
    assert world.decide("two", 4) is Standing.WAITING_FOR_TURN
    world.apply("small")
    world.bind("small", "n0")
    assert world.standing("one") is Standing.BOOKED
    world.apply("one")
    world.bind("one", "n1")
    assert world.standing("two") is Standing.WAITING


def test_nobody_overtakes_who_is_held() -> None:
    world = World(4, 4)
    world.decide("small", 1)
    world.decide("a", 4)
    assert world.decide("b", 4) is Standing.WAITING_FOR_TURN
    assert world.decide("late-and-small", 1) is Standing.WAITING_FOR_TURN
    world.apply("small")
    world.bind("small", "n0")
    assert world.settle() == []
    world.apply("a")
    world.bind("a", "n1")
    assert (world.standing("b"), world.standing("late-and-small")) == (Standing.WAITING, Standing.BOOKED)


def test_a_booking_that_the_scheduler_does_not_follow_is_taken_back_and_holds_up_nobody() -> None:
    world = World(4)
    world.decide("stuck", 4)
    world.apply("stuck")
    assert world.decide("next", 4) is Standing.WAITING_FOR_TURN
    world.clock.now += BIND_SECONDS + 1
    assert world.settle() == ["stuck", "next"]
    assert (world.standing("stuck"), world.standing("next")) == (Standing.LATE, Standing.WAITING)
    world.bind("stuck", "n0")
    assert world.standing("stuck") is Standing.SETTLED


def test_a_booking_is_taken_back_when_its_gpus_go_away() -> None:
    world = World(4)
    world.decide("first", 4)
    world.apply("first")
    world.free["n0"] = 3
    assert world.settle() == ["first"]
    assert world.standing("first") is Standing.WAITING


def test_gates_lift_pod_by_pod_and_in_decision_order() -> None:
    world = World(2)
    for name in ("a", "b", "c"):
        world.decide(name, 1, 2 if name == "a" else 1, gated=True)
    assert [world.bookings.may_show(("ns", name)) for name in ("a", "b", "c")] == [2, 0, 0]
    world.apply("a")
    world.bind("a", "n0")
    world.bind("a", "n0")
    assert world.standing("b") is Standing.WAITING
    world.free["n1"] = 1
    assert world.settle() == ["b"]
    assert (world.standing("b"), world.standing("c")) == (Standing.BOOKED, Standing.WAITING)


@pytest.mark.parametrize(("nodes", "booked"), [(1, 0), (2, 2), (3, 2), (4, 4), (9, 6)])
def test_of_replicas_over_nodes_only_whole_ones_are_booked(nodes: int, booked: int) -> None:
    world = World(*[4] * nodes)
    gated = PodDemand(shape=shape(4), desired=6, bound=0, decided="1", pods_per_replica=2, waiting=6, visible=0, child_pods=6, gated=True)
    world.bookings.put(("ns", "groups"), gated)
    world.settle()
    assert world.bookings.may_show(("ns", "groups")) == booked


def test_a_gated_one_that_cannot_fit_yet_holds_up_nobody() -> None:
    world = World(2, 2)
    world.decide("large", 4, gated=True)
    assert world.decide("small", 1) is Standing.BOOKED
    assert world.decide("other", 2) is Standing.BOOKED
    assert world.standing("large") is Standing.WAITING


def test_a_scale_up_is_booked_like_a_new_deployment() -> None:
    world = World(4)
    world.decide("grows", 1)
    world.apply("grows")
    world.bind("grows", "n0")
    assert world.decide("other", 2) is Standing.BOOKED
    world.deployments["grows"].pods = 3
    world.put("grows")
    world.settle()
    assert world.standing("grows") is Standing.WAITING_FOR_TURN
    world.apply("other")
    world.bind("other", "n0")
    assert world.standing("grows") is Standing.WAITING


def test_a_pod_that_dies_is_promised_its_gpu_again_where_that_is_certain() -> None:
    world = World(4)
    world.decide("a", 1)
    world.apply("a")
    world.bind("a", "n0")
    world.deployments["a"].nodes.clear()
    world.free["n0"] += 1
    world.put("a")
    world.settle()
    assert world.standing("a") is Standing.BOOKED


@pytest.mark.parametrize(
    ("pools", "second"),
    [(("b",), Standing.BOOKED), (("a", "b"), Standing.WAITING_FOR_TURN)],
    ids=["other nodes are no concern", "one that may use both could take the other's"],
)
def test_only_who_may_use_the_same_nodes_waits(pools: tuple[str, ...], second: Standing) -> None:
    bookings = Bookings(Clock())

    def histogram(asked: PodShape) -> dict[str, tuple[tuple[int, int], ...]]:
        return dict.fromkeys(asked.pools, ((4, 1),))

    def decide(name: str, asked: PodShape) -> Standing:
        bookings.put(
            ("ns", name), PodDemand(shape=asked, desired=1, bound=0, waiting=0, visible=0, child_pods=0, gated=False, decided=name)
        )
        bookings.settle(histogram)
        return bookings.standing(("ns", name))

    assert decide("1", shape(4, "a")) is Standing.BOOKED
    assert decide("2", shape(4, *pools)) is second
    assert decide("3", shape(4, "a")) is Standing.WAITING_FOR_TURN
    assert decide("4", shape(4, "b")) is Standing.WAITING_FOR_TURN


def test_ten_thousand_waiting_deployments_are_a_handful_of_contenders() -> None:
    world = World(4)
    world.decide("first", 4)
    for index in range(300):
        world.decide(f"w{index}", 1 + index % 2)
    world.apply("first")
    world.bind("first", "n0")
    assert {world.standing(f"w{index}") for index in range(300)} == {Standing.WAITING}
    assert len(world.bookings._contenders) == 2
    assert world.settle() == []
