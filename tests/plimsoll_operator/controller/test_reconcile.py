"""The controller against the in-memory API server, with a small judge in place of the estimator."""

import json

import pytest
from tests.plimsoll_operator.cluster import NAME, NS
from tests.plimsoll_operator.fake_kube import new_deployment
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.reconcile_world import World

from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import NAME_LABEL, PLAN_ANNOTATION, PLAN_DIGEST_ANNOTATION, REPLAN_ANNOTATION
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    EVENTS,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    MODEL_PROFILES,
    NAMESPACES,
    NODES,
    SERVICES,
    Resource,
)
from plimsoll_operator.verdict import Plan

L4 = "NVIDIA-L4"


@pytest.fixture
def world() -> World:
    return World(None, gpu_node("a"))


def test_an_admitted_wish_becomes_deployment_service_status_and_one_event(world: World) -> None:
    world.wish()
    world.settle()
    assert "--max-model-len=8192" in world.arguments()
    assert world.one(SERVICES)["spec"]["selector"] == {NAME_LABEL: NAME}
    assert world.status()["plan"]["product"] == L4
    assert world.status()["observedGeneration"] == 1
    assert world.condition(kind="Feasible") == ("True", "Fits")
    events = world.kube.list_page(EVENTS).items
    assert [event["reason"] for event in events] == ["PlanApplied"]


def test_that_all_replicas_serve_is_an_event_once(world: World) -> None:
    world.wish()
    world.settle()
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    child = world.one(DEPLOYMENTS)
    world.kube.replace(DEPLOYMENTS, {**child, "status": {"observedGeneration": child["metadata"].get("generation", 0), **counts}})
    for _ in range(3):
        world.settle()
    assert world.condition(kind="Ready") == ("True", "Ready")
    assert [event["reason"] for event in world.kube.list_page(EVENTS).items] == ["PlanApplied", "Ready"]


def test_nothing_changed_means_nothing_is_written(world: World) -> None:
    world.wish()
    world.settle()
    assert world.writes(world.settle) == []


def test_one_wake_up_of_a_known_object_costs_no_second_decision(world: World) -> None:
    world.wish()
    world.settle()
    before = len(world.judge.seen)
    world.settle()
    assert len(world.judge.seen) == before


def test_a_new_spec_adopts_a_new_plan_and_scaling_does_not(world: World) -> None:
    world.wish()
    world.settle()
    template = world.one(DEPLOYMENTS)["spec"]["template"]
    world.wish(replicas=3)
    world.settle()
    assert world.one(DEPLOYMENTS)["spec"]["replicas"] == 3
    assert world.one(DEPLOYMENTS)["spec"]["template"] == template
    world.wish(replicas=3, maxModelLen=4096)
    world.settle()
    assert "--max-model-len=4096" in world.arguments()


def test_a_refused_new_spec_keeps_the_pods_and_says_so(world: World) -> None:
    world.wish(replicas=2)
    world.settle()
    template = world.one(DEPLOYMENTS)["spec"]["template"]
    world.wish(replicas=2, maxModelLen=200_000)
    world.settle()
    assert world.one(DEPLOYMENTS)["spec"]["template"] == template
    assert world.condition(kind="Stalled") == ("True", "InsufficientKvCache")
    assert world.status()["plan"]["maxModelLen"] == 8192
    (row,) = [row for row in world.status()["conditions"] if row["type"] == "Stalled"]
    assert "plan of generation 1" in row["message"]


def test_a_refused_new_spec_may_still_ask_for_fewer_pods_but_not_for_more(world: World) -> None:
    world.wish(replicas=2)
    world.settle()
    world.wish(replicas=5, maxModelLen=200_000)
    world.settle()
    assert world.one(DEPLOYMENTS)["spec"]["replicas"] == 2
    world.wish(replicas=1, maxModelLen=200_000)
    world.settle()
    assert world.one(DEPLOYMENTS)["spec"]["replicas"] == 1


def test_what_would_be_admitted_is_offered_in_status_until_it_is_done(world: World) -> None:
    world.wish(maxModelLen=200_000)
    world.settle()
    (offer,) = world.status()["offers"]
    assert json.loads(offer["patch"]) == {"spec": {"engine": {"maxModelLen": 8192}}}
    assert offer["summary"] == "With engine.maxModelLen 8192."
    world.wish(maxModelLen=8192)
    world.settle()
    assert "offers" not in world.status()


@pytest.mark.parametrize(
    ("model", "context", "reason"),
    [("Qwen/Qwen2.5-1.5B-Instruct", 200_000, "InsufficientKvCache"), ("acme/in-house", 8192, "UnknownModel")],
    ids=["a rejection makes no pods", "an undecided wish makes no pods"],
)
def test_what_is_not_admitted_has_no_children(world: World, model: str, context: int, reason: str) -> None:
    world.wish(model=model, maxModelLen=context)
    world.settle()
    assert world.kube.get(DEPLOYMENTS, NS, NAME) is None
    assert world.kube.get(SERVICES, NS, NAME) is None
    assert world.condition(kind="Stalled") == ("True", reason)
    assert "plan" not in world.status()


