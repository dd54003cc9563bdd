"""A bug stops the key, event or object it is met at, says so there, and nothing else: poison beside healthy neighbours."""

import json
import logging
import threading
from threading import Event

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.controller.__main__ import _Run
from plimsoll_operator.controller.loops.quarantine import Quarantine, Unit
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.resolving.fetcher import FetchFailure
from plimsoll_operator.controller.resolving.resolver import Resolver
from plimsoll_operator.controller.resolving.store import ProfileKeeper
from plimsoll_operator.decision import decide
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.facts import Facts
from plimsoll_operator.names import DECIDED_ANNOTATION, GENERATION_ANNOTATION, NAME_LABEL, PLAN_ANNOTATION
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    ENGINE_CALIBRATIONS,
    FIT_POLICIES,
    GPU_POOLS,
    MODEL_PROFILES,
    NODES,
    PODS,
    Manifest,
    Resource,
)
from plimsoll_operator.read_request import OperatorHub, ReadRequest
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.verdict import Verdict


class Broken(Exception):
    """What nobody expected."""


class PoisonKube(FakeKube):
    """Raises a bug, not a refusal, at every call of one verb that is about one object."""

    poison: tuple[str, str] = ("", "")

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        if self.poison == (f"apply {resource.plural}{subresource}", manifest["metadata"]["name"]):
            raise Broken(f"secrets of {NS}")
        return super().apply(resource, manifest, subresource=subresource)

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        if self.poison == (f"get {resource.plural}", name):
            raise Broken("secrets")
        return super().get(resource, namespace, name)


def errors(world: World, unit: Unit) -> float:
    for line in world.controller.recorder.render().decode().splitlines():
        if line.startswith(f'plimsoll_internal_errors_total{{unit="{unit}"}}'):
            return float(line.split()[-1])
    return 0.0


@pytest.mark.parametrize(
    ("poison", "says_so"),
    [
        (("apply deployments", "sick"), True),
        (("apply services", "sick"), True),
        (("get deployments", "sick"), True),
        (("apply inferencedeploymentsstatus", "sick"), False),  # what cannot be written cannot say so: the log and the metric do
        (("get inferencedeployments", "sick"), False),
    ],
)
def test_a_bug_at_one_key_is_said_there_and_holds_up_nobody(
    poison: tuple[str, str], says_so: bool, caplog: pytest.LogCaptureFixture
) -> None:
    kube = PoisonKube()
    world = World(4, kube=kube)
    for name in ("a", "sick", "z"):
        world.wish(name, 1)
    kube.poison = poison
    with caplog.at_level(logging.ERROR):
        world.work()
    assert world.child("a") is not None
    assert world.child("z") is not None
    assert errors(world, Unit.KEY) > 0
    assert any(record.exc_info for record in caplog.records), "the whole traceback is in the log"
    if says_so:
        assert world.condition("sick", "Stalled") == ("True", "InternalError")
        assert world.condition("sick", "Ready") == ("False", "InternalError")
        rows = world.status("sick")["conditions"]
        message = next(row["message"] for row in rows if row["type"] == "Stalled")
        assert "Broken at" in message
        assert "secrets" not in message, "an exception's text may quote anybody's data"
    kube.poison = ("", "")
    world.clock.now += 120
    world.work()
    assert world.child("sick") is not None
    assert world.condition("sick", "Stalled")[0] == "False"


def test_a_plan_that_never_reached_its_child_books_nothing() -> None:
    kube = PoisonKube()
    kube.poison = ("apply deployments", "sick")
    world = World(1, kube=kube)
    world.wish("sick", 1)
    world.work()
    assert world.controller.ledger.reserved((NS, "sick")) is None
    world.wish("well", 1)
    world.work()
    assert world.condition("well") == ("True", "Booked")


def test_a_plan_whose_child_was_applied_before_the_bug_keeps_its_booking() -> None:
    kube = PoisonKube()
    world = World(2, kube=kube)
    world.wish("a", 1)
    world.work()
    kube.poison = ("apply inferencedeploymentsstatus", "a")
    world.pod("a", 1)
    world.controller.queue.add((NS, "a"))
    world.work()
    world.wish("a", 1, replicas=2)
    world.work()
    promise = world.controller.ledger.reserved((NS, "a"))
    assert promise is not None
    assert promise.replicas == 2


def test_a_bug_in_one_decision_stops_one_key() -> None:
    def judge(facts: Facts) -> Verdict:
        if facts.deployment.metadata.name == "sick":
            raise ZeroDivisionError
        return decide(facts)

    world = World(4)
    world.controller = Controller(world.kube, judge, identity="test", clock=world.clock)
    world.hear()
    for name in ("sick", "well"):
        world.wish(name, 1)
    world.work()
    assert world.condition("sick", "Stalled") == ("True", "InternalError")
    assert world.condition("well", "Feasible")[0] == "True"


