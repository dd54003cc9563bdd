"""The PodDisruptionBudget of a deployment: made when it is asked for, put right when somebody changes it, gone when it is not wanted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_operator.cluster import IMAGE, NS, SMALL
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.rendering.rendering import PLAN, wish

from plimsoll_operator.names import INSTANCE_LABEL, MANAGED_LABEL, NAME_LABEL, PLAN_DIGEST_ANNOTATION
from plimsoll_operator.ports import DEPLOYMENTS, EVENTS, POD_DISRUPTION_BUDGETS, Manifest
from plimsoll_operator.render import Origin as RenderOrigin
from plimsoll_operator.render import render_budget, render_deployment, spec_digest

KEY = (NS, "chat")
SELECTOR = {"matchLabels": {INSTANCE_LABEL: "chat", MANAGED_LABEL: "plimsoll"}}


def ask(world: World, budget: Manifest | None) -> None:
    spec = {"model": {"name": SMALL}, "replicas": 2, "engine": {"image": IMAGE, "tensorParallelSize": 1, "maxModelLen": 4096}}
    world.put(spec | ({"podDisruptionBudget": budget} if budget is not None else {}), "chat")
    world.controller.queue.add(KEY)
    world.work()


def budget(world: World) -> Manifest | None:
    return world.kube.get(POD_DISRUPTION_BUDGETS, *KEY)


@pytest.fixture
def world() -> World:
    found = World(8)
    ask(found, {"minAvailable": 1})
    return found


def test_it_is_made_owned_and_left_alone(world: World) -> None:
    found = budget(world)
    assert found is not None
    assert found["spec"] == {"minAvailable": 1, "selector": SELECTOR, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("InferenceDeployment", "chat", True)
    assert world.writes(world.work) == []


def test_another_budget_takes_its_place_and_plans_nothing_anew(world: World) -> None:
    before = world.one(DEPLOYMENTS)
    ask(world, {"maxUnavailable": "50%"})
    found = budget(world)
    assert found is not None
    assert (found["spec"].get("minAvailable"), found["spec"]["maxUnavailable"]) == (None, "50%")
    after = world.one(DEPLOYMENTS)
    assert after["metadata"]["annotations"][PLAN_DIGEST_ANNOTATION] == before["metadata"]["annotations"][PLAN_DIGEST_ANNOTATION]
    assert after["spec"] == before["spec"]


def test_it_goes_when_nobody_asks_for_it(world: World) -> None:
    ask(world, None)
    assert budget(world) is None
    assert world.writes(world.work) == []


def test_it_goes_too_while_the_rest_of_the_spec_is_refused(world: World) -> None:
    engine = {"image": IMAGE, "tensorParallelSize": 64, "maxModelLen": 4096}
    world.put({"model": {"name": SMALL}, "replicas": 2, "engine": engine}, "chat")
    world.controller.queue.add(KEY)
    world.work()
    assert world.condition("chat", "Feasible")[0] == "False"
    assert world.one(DEPLOYMENTS)["spec"]["replicas"] == 2, "the pods run on"
    assert budget(world) is None, "and a drain may take them"
    assert world.writes(world.work) == []


def spec_with(**fields: Any) -> Callable[[Manifest], None]:
    return lambda manifest: manifest["spec"].update(fields)


BENT = [
    ("it keeps none", spec_with(minAvailable=0)),
    ("it keeps all", spec_with(minAvailable="100%")),
    ("it counts from the other end", spec_with(minAvailable=None, maxUnavailable=5)),
    ("it holds other pods", spec_with(selector={"matchLabels": {"app": "payments"}})),
    ("it holds fewer pods", spec_with(selector={**SELECTOR, "matchExpressions": [{"key": "a", "operator": "Exists"}]})),
    ("pods that are not ready hold a node", spec_with(unhealthyPodEvictionPolicy="IfHealthyBudget")),
]


@pytest.mark.parametrize(("why", "how"), BENT, ids=[row[0] for row in BENT])
def test_what_somebody_has_changed_is_put_back(why: str, how: Callable[[Manifest], None], world: World) -> None:
    found = budget(world)
    assert found is not None
    how(found)
    world.kube.replace(POD_DISRUPTION_BUDGETS, found)
    world.work()
    found = budget(world)
    assert found is not None
    kept = {field: value for field, value in found["spec"].items() if value is not None}
    assert kept == {"minAvailable": 1, "selector": SELECTOR, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    assert world.writes(world.work) == []


def restored(world: World) -> list[str]:
    return [row["note"] for row in world.kube.list_page(EVENTS).items if row["reason"] == "ChildRestored"]


def test_one_that_is_deleted_is_made_again_and_told(world: World) -> None:
    assert restored(world) == []
    world.work()
    world.kube.delete(POD_DISRUPTION_BUDGETS, *KEY)
    world.work()
    assert budget(world) is not None
    assert restored(world) == [f"the PodDisruptionBudget {NS}/chat was deleted by somebody and is made again"]


def test_one_that_is_asked_for_again_was_deleted_by_nobody(world: World) -> None:
    ask(world, None)
    ask(world, {"minAvailable": 1})
    assert budget(world) is not None
    assert restored(world) == []


def test_somebody_elses_of_the_name_stays_and_is_said() -> None:
    world = World(8)
    body: Manifest = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": NS, "name": "chat"}}
    world.kube.create(POD_DISRUPTION_BUDGETS, {**body, "spec": {"maxUnavailable": 0}})
    ask(world, {"minAvailable": 1})
    found = budget(world)
    assert found is not None
    assert found["spec"] == {"maxUnavailable": 0}
    assert "A PodDisruptionBudget team/chat exists that does not belong" in str(world.status()["conditions"])
    assert world.kube.get(DEPLOYMENTS, *KEY) is None, "pods that a drain may take are not what was asked for"
    world.kube.delete(POD_DISRUPTION_BUDGETS, *KEY)
    ask(world, {"minAvailable": 1})
    assert world.kube.get(DEPLOYMENTS, *KEY) is not None


def test_where_none_is_asked_for_somebody_elses_is_nothing_of_ours() -> None:
    world = World(8)
    body: Manifest = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": NS, "name": "chat"}}
    world.kube.create(POD_DISRUPTION_BUDGETS, {**body, "spec": {"maxUnavailable": 0}})
    ask(world, None)
    assert budget(world) is not None
    assert world.condition("chat", "Feasible")[0] == "True"


GROUPS = [
    ("minAvailable", 1, 4, 9), ("minAvailable", 4, 4, 12), ("minAvailable", 9, 4, 12), ("minAvailable", "50%", 3, 8),
    ("minAvailable", 0, 2, 4), ("maxUnavailable", 1, 4, 1), ("maxUnavailable", "25%", 5, 2), ("maxUnavailable", 0, 4, 0),
    ("maxUnavailable", "100%", 2, 2),
]  # fmt: skip


@pytest.mark.parametrize(("field", "said", "replicas", "pods"), GROUPS)
def test_each_evicted_pod_of_a_replica_over_nodes_may_be_of_another(field: str, said: int | str, replicas: int, pods: int) -> None:
    asked = wish(podDisruptionBudget={field: said}, replicas=replicas, placement={"maxNodesPerReplica": 3})
    made = render_budget(asked, replace(PLAN, nodes_per_replica=3, gpus_per_replica=6))
    assert made is not None
    assert made["spec"][field] == pods


def test_its_selector_finds_the_pods_and_no_template_takes_them_out() -> None:
    asked = wish(podDisruptionBudget={"minAvailable": "1"})
    labels = render_deployment(asked, PLAN, RenderOrigin(generation=1, spec_digest="", replan=""))["spec"]["template"]["metadata"]["labels"]
    made = render_budget(asked, PLAN)
    assert made is not None
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels[NAME_LABEL] == "chat"
    assert made["spec"]["minAvailable"] == 1, "a number in quotes is a number of replicas"


def test_a_budget_is_no_other_request() -> None:
    spec = {"model": {"name": SMALL}, "replicas": 1}
    assert spec_digest(spec) == spec_digest({**spec, "podDisruptionBudget": {"minAvailable": 1}})