def test_a_profile_that_arrives_wakes_the_deployment_that_waits_for_it(world: World) -> None:
    world.wish(model="acme/in-house")
    world.settle()
    profile = {"model": "acme/in-house", "config": '{"architectures": ["LlamaForCausalLM"]}'}
    body = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "ModelProfile", "metadata": {"namespace": NS, "name": "p"}}
    world.kube.create(MODEL_PROFILES, {**body, "spec": profile})
    for informer in world.controller.informers:
        informer.relist()
    assert world.controller.queue.depth() == 1
    world.drain()
    assert world.condition(kind="Feasible") == ("True", "Fits")


def test_capacity_that_arrives_wakes_a_waiting_deployment() -> None:
    world = World()
    world.wish()
    world.settle()
    assert world.condition(kind="Feasible") == ("Unknown", "NoCapacityKnown")
    world.kube.create(NODES, gpu_node("late"))
    world.settle()
    assert world.condition(kind="Feasible") == ("True", "Fits")


def test_plans_are_sticky_and_a_better_one_is_only_proposed(world: World) -> None:
    world.wish()
    world.settle()
    world.bind(NAME, "a", "chat-1")
    world.kube.create(NODES, gpu_node("b", "NVIDIA-A10G", 8))
    world.settle()
    assert world.status()["plan"]["product"] == L4
    assert world.status()["proposedPlan"]["product"] == "NVIDIA-A10G"
    current = world.one(INFERENCE_DEPLOYMENTS)
    current["metadata"]["annotations"] = {REPLAN_ANNOTATION: "now"}
    world.kube.replace(INFERENCE_DEPLOYMENTS, current)
    world.settle()
    assert world.status()["plan"]["product"] == "NVIDIA-A10G"
    assert "proposedPlan" not in world.status()
    assert world.writes(world.settle) == []


def test_a_plan_without_live_pods_whose_gpus_are_gone_is_replaced(world: World) -> None:
    world.wish()
    world.settle()
    world.kube.delete(NODES, "", "a")
    world.kube.create(NODES, gpu_node("b", "NVIDIA-A10G"))
    world.settle()
    assert world.status()["plan"]["product"] == "NVIDIA-A10G"


def test_a_plan_with_live_pods_is_kept_even_when_its_nodes_are_gone(world: World) -> None:
    world.wish()
    world.settle()
    world.bind(NAME, "a", "chat-1")
    world.kube.delete(NODES, "", "a")
    world.kube.create(NODES, gpu_node("b", "NVIDIA-A10G"))
    world.settle()
    assert world.status()["plan"]["product"] == L4


def test_a_restarted_controller_rebuilds_lost_status_from_the_child_and_restarts_no_pod(world: World) -> None:
    world.wish()
    world.settle()
    plan, template = world.status()["plan"], world.one(DEPLOYMENTS)["spec"]["template"]
    lost = world.one(INFERENCE_DEPLOYMENTS)
    del lost["status"]
    world.kube.replace(INFERENCE_DEPLOYMENTS, lost)
    world.kube.create(NODES, gpu_node("b", "NVIDIA-A10G", 8))
    world.bind(NAME, "a", "chat-1")
    again = World(world.kube)
    again.settle()
    assert again.status()["plan"] == plan
    assert again.one(DEPLOYMENTS)["spec"]["template"] == template


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES], ids=["a deleted Deployment comes back", "a deleted Service comes back"])
def test_children_are_made_again_with_the_same_plan(world: World, resource: Resource) -> None:
    world.wish()
    world.settle()
    arguments = world.arguments()
    world.kube.create(NODES, gpu_node("b", "NVIDIA-A10G", 8))
    world.kube.delete(resource, NS, NAME)
    world.settle()
    world.one(resource)
    assert world.arguments() == arguments
    assert world.status()["plan"]["product"] == L4


def test_a_changed_child_is_put_right(world: World) -> None:
    world.wish()
    world.settle()
    child = world.one(DEPLOYMENTS)
    child["spec"]["template"]["spec"]["containers"][0]["args"] = ["something-else"]
    world.kube.replace(DEPLOYMENTS, child)
    world.settle()
    assert "--max-model-len=8192" in world.arguments()


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES], ids=["a Deployment of somebody else", "a Service of somebody else"])
def test_an_object_of_somebody_else_is_never_taken_over(world: World, resource: Resource) -> None:
    foreign = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"namespace": NS, "name": NAME}, "spec": {"x": 1}}
    world.kube.create(resource, foreign)
    world.wish()
    world.settle()
    assert world.one(resource)["spec"] == {"x": 1}
    assert world.condition(kind="Stalled") == ("True", "NameTaken")


