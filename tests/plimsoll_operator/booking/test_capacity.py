"""Booked, held and gated deployments against the in-memory API server: what is applied, what is told, what is taken back."""

from __future__ import annotations

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.controller.booking.demand import BIND_SECONDS
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import CAPACITY_GATE, DECIDED_ANNOTATION
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, NODES, PODS


def test_pods_are_made_when_their_gpus_are_booked_and_after_those_booked_before() -> None:
    world = World(4)
    for name in ("first", "second"):
        world.wish(name, 4)
    world.work()
    assert world.condition("first") == ("True", "Booked")
    assert (world.child("second"), world.condition("second")) == (None, ("False", "WaitingForTurn"))
    assert world.condition("second", "Feasible") == ("True", "Fits")
    world.pod("first", 4, "n0")
    world.work()
    assert world.condition("first") == ("True", "Bound")
    assert world.condition("second") == ("False", "WaitingForGpus")
    assert world.child("second") is not None, "the scheduler and autoscalers see what waits"


def feasible(world: World, name: str) -> str:
    return next(str(row["message"]) for row in world.status(name)["conditions"] if row["type"] == "Feasible")


def test_status_never_says_that_pods_wait_which_are_on_nodes() -> None:
    world = World(4)
    world.wish("first", 4)
    world.work()
    world.pod("first", 4, "n0")
    world.work()
    world.wish("second", 4)
    world.work()
    assert world.condition("second") == ("False", "WaitingForGpus")
    world.pod("second", 4)
    world.controller.relist.resync()
    world.work()
    world.kube.delete(PODS, NS, "first-1")
    world.kube.delete(INFERENCE_DEPLOYMENTS, NS, "first")
    world.controller.queue.add((NS, "first"))
    world.bind("second", "n0")
    world.work()
    assert world.condition("second") == ("True", "Bound")
    assert "wait" not in feasible(world, "second"), feasible(world, "second")


def test_pods_that_the_scheduler_does_not_take_are_no_longer_called_available() -> None:
    world = World(4)
    world.wish("first", 4)
    world.wish("second", 2)
    world.work()
    world.pod("first", 4)
    world.work()
    world.clock.now += BIND_SECONDS + 1
    world.controller.ledger.expire()
    world.work()
    assert world.condition("first") == ("False", "NotScheduled")
    assert world.child("second") is not None


def test_what_is_booked_is_taken_back_when_the_child_is_refused_for_good() -> None:
    world = World(4)
    world.kube.fail_next("apply", ApiFailure(403, "Forbidden", "exceeded quota: gpus"))
    world.wish("refused", 4)
    world.work()
    assert world.condition("refused", "Stalled") == ("True", "ApplyRefused")
    assert world.condition("refused") == ("False", "WaitingForGpus")
    world.wish("other", 4)
    world.work()
    assert world.condition("other") == ("True", "Booked")


def test_a_refusal_that_may_pass_keeps_the_booking_and_is_tried_again() -> None:
    world = World(4)
    world.wish("first", 4)
    world.kube.fail_next("apply", ApiFailure(503, "ServiceUnavailable", "later"))
    world.work()
    world.wish("second", 4)
    world.work()
    assert world.child("second") is None
    world.clock.now += 1
    world.work()
    assert world.condition("first") == ("True", "Booked")


def test_a_child_that_is_refused_for_good_keeps_what_its_older_form_has() -> None:
    world = World(4)
    world.wish("grows", 1)
    world.work()
    world.pod("grows", 1, "n0")
    world.work()
    world.kube.fail_next("apply", ApiFailure(422, "Invalid", "no"))
    world.wish("grows", 1, 4)
    world.work()
    world.wish("other", 1, 3)
    world.work()
    assert world.condition("other") == ("True", "Booked")


def pending(world: World, name: str, gpus: int, **spec: object) -> None:
    """A pod of somebody else that no node has taken yet."""
    container = {"name": "busy", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "foreign", "name": name}}
    world.kube.create(PODS, {**body, "spec": {"containers": [container], **spec}, "status": {"phase": "Pending"}})


