"""What others do to our children: a bent Service, a missing label, a name that is taken. All is put back, and nothing is lost meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.children.services import leads_to, straightened
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.reconcile import RETAKE_SECONDS
from plimsoll_operator.names import MANAGED_LABEL, NAME_LABEL, SPEC_DIGEST_ANNOTATION
from plimsoll_operator.ports import DEPLOYMENTS, EVENTS, INFERENCE_DEPLOYMENTS, SERVICES, Manifest, Resource
from plimsoll_operator.render import spec_digest

SELECTOR = {NAME_LABEL: "chat"}
PORTS = [{"name": "http", "port": 8000, "targetPort": "http", "protocol": "TCP"}]


@pytest.fixture
def world() -> World:
    found = World(8)
    found.wish("chat", 1)
    found.work()
    return found


def change(world: World, resource: Resource, how: Callable[[Manifest], None]) -> None:
    found = world.kube.get(resource, NS, "chat")
    assert found is not None
    how(found)
    world.kube.replace(resource, found)


def service(world: World) -> Manifest:
    found = world.kube.get(SERVICES, NS, "chat")
    assert found is not None
    return found


def bend(**spec: Any) -> Callable[[Manifest], None]:
    return lambda manifest: manifest["spec"].update(spec)


BENT = [
    pytest.param(bend(selector={NAME_LABEL: "other"}), id="it leads to another deployment's pods"),
    pytest.param(bend(selector={}), id="it leads nowhere"),
    pytest.param(bend(selector={**SELECTOR, "color": "blue"}), id="it leads to some of the pods only"),
    pytest.param(bend(ports=[{**PORTS[0], "port": 9000}]), id="it is called at another port"),
    pytest.param(bend(ports=[{**PORTS[0], "targetPort": 22}]), id="it leads to another port"),
    pytest.param(bend(ports=[*PORTS, {"name": "x", "port": 22, "targetPort": 22}]), id="a port was added"),
    pytest.param(bend(ports=[]), id="it has no ports"),
    pytest.param(bend(type="ExternalName", externalName="evil.example.com", selector=None, ports=None), id="it stands for an outside name"),
]


@pytest.mark.parametrize("how", BENT)
def test_a_service_that_somebody_has_bent_leads_to_the_pods_again(world: World, how: Callable[[Manifest], None]) -> None:
    change(world, SERVICES, how)
    world.work()
    assert (service(world)["spec"]["selector"], service(world)["spec"]["ports"]) == (SELECTOR, PORTS)
    assert "externalName" not in service(world)["spec"]
    assert world.writes(world.work) == [], "and is left alone then"


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(bend(type="LoadBalancer", clusterIP="10.0.0.7", sessionAffinity="ClientIP"), id="how it is reached is its user's"),
        pytest.param(lambda manifest: manifest["metadata"].update(annotations={"a": "b"}), id="so are its annotations"),
        pytest.param(bend(ports=[{**PORTS[0], "nodePort": 30000}]), id="and its node port"),
    ],
)
def test_what_is_not_rendered_is_left_as_it_is(world: World, how: Callable[[Manifest], None]) -> None:
    change(world, SERVICES, how)
    before = service(world)
    assert world.writes(world.work) == []
    assert service(world) == before


def test_the_cache_keeps_a_digest_of_a_service_whatever_users_write_into_it(world: World) -> None:
    big = service(world)
    big["spec"]["ports"] = [{"name": f"p{number}", "port": number} for number in range(1, 2000)]
    big["metadata"]["annotations"] = {"noise": "x" * 100_000}
    kept = trim.service(big)
    assert len(str(kept)) < 1000
    assert kept["leadsTo"] == leads_to(big) != leads_to(service(world))


def test_the_patch_takes_out_what_was_added_and_touches_nothing_else() -> None:
    wanted = {"metadata": {"labels": {"a": "b"}}, "spec": {"selector": SELECTOR, "ports": PORTS}}
    bent = {"metadata": {}, "spec": {"selector": {**SELECTOR, "color": "blue"}, "ports": [], "type": "NodePort"}}
    assert straightened(bent, wanted) == {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"selector": {**SELECTOR, "color": None}, "ports": PORTS},
    }


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES], ids=["of the Deployment", "of the Service"])
@pytest.mark.parametrize("label", [MANAGED_LABEL, NAME_LABEL], ids=["the managed-by label", "the name label"])
@pytest.mark.parametrize("value", [None, "other"], ids=["removed", "changed"])
def test_a_label_by_which_the_caches_see_a_child_is_put_back(world: World, resource: Resource, label: str, value: str | None) -> None:
    def bend_label(manifest: Manifest) -> None:
        del manifest["metadata"]["labels"][label]
        if value is not None:
            manifest["metadata"]["labels"][label] = value

    if resource is SERVICES and label is NAME_LABEL:
        return_of = {MANAGED_LABEL: "plimsoll"}  # nobody sees a Service by its name label
    else:
        return_of = {MANAGED_LABEL: "plimsoll", NAME_LABEL: "chat"}
    before = world.kube.get(resource, NS, "chat")
    change(world, resource, bend_label)
    world.work()
    after = world.kube.get(resource, NS, "chat")
    assert before is not None
    assert after is not None
    assert {key: after["metadata"]["labels"].get(key) for key in return_of} == return_of
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "no pod is restarted"
    assert world.writes(world.work) == []


def test_a_label_is_put_back_also_where_the_new_spec_is_refused(world: World) -> None:
    raw = world.kube.get(INFERENCE_DEPLOYMENTS, NS, "chat")
    assert raw is not None
    raw["spec"]["engine"]["maxModelLen"] = 10_000_000
    world.kube.replace(INFERENCE_DEPLOYMENTS, raw)
    world.controller.queue.add((NS, "chat"))
    world.work()
    assert world.condition("chat", "Stalled")[0] == "True"
    change(world, DEPLOYMENTS, lambda manifest: manifest["metadata"]["labels"].pop(MANAGED_LABEL))
    world.work()
    child = world.child("chat")
    assert child is not None
    assert child["metadata"]["labels"][MANAGED_LABEL] == "plimsoll"


def foreign(resource: Resource) -> Manifest:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"namespace": NS, "name": "chat"}, "spec": {"x": 1}}


def take_name(world: World, resource: Resource) -> None:
    world.kube.delete(resource, NS, "chat")
    world.kube.create(resource, foreign(resource))
    world.work()


def test_a_taken_service_name_wipes_neither_plan_nor_promise(world: World) -> None:
    world.pod("chat", 1, node="n0")
    world.work()
    plan, arguments = world.status("chat")["plan"], world.child("chat")
    take_name(world, SERVICES)
    assert service(world)["spec"] == {"x": 1}, "it is never taken over"
    assert world.status("chat")["plan"] == plan
    assert world.child("chat") == arguments
    assert world.condition("chat", "Stalled") == ("True", "NameTaken")
    assert "A Service team/chat exists" in str(world.status("chat")["conditions"])
    assert world.condition("chat", "Available")[1] != "Invalid"
    promised = world.controller.ledger.reserved((NS, "chat"))
    assert promised is not None
    assert promised.replicas == 1
    assert [row["reason"] for row in world.kube.list_page(EVENTS).items].count("NameTaken") == 1

    world.kube.delete(SERVICES, NS, "chat")
    world.clock.now += RETAKE_SECONDS + 1
    world.work()
    assert service(world)["spec"]["selector"] == SELECTOR
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    assert world.status("chat")["plan"] == plan


def test_while_a_name_is_taken_pods_may_become_fewer_and_a_new_spec_waits(world: World) -> None:
    world.wish("chat", 1, replicas=3)
    world.work()
    take_name(world, SERVICES)
    world.wish("chat", 1, replicas=2)
    world.work()
    child = world.child("chat")
    assert child is not None
    assert child["spec"]["replicas"] == 2
    world.wish("chat", 2, replicas=5)
    world.work()
    child = world.child("chat")
    assert child is not None
    assert child["spec"]["replicas"] == 2
    assert world.status("chat")["plan"]["tensorParallelSize"] == 1, "status says what the pods run"
    assert world.status("chat")["proposedPlan"]["tensorParallelSize"] == 2
    world.kube.delete(SERVICES, NS, "chat")
    world.clock.now += RETAKE_SECONDS + 1
    world.work()
    child = world.child("chat")
    assert child is not None
    assert child["spec"]["replicas"] == 5
    assert world.status("chat")["plan"]["tensorParallelSize"] == 2


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES], ids=["a Deployment", "a Service"])
def test_a_name_that_was_taken_before_books_nothing_and_is_taken_up_when_it_is_free(resource: Resource) -> None:
    world = World(4)
    world.kube.create(resource, foreign(resource))
    world.wish("chat", 4)
    world.work()
    assert world.controller.ledger.reserved((NS, "chat")) is None
    assert world.condition("chat", "Stalled") == ("True", "NameTaken")
    assert world.condition("chat", "Feasible")[0] == "True"
    assert "plan" not in world.status("chat"), "no pods run any"
    assert world.writes(world.work) == []
    world.wish("other", 4)
    world.work()
    assert world.condition("other") == ("True", "Booked")
    world.kube.delete(resource, NS, "chat")
    world.clock.now += RETAKE_SECONDS + 1
    world.work()
    assert world.child("chat") is not None
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")


def admitted_before(world: World, template: Manifest) -> None:
    """An earlier release has admitted this overlay and made the pods that run: the child's record says so."""
    found = world.kube.get(INFERENCE_DEPLOYMENTS, NS, "chat")
    child = world.child("chat")
    assert found is not None
    assert child is not None
    found["spec"]["template"] = template
    child["metadata"]["annotations"][SPEC_DIGEST_ANNOTATION] = spec_digest(found["spec"])
    world.kube.replace(INFERENCE_DEPLOYMENTS, found)
    world.kube.replace(DEPLOYMENTS, child)
    world.controller.queue.add((NS, "chat"))
    world.work()


