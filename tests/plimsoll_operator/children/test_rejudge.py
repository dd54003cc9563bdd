"""Re-judgement against the in-memory API server: what changes around an applied plan is told, and no pod is touched by it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import new_deployment
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.names import (
    DECIDED_ANNOTATION,
    GENERATION_ANNOTATION,
    PLAN_ANNOTATION,
    PLAN_DIGEST_ANNOTATION,
    REPLAN_ANNOTATION,
    SPEC_DIGEST_ANNOTATION,
)
from plimsoll_operator.ports import (
    CLUSTER_MODEL_PROFILES,
    DEPLOYMENTS,
    ENGINE_CALIBRATIONS,
    EVENTS,
    FIT_POLICIES,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    NODES,
    PODS,
    Manifest,
    Resource,
)
from plimsoll_operator.render import Origin, render_workload
from plimsoll_operator.verdict import Plan

MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
POLICY: Manifest = {"maxGpusPerReplica": 1}


def create(world: World, resource: Resource, name: str, spec: Manifest) -> None:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
    world.kube.create(resource, body)


@pytest.fixture
def world() -> World:
    """One deployment of two GPUs that runs on its plan."""
    found = World(4)
    found.controller.pool_writer.write()
    found.wish("runs", 2)
    found.work()
    found.pod("runs", 2, "n0")
    found.work()
    assert found.condition("runs") == ("True", "Bound")
    return found


def look(world: World) -> None:
    """What happens by itself: caches hear, pools are written, woken keys are worked on."""
    world.hear()
    world.controller.pool_writer.write()
    world.work()


def events(world: World) -> list[str]:
    return [row["reason"] for row in world.kube.list_page(EVENTS).items]


def cap_gpus(world: World) -> None:
    create(world, FIT_POLICIES, "default", POLICY)


def correct_the_pool(world: World) -> None:
    (pool,) = world.kube.list_page(GPU_POOLS).items
    world.kube.replace(GPU_POOLS, {**pool, "spec": {"usableMemoryBytes": 20 << 30, "product": "NVIDIA-L4"}})


def reserve_more(world: World) -> None:
    create(world, FIT_POLICIES, "default", {"reserveBytes": "2Gi"})


@pytest.mark.parametrize("change", [correct_the_pool, reserve_more], ids=["a pool is corrected", "the policy reserves more"])
def test_another_plan_is_only_proposed_said_once_and_counted(world: World, change: Callable[[World], None]) -> None:
    plan, child = world.status("runs")["plan"], world.child("runs")
    change(world)
    look(world)
    proposed = world.status("runs")["proposedPlan"]
    assert proposed["gpuMemoryUtilization"] != plan["gpuMemoryUtilization"]
    assert world.status("runs")["plan"] == plan
    assert world.child("runs") == child, "the pods' template is not touched"
    assert world.condition("runs", "Feasible")[0] == "True"
    assert events(world).count("PlanProposed") == 1
    assert b'plimsoll_plan_rejudged{name="runs",namespace="team",verdict="Proposed"} 1.0' in world.controller.recorder.render()
    world.controller.relist.resync()
    assert world.writes(lambda: look(world)) == [], "said once"


def test_a_plan_that_would_be_refused_today_runs_on_and_says_so(world: World) -> None:
    child = world.child("runs")
    cap_gpus(world)
    look(world)
    assert world.condition("runs", "Feasible") == ("False", "PolicyCap")
    assert world.condition("runs", "Stalled") == ("False", "NotStalled")
    assert world.child("runs") == child
    assert events(world).count("PolicyCap") == 1
    assert b'plimsoll_plan_rejudged{name="runs",namespace="team",verdict="Reject"} 1.0' in world.controller.recorder.render()
    world.kube.delete(FIT_POLICIES, "", "default")
    look(world)
    assert world.condition("runs", "Feasible") == ("True", "Fits")
    assert b"plimsoll_plan_rejudged{" not in world.controller.recorder.render()
    cap_gpus(world)
    look(world)
    assert events(world).count("PolicyCap") == 1, "the same thing said again is the same event"


def test_another_shape_of_the_model_is_judged_and_the_pods_run_on(world: World) -> None:
    child = world.child("runs")
    config = '{"architectures": ["NobodyKnowsForCausalLM"], "model_type": "nobody"}'
    create(world, CLUSTER_MODEL_PROFILES, "other-shape", {"model": MODEL, "config": config})
    look(world)
    assert world.condition("runs", "Feasible")[0] == "Unknown"
    assert world.child("runs") == child


@pytest.mark.parametrize("resource", [FIT_POLICIES, ENGINE_CALIBRATIONS], ids=["a policy", "a calibration"])
def test_every_deployment_is_looked_at_again_when_this_changes(world: World, resource: Resource) -> None:
    assert world.controller.queue.depth() == 0
    create(world, resource, "default", {})
    world.hear()
    assert world.controller.queue.depth() == 1


def test_nodes_that_come_or_go_have_everything_judged_again_and_gpus_that_come_free_do_not(world: World) -> None:
    world.kube.create(NODES, gpu_node("b", "NVIDIA-H100-80GB-HBM3", 8, 81559))
    world.hear()
    world.controller.pool_writer.write()
    assert world.controller.queue.depth() == 1
    world.work()
    world.kube.create(NODES, gpu_node("c", "NVIDIA-H100-80GB-HBM3", 8, 81559))
    world.hear()
    world.controller.pool_writer.write()
    assert world.controller.queue.depth() == 0


def test_equal_plans_do_not_flap_when_pools_are_split_by_another_label(world: World) -> None:
    before = world.status("runs")
    world.kube.delete(NODES, "", "n0")
    world.kube.create(NODES, gpu_node("n0", count=4, labels={"zone": "west"}))
    world.wish("elsewhere", 1, nodeSelector={"zone": "west"})
    look(world)
    assert "proposedPlan" not in world.status("runs")
    assert world.status("runs")["plan"] == before["plan"]
    assert "PlanProposed" not in events(world)


def test_gpus_that_are_taken_by_others_make_no_proposal(world: World) -> None:
    world.wish("beside", 2)
    world.work()
    world.pod("beside", 2, "n0")
    look(world)
    world.controller.relist.resync()
    world.work()
    assert "proposedPlan" not in world.status("runs")


def test_a_plan_without_pods_that_can_still_start_is_kept(world: World) -> None:
    plan = world.status("runs")["plan"]
    world.kube.delete(Resource("", "v1", "pods", "Pod"), NS, "runs-1")
    reserve_more(world)
    look(world)
    assert world.status("runs")["plan"] == plan
    assert "proposedPlan" in world.status("runs")


@pytest.mark.parametrize(
    ("why", "node"),
    [
        ("no GPU of the plan's memory is left", gpu_node("n0", count=4, memory_mib=16376)),
        ("no pool that placement allows is left", gpu_node("n0", count=4, labels={"zone": "east"})),
    ],
)
def test_a_plan_without_pods_that_can_no_longer_start_is_replaced_or_refused(why: str, node: Manifest) -> None:
    world = World()
    world.kube.create(NODES, gpu_node("n0", count=4, labels={"zone": "west"}))
    world.kube.create(NODES, gpu_node("n1", "NVIDIA-H100-80GB-HBM3", 4, 81559, labels={"zone": "west"}))
    world.wish("moves", 2, nodeSelector={"zone": "west"})
    look(world)
    plan = world.status("moves")["plan"]
    assert plan["product"] == "NVIDIA-L4"
    world.kube.delete(NODES, "", "n0")
    world.kube.create(NODES, node)
    look(world)
    assert world.status("moves")["plan"]["product"] == "NVIDIA-H100-80GB-HBM3", why
    assert "proposedPlan" not in world.status("moves")


def test_the_replan_annotation_adopts_what_was_proposed_once(world: World) -> None:
    reserve_more(world)
    look(world)
    proposed = world.status("runs")["proposedPlan"]
    found = world.kube.get(INFERENCE_DEPLOYMENTS, NS, "runs")
    assert found is not None
    found["metadata"]["annotations"] = {REPLAN_ANNOTATION: "1"}
    world.kube.replace(INFERENCE_DEPLOYMENTS, found)
    world.controller.queue.add((NS, "runs"))
    look(world)
    assert world.status("runs")["plan"]["digest"] == proposed["digest"]
    assert "proposedPlan" not in world.status("runs")
    world.controller.relist.resync()
    assert world.writes(lambda: look(world)) == []


def test_changes_and_offers_are_in_status() -> None:
    world = World(4)
    world.controller.pool_writer.write()
    engine = {"image": "vllm/vllm-openai:v0.19.0", "tensorParallelSize": 1, "maxModelLen": 131072}
    spec = {"model": {"name": "meta-llama/Llama-3.1-8B-Instruct"}, "engine": engine}
    world.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, "refused", spec))
    fit = {"policy": "Resize", "mayChange": ["maxModelLen"]}
    world.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, "moved", {**spec, "fit": fit}))
    for name in ("refused", "moved"):
        world.controller.queue.add((NS, name))
    look(world)
    (change,) = world.status("moved")["changes"]
    assert (change["field"], change["old"]) == ("spec.engine.maxModelLen", "131072")
    assert world.condition("moved", "Feasible") == ("True", "Resized")
    offers = world.status("refused")["offers"]
    assert 1 <= len(offers) <= 4
    assert all(offer["summary"] and offer["patch"].startswith("{") for offer in offers)


def test_changes_speak_of_the_plan_in_force_also_when_nothing_need_move_any_more() -> None:
    world = World(1)
    world.controller.pool_writer.write()
    engine = {"image": "vllm/vllm-openai:v0.19.0", "tensorParallelSize": 1, "maxModelLen": 131072}
    fit = {"policy": "Resize", "mayChange": ["maxModelLen"]}
    spec = {"model": {"name": "meta-llama/Llama-3.1-8B-Instruct"}, "engine": engine, "fit": fit}
    world.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, "moved", spec))
    world.controller.queue.add((NS, "moved"))
    look(world)
    changes, plan = world.status("moved")["changes"], world.status("moved")["plan"]
    assert [row["field"] for row in changes] == ["spec.engine.maxModelLen"]
    world.kube.create(NODES, gpu_node("large", "NVIDIA-H100-80GB-HBM3", 8, 81559))
    look(world)
    assert world.status("moved")["proposedPlan"]["maxModelLen"] == 131072, "on the new node nothing need move"
    assert world.status("moved")["plan"] == plan
    assert world.status("moved")["changes"] == changes
    world.controller.relist.resync()
    assert world.writes(lambda: look(world)) == []


def test_an_upgrade_that_counts_the_disk_restarts_no_pod_and_proposes_it(world: World) -> None:
    child = world.child("runs")
    assert child is not None
    annotations = child["metadata"]["annotations"]
    text = {key: value for key, value in json.loads(annotations[PLAN_ANNOTATION]).items() if key != "ephemeral_storage_bytes"}
    older = Plan.from_json(json.dumps(text))
    origin = Origin(generation=int(annotations[GENERATION_ANNOTATION]), spec_digest=annotations[SPEC_DIGEST_ANNOTATION], replan="")
    wish = world.kube.get(INFERENCE_DEPLOYMENTS, NS, "runs")
    assert wish is not None
    made = render_workload(parse_inference_deployment(wish), older, origin)
    made["metadata"]["annotations"] |= {PLAN_ANNOTATION: json.dumps(text), DECIDED_ANNOTATION: annotations[DECIDED_ANNOTATION]}
    left = {**child, "metadata": {**child["metadata"], "annotations": made["metadata"]["annotations"]}, "spec": made["spec"]}
    world.kube.replace(DEPLOYMENTS, left)
    (pod,) = world.kube.list_page(PODS).items
    annotations = {PLAN_DIGEST_ANNOTATION: older.digest}
    world.kube.replace(PODS, {**pod, "metadata": {**pod["metadata"], "annotations": annotations}})
    world.kube.replace(INFERENCE_DEPLOYMENTS, {key: value for key, value in wish.items() if key != "status"})
    upgraded = World(kube=world.kube)
    look(upgraded)
    upgraded.controller.relist.resync()
    look(upgraded)
    after = upgraded.child("runs")
    assert after is not None
    assert after["spec"]["template"] == made["spec"]["template"]
    assert "ephemeral-storage" not in after["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert "ephemeralStorageBytes" not in upgraded.status("runs")["plan"]
    assert upgraded.status("runs")["plan"]["digest"] == older.digest
    assert upgraded.status("runs")["proposedPlan"]["ephemeralStorageBytes"] == 10 << 30
    assert upgraded.condition("runs") == ("True", "Bound")