def test_gpus_that_a_pending_pod_of_others_may_take_are_promised_to_nobody() -> None:
    world = World(4)
    pending(world, "rival", 1)
    world.hear()
    world.wish("whole-node", 4)
    world.wish("small", 2)
    world.work()
    assert world.condition("whole-node") == ("False", "WaitingForGpus")
    assert world.child("whole-node") is not None, "but the scheduler may choose it"


@pytest.mark.parametrize(
    ("why", "gpus", "spec"),
    [
        ("it waits behind a gate", 1, {"schedulingGates": [{"name": "example.com/later"}]}),
        ("no node has that many", 8, {}),
        ("it asks for none", 0, {}),
    ],
)
def test_a_pod_of_others_that_can_take_nothing_now_is_no_concern(why: str, gpus: int, spec: dict[str, object]) -> None:
    world = World(4)
    pending(world, "rival", gpus, **spec)
    world.hear()
    world.wish("whole-node", 4)
    world.work()
    assert world.condition("whole-node") == ("True", "Booked"), why


def test_the_extra_pod_of_a_rollout_is_counted_while_it_looks_for_a_node() -> None:
    world = World(4)
    world.wish("rolls", 1)
    world.work()
    world.pod("rolls", 1, "n0")
    world.pod("rolls", 1, suffix="2")
    world.work()
    world.wish("rest", 1, 3)
    world.work()
    assert world.condition("rest") == ("False", "WaitingForGpus")
    assert world.condition("rolls") == ("True", "Bound")


def test_gated_pods_exist_at_once_and_their_gates_lift_in_decision_order() -> None:
    world = World(2)
    for name in ("a", "b"):
        world.wish(name, 2, waitForCapacity=True)
    world.work()
    for name in ("a", "b"):
        child = world.child(name)
        assert child is not None
        assert child["spec"]["template"]["spec"]["schedulingGates"] == [{"name": CAPACITY_GATE}]
        world.pod(name, 2, gates=(CAPACITY_GATE, "kueue.x-k8s.io/admission"))
    world.work()
    assert world.gates("a") == ["kueue.x-k8s.io/admission"], "other people's gates stay"
    assert world.gates("b") == [CAPACITY_GATE, "kueue.x-k8s.io/admission"]
    assert (world.condition("a"), world.condition("b")) == (("True", "Booked"), ("False", "WaitingForGpus"))


def test_only_as_many_gates_lift_as_are_booked_also_when_the_informer_lags() -> None:
    world = World(2)
    world.wish("a", 1, 3, waitForCapacity=True)
    world.work()
    for suffix in ("3", "1", "2"):
        world.pod("a", 1, suffix=suffix, gates=(CAPACITY_GATE,))
    world.hear()
    for _ in range(3):  # looks at it again before it has heard of the lifted gates
        world.controller.queue.add((NS, "a"))
        key = world.controller.queue.take(0)
        assert key is not None
        world.controller.worker.work_on(key)
    assert [bool(world.gates("a", suffix)) for suffix in ("1", "2", "3")] == [False, False, True]
    world.work()
    world.bind("a", "n0", "1")
    world.bind("a", "n0", "2")
    world.work()
    assert world.gates("a", "3")
    assert world.condition("a") == ("False", "WaitingForGpus")


def test_gates_lift_in_the_old_order_after_a_change_of_leader() -> None:
    world = World(4)
    world.wish("holder", 4)
    world.work()
    world.pod("holder", 4, "n0")
    for name in ("z-early", "a-late"):
        world.wish(name, 4, waitForCapacity=True)
        world.work()
        world.pod(name, 4, gates=(CAPACITY_GATE,))
    world.work()
    assert world.annotation("z-early", DECIDED_ANNOTATION) < world.annotation("a-late", DECIDED_ANNOTATION)
    again = World(kube=world.kube)
    for name in ("a-late", "z-early"):
        again.controller.queue.add((NS, name))
    again.work()
    assert (again.gates("z-early"), again.gates("a-late")) == ([CAPACITY_GATE], [CAPACITY_GATE])
    again.kube.delete(INFERENCE_DEPLOYMENTS, NS, "holder")
    again.kube.delete(PODS, NS, "holder-1")
    again.controller.queue.add((NS, "holder"))
    again.work()
    assert (again.gates("z-early"), again.gates("a-late")) == ([], [CAPACITY_GATE])