def test_a_bug_at_one_event_stops_one_object_which_is_told_again_later() -> None:
    world = World(4)
    taken = world.controller.ledger.node_changed
    broken = {"n1"}

    def node_changed(key: tuple[str, str], old: Manifest | None, new: Manifest | None) -> None:
        if key[1] in broken:
            raise Broken
        taken(key, old, new)

    listener = next(row for row in world.controller._changes.listeners if row._resource == NODES)
    listener._change = node_changed
    for name in ("n1", "n2"):
        world.kube.create(NODES, gpu_node(name, count=4))
    world.hear()
    assert errors(world, Unit.EVENT) == 1
    assert sum(pool.gpus for pool in world.controller.ledger.pools()) == 8
    broken.clear()
    world.controller.tick()
    assert sum(pool.gpus for pool in world.controller.ledger.pools()) == 12


def test_an_object_that_is_gone_before_it_was_taken_is_not_told_again() -> None:
    world = World(4)
    told = []

    def change(key: tuple[str, str], old: Manifest | None, new: Manifest | None) -> None:
        told.append((key, old is None, new is None))
        if len(told) == 1:
            raise Broken

    listener = next(row for row in world.controller._changes.listeners if row._resource == NODES)
    listener._change = change
    world.kube.create(NODES, gpu_node("n9", count=1))
    world.hear()
    world.kube.delete(NODES, "", "n9")
    world.hear()
    world.controller.tick()
    assert told == [(("", "n9"), True, False), (("", "n9"), True, True)]


HAND_MADE = {
    "a generation of 4301 digits": {GENERATION_ANNOTATION: "9" * 4301},
    "a generation in other digits": {GENERATION_ANNOTATION: "\u0663"},
    "a time that sorts before all": {DECIDED_ANNOTATION: ""},
    "a plan that is null": {PLAN_ANNOTATION: "null"},
    "a plan of 65 pools": {PLAN_ANNOTATION: json.dumps(json.loads(PLAN.canonical_json()) | {"pools": ["p"] * 65})},
    "a plan without GPUs": {PLAN_ANNOTATION: json.dumps(json.loads(PLAN.canonical_json()) | {"gpus_per_replica": 0})},
    "a plan with null figures": {PLAN_ANNOTATION: json.dumps(json.loads(PLAN.canonical_json()) | {"predicted": None})},
    "a plan nested without end": {PLAN_ANNOTATION: "[" * 100_000},
    "a lone surrogate": {PLAN_ANNOTATION: "\ud800"},
}


@pytest.mark.parametrize("edits", HAND_MADE.values(), ids=HAND_MADE)
def test_a_new_leader_skips_a_child_that_it_cannot_read_and_takes_over_the_rest(edits: dict[str, str]) -> None:
    world = World(4)
    world.wish("good", 1)
    world.wish("edited", 1)
    world.work()
    child = world.one(DEPLOYMENTS, "edited")
    child["metadata"]["annotations"] |= edits
    world.kube.replace(DEPLOYMENTS, child)
    stray = {"name": "stray", "namespace": "other", "labels": {NAME_LABEL: "stray", "app.kubernetes.io/managed-by": "plimsoll"}}
    owners = [{"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "InferenceDeployment", "name": "stray", "uid": "forged"}]
    annotations = {PLAN_ANNOTATION: PLAN.canonical_json(), GENERATION_ANNOTATION: "1"} | edits
    metadata = stray | {"ownerReferences": owners, "annotations": annotations}
    world.kube.create(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 5}})
    follower = Controller(world.kube, decide, identity="next", clock=world.clock)
    world.controller = follower
    world.hear()
    follower.relist.recover()
    assert follower.ledger.reserved((NS, "good")) is not None
    for name in ("good", "edited"):
        follower.queue.add((NS, name))
    world.work()
    assert world.condition("edited", "Feasible") == ("True", "Fits")
    assert world.condition("good") == ("True", "Booked")
    assert follower.ledger.reserved(("other", "stray")) is None, "a child without its deployment books nothing for long"


def test_a_bug_at_one_pool_stops_one_pool() -> None:
    kube = PoisonKube()
    world = World(4, kube=kube)
    world.kube.create(NODES, gpu_node("big", "NVIDIA-H100-80GB-HBM3", 8, 81559))
    world.hear()
    first, second = sorted(pool.name for pool in world.controller.ledger.pools())
    kube.poison = ("apply gpupoolsstatus", first)
    assert world.controller.pool_writer.write_all() is not None
    written = world.kube.get(GPU_POOLS, "", second)
    assert written is not None
    assert written["status"]["nodes"] == 1
    assert errors(world, Unit.POOL) == 1
    kube.poison = ("", "")
    assert world.controller.pool_writer.write_all() is None
    assert world.one(GPU_POOLS, first, "")["status"]["nodes"] == 1


def test_a_pool_that_is_refused_holds_up_no_other() -> None:
    world = World(4)
    world.kube.create(NODES, gpu_node("big", "NVIDIA-H100-80GB-HBM3", 8, 81559))
    world.hear()
    world.kube.fail_next("apply", ApiFailure(422, "Invalid", "no"))
    assert world.controller.pool_writer.write_all() is not None
    pools = world.kube.list_page(GPU_POOLS).items
    assert len(pools) == 1
    assert world.controller.pool_writer.write_all() is None
    assert len(world.kube.list_page(GPU_POOLS).items) == 2