def test_what_an_earlier_object_of_the_name_left_behind_makes_way(world: World) -> None:
    world.wish(maxModelLen=4096)
    world.settle()
    left = [(resource, world.one(resource)) for resource in (DEPLOYMENTS, SERVICES)]
    world.kube.delete(INFERENCE_DEPLOYMENTS, NS, NAME)
    for resource, manifest in left:  # the garbage collector has not come by yet
        del manifest["metadata"]["resourceVersion"]
        world.kube.create(resource, manifest)
    world.wish()
    world.settle()
    uid = world.one(INFERENCE_DEPLOYMENTS)["metadata"]["uid"]
    for resource in (DEPLOYMENTS, SERVICES):
        assert [owner["uid"] for owner in world.one(resource)["metadata"]["ownerReferences"]] == [uid]
    assert "--max-model-len=8192" in world.arguments()


def test_two_wishes_of_one_second_cannot_both_count_the_last_gpus() -> None:
    world = World(None, gpu_node("a", count=4), gpu_node("b", "NVIDIA-A10G", 3))
    world.settle()
    world.wish("first", replicas=2)
    world.wish("second", replicas=1)
    world.settle()
    assert world.status("first")["plan"]["product"] == L4
    assert world.status("second")["plan"]["product"] == "NVIDIA-A10G"
    pools = {pool["status"]["product"]: pool["status"] for pool in world.kube.list_page(GPU_POOLS).items}
    assert (pools[L4]["bookedGpus"], pools[L4]["freeGpus"]) == (2, 2)
    world.bind("first", "a", "first-1")
    world.settle()
    pools = {pool["status"]["product"]: pool["status"] for pool in world.kube.list_page(GPU_POOLS).items}
    assert (pools[L4]["bookedGpus"], pools[L4]["freeGpus"]) == (1, 2)


def test_bookings_survive_a_new_leader(world: World) -> None:
    world.wish(replicas=3)
    world.settle()
    again = World(world.kube)
    again.settle()
    (pool,) = again.kube.list_page(GPU_POOLS).items
    assert (pool["status"]["bookedGpus"], pool["status"]["freeGpus"]) == (3, 1)


def test_a_deleted_object_takes_its_booking_and_series_with_it(world: World) -> None:
    world.wish(replicas=3)
    world.settle()
    assert b'name="chat"' in world.controller.recorder.render()
    world.kube.delete(INFERENCE_DEPLOYMENTS, NS, NAME)
    world.controller.queue.add((NS, NAME))
    world.settle()
    (pool,) = world.kube.list_page(GPU_POOLS).items
    assert pool["status"]["bookedGpus"] == 0
    assert b'name="chat"' not in world.controller.recorder.render()
    assert world.kube.get(DEPLOYMENTS, NS, NAME) is None


def test_a_pool_without_nodes_goes_unless_a_user_has_put_something_into_it(world: World) -> None:
    world.kube.create(NODES, gpu_node("b", "NVIDIA-A10G"))
    world.settle()
    names = {pool["status"]["product"]: pool["metadata"]["name"] for pool in world.kube.list_page(GPU_POOLS).items}
    corrected = world.kube.get(GPU_POOLS, "", names["NVIDIA-A10G"])
    assert corrected is not None
    world.kube.replace(GPU_POOLS, {**corrected, "spec": {"cost": 5}})
    world.kube.delete(NODES, "", "a")
    world.kube.delete(NODES, "", "b")
    world.settle()
    assert [pool["metadata"]["name"] for pool in world.kube.list_page(GPU_POOLS).items] == [names["NVIDIA-A10G"]]


@pytest.mark.parametrize("verb", ["get", "apply", "create"], ids=["reading fails", "applying fails", "saying so fails"])
def test_a_refusal_of_the_api_server_loses_nothing(world: World, verb: str) -> None:
    world.settle()
    world.wish()
    world.kube.fail_next(verb, ApiFailure(503, "ServiceUnavailable", "later"))
    world.controller.queue.add((NS, NAME))
    world.drain()
    while world.controller.queue.depth():
        key = world.controller.queue.take(1)
        if key is not None:
            world.controller.worker.work_on(key)
    world.settle()
    assert world.condition(kind="Feasible") == ("True", "Fits")


def test_a_resync_finds_what_the_watcher_never_told(world: World) -> None:
    world.settle()
    world.wish("unheard")
    world.controller.relist.resync()
    world.drain()
    assert world.condition("unheard", "Feasible") == ("True", "Fits")


def test_nothing_is_made_in_a_namespace_that_is_being_deleted(world: World) -> None:
    world.wish()
    metadata = {"name": NS, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    world.kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    assert "Deployment" not in world.writes(world.settle)


def test_an_object_that_the_api_does_not_know_is_stalled_once_and_not_retried_for_ever(world: World) -> None:
    world.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, NAME, {"model": {"name": "a/b"}, "engine": {"image": 5}}))
    world.settle()
    assert world.condition(kind="Stalled") == ("True", "Invalid")
    assert world.writes(world.settle) == []


def test_plan_and_status_agree_and_can_be_read_back(world: World) -> None:
    world.wish()
    world.settle()
    annotations = world.one(DEPLOYMENTS)["metadata"]["annotations"]
    assert world.status()["plan"]["digest"] == annotations[PLAN_DIGEST_ANNOTATION] == Plan.from_json(annotations[PLAN_ANNOTATION]).digest