def test_a_new_leader_counts_what_was_promised_before_it_decides_anything() -> None:
    world = World(4)
    world.wish("promised", 4)
    world.work()
    again = World(kube=world.kube)
    again.wish("newcomer", 4)
    again.work()
    assert again.child("newcomer") is None
    assert again.condition("newcomer") == ("False", "WaitingForTurn")


def test_a_new_leader_drops_what_was_promised_to_a_deployment_that_is_gone() -> None:
    world = World(4)
    world.wish("gone", 4)
    world.work()
    again = World(kube=world.kube)
    again.kube.delete(INFERENCE_DEPLOYMENTS, NS, "gone")
    again.work()
    again.wish("newcomer", 4)
    again.work()
    assert again.condition("newcomer") == ("True", "Booked")


def test_a_deployment_keeps_its_place_while_it_is_held_and_a_new_spec_takes_a_new_one() -> None:
    world = World(4)
    world.wish("first", 4)
    world.wish("second", 4)
    world.work()
    before = world.controller.ledger.reserved((NS, "second"))
    world.controller.queue.add((NS, "second"))
    world.work()
    assert world.controller.ledger.reserved((NS, "second")) == before
    place = world.annotation("first", DECIDED_ANNOTATION)
    world.wish("first", 2)
    world.work()
    assert world.annotation("first", DECIDED_ANNOTATION) > place


def test_scaling_up_waits_its_turn_and_scaling_down_does_not() -> None:
    world = World(4)
    world.wish("grows", 1)
    world.work()
    world.pod("grows", 1, "n0")
    world.work()
    world.wish("other", 2)
    world.work()
    world.wish("grows", 1, 3)
    world.work()
    child = world.child("grows")
    assert child is not None
    assert child["spec"]["replicas"] == 1
    world.pod("other", 2, "n0")
    world.work()
    child = world.child("grows")
    assert child is not None
    assert child["spec"]["replicas"] == 3
    world.wish("grows", 1, 0)
    world.work()
    child = world.child("grows")
    assert child is not None
    assert child["spec"]["replicas"] == 0


@pytest.mark.parametrize("field", ["priorityClassName", "schedulerName"])
def test_the_pods_carry_class_and_scheduler_and_a_changed_one_is_a_new_wish(field: str) -> None:
    world = World(4)
    world.wish("a", 1, 1, **{field: "one"})
    world.work()
    child = world.child("a")
    assert child is not None
    assert child["spec"]["template"]["spec"][field] == "one"
    world.wish("a", 1, 1, **{field: "two"})
    world.work()
    child = world.child("a")
    assert child is not None
    assert child["spec"]["template"]["spec"][field] == "two"


DISKS = [
    ("the disk holds both downloads", "25Gi", "", {("True", "Booked")}),
    ("the disk holds one, which the first has booked", "15Gi", "", {("True", "Booked"), ("False", "WaitingForTurn")}),
    ("a pod of others may take the disk first", "35Gi", "32Gi", {("False", "WaitingForGpus")}),
    ("a pod of others leaves enough", "35Gi", "1Gi", {("True", "Booked")}),
    ("nothing is known of the disk", "0", "", {("True", "Booked")}),
]


@pytest.mark.parametrize(("why", "disk", "rival", "expected"), DISKS, ids=[row[0] for row in DISKS])
def test_what_is_called_available_has_its_node_s_disk_for_certain(why: str, disk: str, rival: str, expected: set[tuple[str, str]]) -> None:
    world = World()
    node = gpu_node("n0", count=8)
    node["status"]["allocatable"]["ephemeral-storage"] = disk
    world.kube.create(NODES, node)
    if rival:
        asked = {"limits": {"nvidia.com/gpu": "1"}, "requests": {"ephemeral-storage": rival}}
        pending(world, "rival", 1, containers=[{"name": "busy", "resources": asked}])
    world.hear()
    for name in ("first", "second"):
        world.wish(name, 1)
        world.work()
    assert {world.condition(name) for name in ("first", "second")} == expected
