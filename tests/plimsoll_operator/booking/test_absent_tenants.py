"""What cannot exist books nothing: tenants whose pods are never made, or never bound, and what the others get meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.booking.shapes import Clock, shape

from plimsoll_operator.controller.booking.bookings import MANY_KINDS, Bookings
from plimsoll_operator.controller.booking.debts import FORGET_SECONDS
from plimsoll_operator.controller.booking.demand import BIND_SECONDS, GRACE_SECONDS, PodDemand, PodShape, Standing
from plimsoll_operator.controller.booking.idle import IDLE_SECONDS
from plimsoll_operator.pod import PodRequests

# The longest that one failing booking, the idle GPUs and a turn behind it can take, with a tick for each.
BOUND_SECONDS = 2 * BIND_SECONDS + 2 * IDLE_SECONDS + GRACE_SECONDS + 5


@dataclass
class Tenant:
    """A deployment of somebody: `made` of its pods exist, `bound` are on nodes."""

    gpus: int
    wanted: int
    decided: str
    gated: bool = False
    asked: int = 0
    made: int = 0
    lifted: int = 0
    bound: int = 0
    refused: bool = False


@dataclass
class Cluster:
    """Nodes of so many GPUs, deployments by namespace and name, and a second at a time."""

    nodes: list[int]
    clock: Clock = field(default_factory=Clock)
    deployments: dict[tuple[str, str], Tenant] = field(default_factory=dict)
    decisions: int = 0

    def __post_init__(self) -> None:
        self.bookings = Bookings(self.clock)

    def free(self, asked: PodShape) -> dict[str, tuple[tuple[int, int], ...]]:
        return {pool: tuple(sorted(Counter(self.nodes).items())) for pool in asked.pools}

    def decide(self, namespace: str, name: str, gpus: int, wanted: int = 1, *, gated: bool = False) -> Tenant:
        self.decisions += 1
        one = Tenant(gpus=gpus, wanted=wanted, decided=f"{self.decisions:06}", gated=gated)
        self.deployments[namespace, name] = one
        self.tell(namespace, name)
        return one

    def tell(self, namespace: str, name: str) -> None:
        one = self.deployments[namespace, name]
        waiting = one.made - one.bound
        demand = PodDemand(
            shape=shape(one.gpus),
            desired=one.wanted,
            bound=one.bound,
            waiting=waiting,
            visible=max(0, one.lifted - one.bound) if one.gated else waiting,
            child_pods=one.asked,
            gated=one.gated,
            decided=one.decided,
            refused=one.refused,
        )
        self.bookings.put((namespace, name), demand)
        self.bookings.settle(self.free)

    def apply(self, namespace: str, name: str) -> None:
        """What the reconciler does with a deployment that stands as it stands."""
        one = self.deployments[namespace, name]
        if self.standing(namespace, name) is not Standing.WAITING_FOR_TURN:
            one.asked = one.wanted
        self.tell(namespace, name)

    def serve(self, namespace: str, name: str) -> None:
        """An honest deployment: its pods are made at once, its gates lifted as far as they may, and the scheduler binds what it sees."""
        self.apply(namespace, name)
        one = self.deployments[namespace, name]
        one.made = max(one.made, one.asked)
        if one.gated:
            one.lifted = max(one.lifted, one.bound + self.bookings.may_show((namespace, name)))
        visible = min(one.lifted, one.made) if one.gated else one.made
        while one.bound < visible and max(self.nodes) >= one.gpus:
            node = max(range(len(self.nodes)), key=lambda index: self.nodes[index])
            self.nodes[node] -= one.gpus
            one.bound += 1
        self.tell(namespace, name)

    def delete(self, namespace: str, name: str) -> None:
        del self.deployments[namespace, name]
        self.bookings.drop((namespace, name))
        self.bookings.settle(self.free)

    def standing(self, namespace: str, name: str) -> Standing:
        return self.bookings.standing((namespace, name))

    def tick(self, seconds: float = 1.0) -> None:
        self.clock.now += seconds
        self.bookings.settle(self.free)


ACTS = ("decide", "scale", "delete", "refuse", "make", "lift", "nothing")


def attack(cluster: Cluster, chance: random.Random) -> None:
    """Something a tenant can do whose pods are never bound: ask, scale, delete, be refused, make pods that nobody schedules."""
    mine = [name for namespace, name in cluster.deployments if namespace == "attacker"]
    act = chance.choice(ACTS)
    if act == "decide" or not mine:
        name = f"a{chance.randint(0, 9)}"
        gpus, wanted = chance.choice([1, 2, 4, 8]), chance.choice([1, 3, 5000])
        cluster.decide("attacker", name, gpus, wanted, gated=chance.random() < 0.5)
        cluster.apply("attacker", name)
        return
    name = chance.choice(mine)
    one = cluster.deployments["attacker", name]
    if act == "delete":
        cluster.delete("attacker", name)
        return
    if act == "scale":
        one.wanted = chance.choice([0, 1, 2, 5000])
        one.made = min(one.made, one.wanted)
    elif act == "refuse":
        one.refused = not one.refused
    elif act == "make":
        one.made = chance.randint(0, min(one.wanted, 50))
    elif act == "lift" and one.gated:
        one.lifted = cluster.bookings.may_show(("attacker", name))
    one.lifted = min(one.lifted, one.made)
    cluster.apply("attacker", name)


@law(60)
@given(
    nodes=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=5),
    before=st.integers(0, 12),
    gated=st.booleans(),
    strangers=st.integers(0, 2),
    seed=st.integers(0, 1 << 32),
)
def test_nobody_waits_behind_what_does_not_come(nodes: list[int], before: int, gated: bool, strangers: int, seed: int) -> None:
    chance = random.Random(seed)
    cluster = Cluster(list(nodes))
    for _ in range(before):
        attack(cluster, chance)
    if strangers:
        others = PodShape(pools=("l4",), products=(), requests=PodRequests(gpus=1))
        cluster.bookings.contend_beside(others, strangers)  # visible, and never bound
    honest = cluster.decide("honest", "one", chance.choice([size for size in (1, 2, 4, 8) if size <= max(nodes)]), gated=gated)
    for _ in range(int(BOUND_SECONDS)):
        for _ in range(chance.randint(0, 3)):
            attack(cluster, chance)
        cluster.tick()
        cluster.serve("honest", "one")
        if honest.bound:
            return
    pytest.fail(f"not on a node after {BOUND_SECONDS:.0f} s although GPUs lie idle: {cluster.standing('honest', 'one')}")


@law(60)
@given(steps=st.integers(1, 40), seed=st.integers(0, 1 << 32))
def test_after_everything_is_deleted_nobody_contends(steps: int, seed: int) -> None:
    chance = random.Random(seed)
    cluster = Cluster([4, 8])
    for _ in range(steps):
        attack(cluster, chance)
        cluster.tick(chance.choice([0.0, 0.5, 3.0, 11.0]))
    for namespace, name in tuple(cluster.deployments):
        cluster.delete(namespace, name)
    cluster.tick(FORGET_SECONDS)
    left = vars(cluster.bookings)
    assert all(not left[part] for part in ("_entries", "_queue", "_in_flight", "_believed", "_lent", "_missing", "_flying", "_contenders"))


def test_pods_that_were_never_made_contend_for_nothing_after_their_grace_and_say_so() -> None:
    cluster = Cluster([4])
    cluster.decide("quota", "huge", 1, 5000)
    cluster.apply("quota", "huge")
    assert cluster.standing("quota", "huge") is Standing.WAITING
    cluster.tick(GRACE_SECONDS)
    assert cluster.standing("quota", "huge") is Standing.ABSENT
    cluster.decide("other", "one", 4, gated=True)
    assert cluster.standing("other", "one") is Standing.BOOKED


def test_a_refusal_gives_the_gpus_back_at_once() -> None:
    cluster = Cluster([4])
    refused = cluster.decide("quota", "one", 4)
    assert cluster.standing("quota", "one") is Standing.BOOKED
    cluster.apply("quota", "one")
    refused.refused = True
    cluster.tell("quota", "one")
    assert cluster.standing("quota", "one") is Standing.ABSENT
    cluster.decide("other", "one", 4)
    assert cluster.standing("other", "one") is Standing.BOOKED


def test_what_a_quota_lets_through_keeps_its_gpus_and_only_that() -> None:
    cluster = Cluster([8])
    partly = cluster.decide("quota", "some", 2, 4, gated=True)
    cluster.apply("quota", "some")
    partly.made, partly.refused = 2, True
    cluster.tell("quota", "some")
    assert (cluster.bookings.may_show(("quota", "some")), cluster.standing("quota", "some")) == (2, Standing.ABSENT)
    cluster.decide("other", "one", 4, gated=True)
    assert cluster.standing("other", "one") is Standing.BOOKED


def test_a_pod_that_comes_later_gets_its_place_in_the_order_again() -> None:
    cluster = Cluster([1, 1])
    early = cluster.decide("a", "early", 1, gated=True)
    cluster.apply("a", "early")
    early.refused = True
    cluster.tell("a", "early")
    cluster.nodes[:] = [0]
    cluster.decide("a", "late", 1, gated=True)
    cluster.apply("a", "late")
    cluster.deployments["a", "late"].made = 1
    cluster.tell("a", "late")
    early.made, early.refused = 1, False
    cluster.tell("a", "early")
    cluster.nodes[:] = [1]
    cluster.tick()
    assert (cluster.standing("a", "early"), cluster.standing("a", "late")) == (Standing.BOOKED, Standing.WAITING)


@pytest.mark.thorough
def test_a_thousand_deployments_of_one_namespace_that_fail_cost_the_others_one_failure() -> None:
    cluster = Cluster([8])
    for number in range(200):
        cluster.decide("attacker", f"a{number:03}", 8)
    cluster.decide("honest", "one", 8)
    waited = 0
    while not cluster.deployments["honest", "one"].bound:
        for namespace, name in tuple(cluster.deployments):
            cluster.apply(namespace, name)
        cluster.serve("honest", "one")
        cluster.tick()
        waited += 1
        assert waited <= BIND_SECONDS + 3


def test_gpus_that_a_stuck_pod_makes_uncertain_are_lent_to_gated_pods_and_promised_to_nobody() -> None:
    cluster = Cluster([4])
    cluster.bookings.contend_beside(shape(1), 1)  # a stranger's pod with a node selector that nobody has
    cluster.decide("honest", "whole", 4, gated=True)
    cluster.apply("honest", "whole")
    cluster.deployments["honest", "whole"].made = 1
    seen = set()
    for _ in range(int(2 * IDLE_SECONDS) + 2):
        cluster.tick()
        cluster.tell("honest", "whole")
        seen.add(cluster.standing("honest", "whole"))
    assert cluster.bookings.may_show(("honest", "whole")) == 1
    assert seen == {Standing.WAITING}, "available is said of what is certain alone"


def test_of_many_gated_pods_no_more_are_lent_than_gpus_lie_idle() -> None:
    cluster = Cluster([4])
    cluster.bookings.contend_beside(shape(4), 9)
    for number in range(6):
        cluster.decide("honest", f"h{number}", 1, 2, gated=True)
        cluster.apply("honest", f"h{number}")
        cluster.deployments["honest", f"h{number}"].made = 2
    for _ in range(int(1.5 * IDLE_SECONDS)):
        cluster.tick()
        for number in range(6):
            cluster.tell("honest", f"h{number}")
    assert [cluster.bookings.may_show(("honest", f"h{number}")) for number in range(6)] == [2, 2, 0, 0, 0, 0]


def test_a_crowd_of_wishes_that_all_differ_is_judged_a_few_at_a_time() -> None:
    cluster = Cluster([8] * 20)
    asked: list[PodShape] = []

    def free(one: PodShape) -> dict[str, tuple[tuple[int, int], ...]]:
        asked.append(one)
        return cluster.free(one)

    for number in range(300):
        different = replace(shape(8), requests=PodRequests(gpus=8, host_memory_bytes=number + 1))
        demand = PodDemand(shape=different, desired=50, bound=0, waiting=50, visible=0, child_pods=50, gated=True, decided=f"{number:04}")
        cluster.bookings.put(("crowd", f"c{number:03}"), demand)
    cluster.bookings.contend_beside(shape(1), 1_000)  # nothing is certain beside these
    walks = CountedContenders(cluster.bookings._contenders)
    cluster.bookings._contenders = walks
    cluster.bookings.settle(free)
    assert walks.copies <= 32 * 8, "each look in vain is a handful of walks over the contenders"
    cluster.decide("honest", "one", 8, gated=True)
    assert cluster.standing("honest", "one") is Standing.WAITING


class CountedContenders(Counter[PodShape]):
    """Contenders that count how often somebody walks over a copy of them."""

    copies = 0

    def copy(self) -> CountedContenders:
        self.copies += 1
        return CountedContenders(self)


def test_strangers_pods_of_many_sizes_are_few_kinds_and_take_no_less() -> None:
    bookings = Bookings(Clock())
    for number in range(5_000):
        each = PodRequests(gpus=1 + number % 7, host_memory_bytes=1 + number, host_cpu_millis=number % 3)
        kind = bookings.few(PodShape(pools=(), products=(), requests=each))
        least = (each.gpus, each.host_memory_bytes, each.host_cpu_millis)
        assert (kind.requests.gpus, kind.requests.host_memory_bytes, kind.requests.host_cpu_millis) >= least
        bookings.contend_beside(kind, 1)
    assert len(bookings._contenders) <= MANY_KINDS + 8