MOVES = {"env": [{"name": "VLLM_ATTENTION_BACKEND", "value": "FLASHINFER"}]}


@pytest.mark.parametrize(
    ("why", "template", "replicas"),
    [
        ("a variable is a rule about the spec", MOVES, 3),
        ("an order to the container runtime stands behind it", MOVES | {"annotations": {"cdi.k8s.io/x": "nvidia.com/gpu=all"}}, 1),
    ],
)
def test_what_an_earlier_release_admitted_may_become_more_but_not_what_is_forbidden(
    world: World, why: str, template: Manifest, replicas: int
) -> None:
    world.pod("chat", 1, node="n0")
    world.work()
    admitted_before(world, template)
    assert world.condition("chat", "Feasible") == ("False", "NotSupportedYet")
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    before = world.child("chat")
    assert before is not None
    found = world.kube.get(INFERENCE_DEPLOYMENTS, NS, "chat")
    assert found is not None
    world.kube.replace(INFERENCE_DEPLOYMENTS, {**found, "spec": found["spec"] | {"replicas": 3}})
    world.controller.queue.add((NS, "chat"))
    world.work()
    child = world.child("chat")
    assert child is not None
    assert child["spec"]["replicas"] == replicas, why
    assert child["spec"]["template"] == before["spec"]["template"], "no pod becomes any different"


