"""Pods in the ledger: whose they are, and that nothing is left counted whatever events come twice, are lost or are forged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator import plans
from tests.plimsoll_operator.cluster import Clock, of_replica_set
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.booking.reservation import Reservation
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.group import GROUP_INDEX_LABEL
from plimsoll_operator.names import CAPACITY_GATE, NAME_LABEL, WORKER_LABEL
from plimsoll_operator.owner import HASH_LABEL, deployment_of
from plimsoll_operator.ports import Key, Manifest

PLAN = replace(plans.PLAN, tensor_parallel_size=2, gpus_per_replica=2)
SHARED = replace(PLAN, sharing="time-slicing", gpus_per_replica=1)


def owned(kind: str, name: str, controller: object = True) -> Manifest:
    return {"ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": controller}]}


def worker(group: str) -> Manifest:
    return {"labels": {WORKER_LABEL: "chat", GROUP_INDEX_LABEL: group}}


RS = "ReplicaSet"
WHOSE: list[tuple[str, dict[str, Any], str | None]] = [
    ("a ReplicaSet of the Deployment", of_replica_set("chat"), "chat"),
    ("the label alone, which anybody may set", {"labels": {NAME_LABEL: "chat", HASH_LABEL: "5d4f"}}, None),
    ("a ReplicaSet of another Deployment", {"labels": {NAME_LABEL: "chat", HASH_LABEL: "1"}, **owned(RS, "other-1")}, None),
    ("of one whose name begins alike", {"labels": {NAME_LABEL: "chat", HASH_LABEL: "1"}, **owned(RS, "chat-big-1")}, None),
    ("an owner that does not control it", {**of_replica_set("chat"), **owned(RS, "chat-5d4f", False)}, None),
    ("a Job of that name", {**of_replica_set("chat"), **owned("Job", "chat-5d4f")}, None),
    ("a leader", {"labels": {NAME_LABEL: "chat"}, **owned("StatefulSet", "chat-group")}, "chat"),
    ("a worker", {**worker("3"), **owned("StatefulSet", "chat-group-3")}, "chat"),
    ("another group's", {**worker("3"), **owned("StatefulSet", "chat-group-4")}, None),
    ("owners that are no list", {**of_replica_set("chat"), "ownerReferences": "chat-5d4f"}, None),
    ("an owner without a name", {"labels": {NAME_LABEL: "chat"}, "ownerReferences": [{"controller": True, "kind": RS}]}, None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "metadata", "whose"), WHOSE, ids=[row[0] for row in WHOSE])
def test_a_pod_is_of_the_deployment_whose_child_controls_it(why: str, metadata: Manifest, whose: str | None) -> None:
    found = deployment_of({"namespace": "team", "name": "p", **metadata})
    assert found == (("team", whose) if whose is not None else None), why
    kept = trim.pod({"metadata": {"namespace": "team", "name": "p", **metadata}, "spec": {}})["metadata"]
    assert deployment_of(kept) == found, "what the cache keeps says the same"


def ledger(*gpus: int, clock: Clock | None = None, **labels: str) -> Ledger:
    found = Ledger(clock or Clock())
    for index, count in enumerate(gpus):
        found.node_changed(("", f"n{index}"), None, trim.node(gpu_node(f"n{index}", count=count, labels=labels)))
    return found


def pod(name: str, uid: str = "", node: str = "", gpus: int = 2, gates: tuple[str, ...] = (), **metadata: Any) -> Manifest:
    return trim.pod(gpu_pod(name, node, gpus, uid=uid, gates=gates, **metadata))


def free(found: Ledger) -> int:
    return sum(pool.free_gpus for pool in found.pools())


def test_a_pod_that_took_the_name_of_one_whose_deletion_was_lost_is_counted_alone() -> None:
    found = ledger(8)
    before = pod("chat-group-0", "first", "n0", **of_replica_set("chat"))
    found.pod_changed(("team", "chat-group-0"), None, before)
    after = pod("chat-group-0", "second", "n0", **of_replica_set("chat"))
    found.pod_changed(("team", "chat-group-0"), before, after)
    assert (found.bound(("team", "chat")), free(found)) == (1, 6)
    found.pod_changed(("team", "chat-group-0"), after, None)
    assert (found.bound(("team", "chat")), free(found)) == (0, 8)


def test_a_pod_that_changes_hands_is_counted_where_it_is_now() -> None:
    found = ledger(8)
    ours = pod("p", node="n0", **of_replica_set("chat"))
    found.pod_changed(("team", "p"), None, ours)
    theirs = pod("p", node="n0")
    assert found.pod_changed(("team", "p"), ours, theirs) == ("team", "chat"), "its deployment has to hear of it"
    assert (found.bound(("team", "chat")), free(found)) == (0, 6)


def test_a_stranger_s_pod_may_be_called_as_a_deployment_is() -> None:
    found = ledger(4)
    found.pod_changed(("team", "chat"), None, pod("chat", gpus=1))
    found.reserve(("team", "chat"), Reservation(plan=PLAN, replicas=1))
    found.reserve(("team", "chat"), None)
    found.reserve(("team", "whole"), Reservation(plan=replace(PLAN, gpus_per_replica=4), replicas=1))
    assert found.standing(("team", "whole")) != "Booked", "the stranger's pod may still take a GPU"


def test_labelled_pods_that_nobody_made_neither_count_nor_get_their_gates_lifted() -> None:
    found = ledger(8)
    key = ("team", "chat")
    found.reserve(key, Reservation(plan=PLAN, replicas=1, gated=True, child_replicas=1))
    for number in range(50):
        forged = pod(f"f{number}", gates=(CAPACITY_GATE,), labels={NAME_LABEL: "chat"})
        found.pod_changed(("team", f"f{number}"), None, forged)
    assert found.gated(key) == ()
    assert (free(found), found.bound(key)) == (6, 0)


def test_a_pod_of_another_size_than_the_plan_s_is_a_stranger_to_its_bookings() -> None:
    found = ledger(8)
    key = ("team", "chat")
    found.pod_changed(("team", "giant"), None, pod("giant", gpus=8, **of_replica_set("chat")))
    found.reserve(key, Reservation(plan=PLAN, replicas=1, child_replicas=1))
    assert found.standing(key) != "Booked", "it may take the whole node"
    assert free(found) == 6, "but one pod of two GPUs is what the plan misses"


def shared_ledger() -> Ledger:
    labels = {"nvidia.com/gpu.sharing-strategy": "time-slicing", "nvidia.com/gpu.replicas": "4"}
    node = gpu_node("n0", count=1, labels=labels)
    node["status"]["allocatable"]["nvidia.com/gpu"] = "4"
    found = Ledger(Clock())
    found.node_changed(("", "n0"), None, trim.node(node))
    return found


SHARERS = [
    ("a planned pod is no stranger", {**of_replica_set("chat")}, True, 1, 0),
    ("a label makes no pod planned", {"labels": {NAME_LABEL: "chat"}}, True, 1, 1),
    ("nor does a name without a deployment", {**of_replica_set("chat")}, False, 1, 1),
    ("nor do more pods than the plan has, and one beside", {**of_replica_set("chat")}, True, 4, 2),
]


@pytest.mark.parametrize(("why", "metadata", "promised", "pods", "strangers"), SHARERS, ids=[row[0] for row in SHARERS])
def test_strangers_on_time_sliced_cards_are_known_by_their_owner(
    why: str, metadata: Manifest, promised: bool, pods: int, strangers: int
) -> None:
    found = shared_ledger()
    for number in range(pods):
        found.pod_changed(("team", f"p{number}"), None, pod(f"p{number}", node="n0", gpus=1, **metadata))
    if promised:
        found.reserve(("team", "chat"), Reservation(plan=SHARED, replicas=1, child_replicas=1))
    assert sum(pool.foreign_gpus for pool in found.pools()) == strangers, why
    found.reserve(("team", "chat"), None)
    assert sum(pool.foreign_gpus for pool in found.pools()) == pods


NAMES = ("a", "b", "c")
OWNERS: tuple[Manifest, ...] = (
    of_replica_set("x"), of_replica_set("y"), {}, {"labels": {NAME_LABEL: "x"}},
    {"labels": {NAME_LABEL: "x"}, **owned("StatefulSet", "x-group")},
)  # fmt: skip
PODS = st.builds(
    pod,
    name=st.just(""),
    uid=st.sampled_from(["1", "2", "3"]),
    node=st.sampled_from(["", "", "n0", "n1", "gone"]),
    gpus=st.sampled_from([0, 1, 2, 1_000_000]),
    gates=st.sampled_from([(), (CAPACITY_GATE,), ("other",)]),
)
CHANGES = st.tuples(st.sampled_from(NAMES), st.none() | PODS, st.sampled_from(OWNERS), st.booleans())
PROMISES = st.tuples(
    st.sampled_from(["x", "y"]), st.none() | st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.booleans(), st.booleans())
)
STEPS = st.lists(st.one_of(CHANGES, PROMISES, st.floats(0, 20)), max_size=30)


@law(150)
@given(STEPS)
def test_after_everything_is_deleted_nothing_is_left_counted(steps: list[Any]) -> None:  # noqa: C901 one walk, told in its order
    clock = Clock()
    found = ledger(4, 8, clock=clock)
    cache: dict[Key, Manifest] = {}

    def change(key: Key, new: Manifest | None) -> None:
        """What an informer tells: its last news of the object, and the new; a deletion that was lost shows as another uid."""
        old = cache.pop(key, None)
        if new is not None:
            cache[key] = new
        found.pod_changed(key, old, new)

    for step in steps:
        if isinstance(step, float):
            clock.now += step
            found.expire()
        elif len(step) == 4:
            name, made, metadata, twice = step
            key = ("team", name)
            new = None
            if made is not None:
                body = {"name": name, "namespace": "team", "uid": f"{name}-{made['metadata']['uid']}", **metadata}
                new = trim.pod({**made, "metadata": body})
            for _ in range(1 + twice):
                change(key, new)
        else:
            name, wish = step
            promise = None
            if wish is not None:
                replicas, child, gated, refused = wish
                promise = Reservation(plan=PLAN, replicas=replicas, child_replicas=child, gated=gated, refused=refused, decided="1")
            found.reserve(("team", name), promise)
        assert free(found) >= 0
    for key in tuple(cache):
        change(key, None)
    for name in ("x", "y"):
        found.reserve(("team", name), None)
    clock.now += 10_000
    found.expire()
    assert [(pool.free_gpus, pool.booked_gpus, pool.foreign_gpus, pool.problems) for pool in found.pools()] == [
        (4, 0, 0, ()),
        (8, 0, 0, ()),
    ]
    assert found.reserve(("team", "all"), Reservation(plan=PLAN, replicas=6)) == "Booked"
    assert not found._beside


def made_up(number: int, count: int = 3000, *, node: str = "") -> Manifest:
    """A pod of a stranger's that asks for thousands of kinds of GPU that nobody offers, as the API server takes it."""
    limits = {f"amd.com/{number}-{index}": "1" for index in range(count)} | {"nvidia.com/gpu": "1"}
    spec: Manifest = {"containers": [{"resources": {"limits": limits}}]} | ({"nodeName": node} if node else {})
    return trim.pod({"metadata": {"namespace": "evil", "name": f"p{number}", "uid": f"u{number}"}, "spec": spec, "status": {}})


def test_kinds_of_gpu_that_no_node_offers_buy_neither_work_nor_memory() -> None:
    found = ledger(8)
    for number in range(50):
        found.pod_changed(("evil", f"p{number}"), None, made_up(number))
    assert {shape.resource for shape in found._bookings._contenders} == {"nvidia.com/gpu"}
    assert len(str(made_up(0))) < 2000


def test_a_kind_of_gpu_counts_from_when_a_node_offers_it() -> None:
    found = ledger(8)
    pod = made_up(0, 1)
    found.pod_changed(("evil", "p0"), None, pod)
    assert "amd.com/0-0" not in {shape.resource for shape in found._bookings._contenders}
    node = gpu_node("odd", count=8)
    node["status"]["allocatable"]["amd.com/0-0"] = "8"
    for _ in range(2):  # an event may be told twice
        found.node_changed(("", "odd"), None, node)
    assert "amd.com/0-0" in {shape.resource for shape in found._bookings._contenders}
    found.node_changed(("", "odd"), node, None)
    assert "amd.com/0-0" not in {shape.resource for shape in found._bookings._contenders}
    found.pod_changed(("evil", "p0"), pod, None)
    assert not found._bookings._contenders