def test_a_profile_that_a_bug_is_met_at_stops_no_other() -> None:
    kube = PoisonKube()
    world = World(1, kube=kube)
    for name in ("sick", "well"):
        spec = {"model": f"acme/{name}", "config": json.dumps({"architectures": ["LlamaForCausalLM"]})}
        body = {"apiVersion": MODEL_PROFILES.api_version, "kind": "ModelProfile", "metadata": {"name": name, "namespace": NS}}
        kube.create(MODEL_PROFILES, body | {"spec": spec})
    kube.poison = ("get modelprofiles", "sick")
    world.hear()
    while world.controller.profile_status.loop.run_once(0):
        pass
    assert "conditions" in (world.kube.get(MODEL_PROFILES, NS, "well") or {})["status"]
    assert errors(world, Unit.PROFILE) == 1


@pytest.mark.parametrize(
    ("resource", "spec", "kind"),
    [(ENGINE_CALIBRATIONS, {"corrections": []}, "Applied"), (FIT_POLICIES, {"namespaceSelector": {}}, "Accepted")],
    ids=["a calibration", "a policy"],
)
def test_a_bug_at_one_object_of_the_administrator_s_stops_no_other(resource: Resource, spec: Manifest, kind: str) -> None:
    kube = PoisonKube()
    world = World(1, kube=kube)
    for name in ("sick", "well"):
        kube.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec})
    kube.poison = (f"apply {resource.plural}status", "sick")
    world.hear()
    world.controller.tick()
    assert [row["type"] for row in (kube.get(resource, "", "well") or {})["status"]["conditions"]] == [kind]
    assert "status" not in (kube.get(resource, "", "sick") or {})


def test_a_bug_in_one_reading_is_an_answer_to_who_waits_for_it_and_stops_no_other() -> None:
    read = FetchFailure(reason=NoShape.NOT_FOUND, message="no such model")

    class Source:
        def answers(self, wanted: ReadRequest) -> bool:
            return True

        def fetch(self, wanted: ReadRequest, stop: Event) -> FetchFailure:
            if wanted.model == "acme/sick":
                raise Broken("secrets")
            return read

    world = World(1)
    border = world.controller.quarantine.border
    resolver = Resolver([Source()], ProfileKeeper(world.kube), wake=world.controller.enqueue, clock=world.clock, border=border)
    wanted = {
        name: ReadRequest(namespace="", model=f"acme/{name}", revision="main", source=OperatorHub()) for name in ("a", "sick", "well")
    }
    for name, row in wanted.items():
        resolver.answer((name, "chat"), row, "1")
    while resolver.work_once(threading.Event(), timeout_seconds=0):
        pass
    assert [resolver.answer((name, "chat"), wanted[name], "1") for name in ("a", "well")] == [read, read]
    told = resolver.answer(("sick", "chat"), wanted["sick"], "1")
    assert isinstance(told, FetchFailure)
    assert (told.reason, "Broken at" in told.message, "secrets" in told.message) == ("Unreachable", True, False)
    assert errors(world, Unit.READING) == 1


def test_the_same_bug_at_the_same_object_is_logged_whole_once(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[str] = []
    quarantine = Quarantine(counted.append)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with quarantine.border(Unit.KEY, "a/b") as attempt:
                raise Broken("secret")
            assert attempt.bug is not None
    assert counted == [Unit.KEY] * 3
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False]


def test_what_the_api_server_refuses_passes_the_border() -> None:
    with pytest.raises(ApiFailure), Quarantine().border(Unit.KEY, "a/b"):
        raise ApiFailure(409, "Conflict", "changed")


@pytest.mark.parametrize("fault", [Broken("bug"), ApiFailure(500, "Unknown", "down")])
def test_a_loop_that_a_bug_gets_out_of_begins_anew(fault: Broken | ApiFailure) -> None:
    run, turns, again = _Run(), [], threading.Event()

    def loop() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise fault
        again.set()
        run.stop.wait(60)

    thread = run.spawn("loop", loop)
    assert again.wait(60)
    run.stop.set()
    thread.join(60)
    assert run.status == 0


def test_a_loop_that_ends_again_and_again_makes_the_process_unhealthy() -> None:
    run, ended = _Run(), threading.Event()
    run.stop = Impatient()

    def loop() -> None:
        if run.unsteady():
            ended.set()
            run.stop.set()
        raise Broken

    run.spawn("loop", loop)
    assert ended.wait(60)
    assert run.unsteady() == "loop cannot be kept running"


class Impatient(threading.Event):
    """Does not wait."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def test_one_pod_that_asks_for_more_than_there_is_stops_no_decision() -> None:
    world = World(4)
    container = {"name": "x", "resources": {"limits": {"nvidia.com/gpu": "1Ei"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "evil", "name": "x"}, "status": {"phase": "Pending"}}
    world.kube.create(PODS, pod | {"spec": {"nodeName": "n0", "containers": [container]}})
    world.wish("a", 1)
    world.work()
    assert errors(world, Unit.KEY) == 0
    assert world.condition("a", "Feasible")[0] == "True"