def handed_over(world: World, other: bool) -> None:
    """A tenant takes the child from its InferenceDeployment, and may give it to somebody else."""
    found = world.child("chat")
    assert found is not None
    ours = found["metadata"]["ownerReferences"][0]
    ours["controller"] = False
    if other:
        row = {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "mine", "uid": "f1", "controller": True}
        found["metadata"]["ownerReferences"].append(row)
    world.kube.replace(DEPLOYMENTS, found)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (True, 'remove Fleet mine from its metadata.ownerReferences and set "controller: true" at InferenceDeployment chat'),
        (False, 'set "controller: true" at InferenceDeployment chat in its metadata.ownerReferences'),
    ],
    ids=["to another owner", "to nobody"],
)
def test_a_child_that_is_handed_over_is_left_alone_and_status_says_what_to_put_right(world: World, other: bool, says: str) -> None:
    """The API server takes no second controlling owner, and the guard lets the controller change nothing that it does not control."""
    world.pod("chat", 1, node="n0")
    world.work()
    plan = world.status("chat")["plan"]
    handed_over(world, other)
    world.wish("chat", 2, replicas=3)
    kinds = [kind for kind in world.writes(world.work) if not kind.endswith("/status") and kind != "Event"]
    assert kinds == [], "neither applied nor scaled"
    assert world.condition("chat", "Stalled") == ("True", "NotControlled")
    assert says in next(row["message"] for row in world.status("chat")["conditions"] if row["type"] == "Stalled")
    assert world.status("chat")["plan"] == plan
    assert world.status("chat")["proposedPlan"]["tensorParallelSize"] == 2
    promised = world.controller.ledger.reserved((NS, "chat"))
    assert promised is not None
    assert promised.replicas == 1
    assert [row["reason"] for row in world.kube.list_page(EVENTS).items].count("NotControlled") == 1
    assert world.controller.queue.take(0) is None, "no retry with growing waits: the child's own change wakes it"

    found = world.child("chat")
    assert found is not None
    found["metadata"]["ownerReferences"] = [found["metadata"]["ownerReferences"][0] | {"controller": True}]
    world.kube.replace(DEPLOYMENTS, found)
    world.work()
    child = world.child("chat")
    assert child is not None
    assert child["spec"]["replicas"] == 3
    assert world.status("chat")["plan"]["tensorParallelSize"] == 2
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")


@dataclass(slots=True)
class QuickStranger(FakeKube):
    """Somebody takes the name of a child between our look and our write."""

    of: Resource = SERVICES

    def apply_new(self, resource: Resource, manifest: Manifest) -> Manifest:
        if resource is self.of and self.get(resource, NS, "chat") is None:
            self.create(resource, foreign(resource))
        return FakeKube.apply_new(self, resource, manifest)


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES], ids=["a Deployment", "a Service"])
def test_a_stranger_that_is_quicker_than_our_write_is_not_taken_over(resource: Resource) -> None:
    kube = QuickStranger(of=resource)
    world = World(4, kube=kube)
    world.wish("chat", 4)
    for _ in range(3):
        world.work()
        world.clock.now += 1
    found = kube.get(resource, NS, "chat")
    assert found is not None
    assert found["spec"] == {"x": 1}
    assert world.condition("chat", "Stalled") == ("True", "NameTaken")
