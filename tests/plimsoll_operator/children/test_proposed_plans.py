"""A plan that stays where it is while other GPUs would do better: proposed with how to adopt it, and no pod is touched."""

import pytest
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.names import REPLAN_ANNOTATION
from plimsoll_operator.ports import EVENTS, INFERENCE_DEPLOYMENTS, NODES, PODS

H100 = "NVIDIA-H100-80GB-HBM3"


def h100(name: str, gpus: int = 8) -> dict[str, object]:
    return gpu_node(name, H100, gpus, 81559)


@pytest.fixture
def world() -> World:
    """Four L4, of which one replica runs on one, and eight H100 that nobody uses."""
    found = World(4)
    found.kube.create(NODES, h100("big"))
    found.hear()
    found.wish("runs", 1)
    found.work()
    found.pod("runs", 1, "n0")
    found.work()
    assert found.status("runs")["plan"]["product"] == "NVIDIA-L4"
    return found


def message(world: World) -> str:
    (found,) = [row["message"] for row in world.status("runs")["conditions"] if row["type"] == "CapacityAvailable"]
    return str(found)


def test_scaled_beyond_its_pool_the_gpus_that_have_room_are_proposed_with_how_to_adopt_them(world: World) -> None:
    assert "proposedPlan" not in world.status("runs"), "what is on the cheapest GPUs is left in peace"
    world.wish("runs", 1, replicas=6)
    world.work()
    status = world.status("runs")
    assert (status["plan"]["product"], status["proposedPlan"]["product"]) == ("NVIDIA-L4", H100)
    assert f"1 x {H100} a replica have room" in message(world)
    assert REPLAN_ANNOTATION in message(world)
    (note,) = [row["note"] for row in world.kube.list_page(EVENTS).items if row["reason"] == "PlanProposed"]
    assert f'kubectl annotate infd runs {REPLAN_ANNOTATION}="$(date +%s)" --overwrite' in note

    raw = world.kube.get(INFERENCE_DEPLOYMENTS, "team", "runs")
    assert raw is not None
    raw["metadata"]["annotations"] = {REPLAN_ANNOTATION: "now"}
    world.kube.replace(INFERENCE_DEPLOYMENTS, raw)
    world.controller.queue.add(("team", "runs"))
    world.work()
    assert world.status("runs")["plan"]["product"] == H100
    assert "proposedPlan" not in world.status("runs")


def test_where_the_others_have_no_room_either_nothing_is_proposed(world: World) -> None:
    world.wish("runs", 1, replicas=200)
    world.work()
    assert "proposedPlan" not in world.status("runs")
    assert "have room" not in message(world)


def test_when_its_own_pool_has_grown_the_proposal_goes(world: World) -> None:
    world.wish("runs", 1, replicas=6)
    world.work()
    assert "proposedPlan" in world.status("runs")
    world.kube.create(NODES, gpu_node("n1", count=4))
    world.work()
    world.controller.relist.resync()
    world.work()
    assert "proposedPlan" not in world.status("runs")


def test_a_change_there_and_back_is_proposed_back(world: World) -> None:
    world.wish("runs", 1, gpuProducts=[H100])
    world.work()
    assert world.status("runs")["plan"]["product"] == H100
    world.wish("runs", 1)
    world.work()
    status = world.status("runs")
    assert (status["plan"]["product"], status["proposedPlan"]["product"]) == (H100, "NVIDIA-L4")
    assert world.writes(world.work) == [], "and it is said once"


def test_a_node_that_is_lost_is_answered_with_the_gpus_that_have_room_and_its_return_takes_that_back() -> None:
    world = World(1)
    second = gpu_node("n1", count=1)
    for node in (second, h100("big")):
        world.kube.create(NODES, node)
    world.hear()
    world.wish("runs", 1, replicas=2)
    world.work()
    world.pod("runs", 1, "n0")
    world.pod("runs", 1, "n1", suffix="2")
    world.work()
    assert world.status("runs")["plan"]["product"] == "NVIDIA-L4"
    assert "proposedPlan" not in world.status("runs")
    world.kube.delete(NODES, "", "n1")
    world.work()
    world.kube.delete(PODS, "team", "runs-2")
    world.work()
    assert world.status("runs")["proposedPlan"]["product"] == H100
    assert f"1 x {H100} a replica have room" in message(world)
    world.kube.create(NODES, second)
    world.work()
    world.controller.relist.resync()
    world.work()
    assert "proposedPlan" not in world.status("runs")


def test_who_waits_is_told_of_nodes_that_take_no_pods() -> None:
    world = World(1)
    world.kube.create(NODES, gpu_node("n1", count=1, unschedulable=True))
    world.hear()
    world.wish("runs", 1, replicas=2)
    world.work()
    world.pod("runs", 1, "n0")
    world.pod("runs", 1, suffix="2")
    world.work()
    assert "waiting for free GPUs; cordoned: nothing is free there (1 of 2 nodes)" in message(world)
