"""Somebody else keeps changing our children: it is put back at once, then more and more slowly, and status names who it is."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.cluster import NS, Clock
from tests.plimsoll_operator.controller_world import World

from plimsoll_operator.controller.children.disputes import FORGET_SECONDS, LONGEST_SECONDS, Disputes, changed_by
from plimsoll_operator.dispute import Dispute, Mended
from plimsoll_operator.names import MANAGED_LABEL
from plimsoll_operator.ports import DEPLOYMENTS, EVENTS, FIELD_MANAGER, INFERENCE_DEPLOYMENTS, SERVICES, Key, Manifest, Resource
from plimsoll_operator.reasons import Why

HOUR = 3600
KEY = (NS, "chat")


def entry(manager: object, time: str = "2026-01-01T00:00:00Z", *, spec: bool = True, **more: Any) -> Manifest:
    return {"manager": manager, "time": time, "operation": "Update", "fieldsV1": {"f:spec" if spec else "f:metadata": {}}, **more}


OURS = entry(FIELD_MANAGER, "2026-01-01T09:00:00Z")
HPA = entry("horizontal-pod-autoscaler", "2026-01-01T08:00:00Z", subresource="scale")


@pytest.mark.parametrize(
    ("rows", "who"),
    [
        pytest.param([OURS, HPA], '"horizontal-pod-autoscaler"', id="the other one, though we wrote later"),
        pytest.param([entry("old"), entry("new", "2026-01-02T00:00:00Z")], '"new"', id="of two the later one"),
        pytest.param(
            [entry("kubectl"), entry("kcm", "2027-01-01T00:00:00Z", subresource="status")], '"kubectl"', id="status is nobody's wish"
        ),
        pytest.param([entry("spec"), entry("labels", "2027-01-01T00:00:00Z", spec=False)], '"spec"', id="who owns something of the spec"),
        pytest.param([OURS], "somebody who is not named", id="who only takes fields away owns none"),
        pytest.param([], "somebody who is not named", id="no managed fields at all"),
        pytest.param([5, {"manager": None}], "somebody who is not named", id="rubbish"),
        pytest.param([entry("a\nb" + "x" * 500)], f'"a b{"x" * 125}"', id="a name from outside is one short line"),
    ],
)
def test_who_it_was_is_read_from_the_managed_fields(rows: list[Any], who: str) -> None:
    assert changed_by({"metadata": {"name": "chat", "managedFields": rows}}) == who


def of_pods(manager: str, fields: Manifest, **more: Any) -> Manifest:
    return {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {"f:spec": fields}}}, **more}


APPLIED = of_pods(
    FIELD_MANAGER, {"f:containers": {'k:{"name":"vllm"}': {".": {}, "f:args": {}, "f:env": {'k:{"name":"A"}': {}}}}}, operation="Apply"
)


@pytest.mark.parametrize(
    ("fields", "stays"),
    [
        pytest.param(
            {"f:containers": {'k:{"name":"vllm"}': {"f:env": {'k:{"name":"FOO"}': {".": {}}}}}}, "containers.vllm.env.FOO", id="added"
        ),
        pytest.param({"f:containers": {'k:{"name":"vllm"}': {"f:args": {}}}}, "", id="what the plan sets is put back"),
        pytest.param({"f:nodeName": {}, "f:containers": {'k:{"name":"side"}': {}}}, "nodeName, containers.side", id="two"),
        pytest.param({"f:containers": {"k:rubbish": {}}}, "containers.rubbish", id="a key that cannot be read"),
        pytest.param({"f:volumes": {".": {}, 'k:{"name":"v"}': {".": {}, "f:emptyDir": {}}}}, "volumes.v", id="a list of theirs alone"),
        pytest.param(5, "", id="rubbish"),
    ],
)
def test_what_others_have_added_to_pods_is_said_to_stay(fields: Any, stays: str) -> None:
    child = {"metadata": {"namespace": NS, "name": "chat", "managedFields": [APPLIED, of_pods("kubectl-set", fields), 7]}}
    disputes = Disputes(Clock(), lambda _key, _seconds: None)
    disputes.yields(KEY, "Deployment", child)
    told = disputes.tell(KEY)
    assert told is not None
    assert told.message.endswith(f"is put back, {stays} stays" if stays else "what the plan sets is put back")


def theirs(generation: int = 2) -> Manifest:
    return {"metadata": {"namespace": NS, "name": "chat", "generation": generation, "managedFields": [HPA]}}


def test_the_first_change_is_put_back_at_once_and_the_next_ones_more_and_more_slowly() -> None:
    clock, again = Clock(), []
    disputes = Disputes(clock, lambda key, seconds: again.append((key, seconds)))
    delays = []
    for _ in range(14):
        waited = 0.0
        while disputes.yields(KEY, "Deployment", theirs()):
            key, seconds = again.pop()
            assert key == KEY
            assert disputes.waits(KEY, "Deployment")
            clock.now += seconds
            waited += seconds
        delays.append(waited)
        assert not disputes.waits(KEY, "Deployment")
    assert delays == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
    clock.now += FORGET_SECONDS + 1
    assert not disputes.yields(KEY, "Deployment", theirs()), "it is the first one again"
    assert not disputes.yields(KEY, "Service", theirs()), "each part is a quarrel of its own"
    assert not disputes.yields((NS, "other"), "Deployment", theirs())


@given(st.lists(st.floats(0, 400), max_size=200))
def test_however_they_change_it_it_is_put_back_in_the_end_and_not_more_often_than_it_may(pauses: list[float]) -> None:
    clock = Clock()
    disputes = Disputes(clock, lambda _key, _seconds: None)
    put_back: list[float] = []
    for pause in pauses:
        clock.now += pause
        if not disputes.yields(KEY, "Deployment", theirs()):
            put_back.append(clock.now)
    gaps = [later - earlier for earlier, later in pairwise(put_back)]
    for number, gap in enumerate(gaps):
        assert gap >= min(LONGEST_SECONDS, 2.0 ** min(number, 16)) - 1e-6
    clock.now += LONGEST_SECONDS
    assert not disputes.yields(KEY, "Deployment", theirs())


def test_what_waits_is_told_until_it_is_done_and_what_was_put_back_once() -> None:
    clock = Clock()
    disputes = Disputes(clock, lambda _key, _seconds: None)
    assert disputes.tell(KEY) is None
    disputes.yields(KEY, "Deployment", theirs())
    message = f'the Deployment {NS}/chat was changed by "horizontal-pod-autoscaler"; what the plan sets is put back'
    mended = Mended(reason=Why.CHANGED_BY_OTHERS, message=message, occasion="/")
    assert disputes.tell(KEY) == Dispute(message=message, waiting=False, mended=(mended,))
    assert disputes.tell(KEY) is None
    disputes.yields(KEY, "Deployment", theirs())
    for _ in range(2):
        told = disputes.tell(KEY)
        assert told is not None
        assert told.waiting
        assert "again and again" in told.message
    disputes.settled(KEY, "Deployment")
    assert disputes.tell(KEY) is None
    disputes.forget(KEY)
    assert not disputes.waits(KEY, "Deployment")


@pytest.fixture
def world() -> World:
    found = World(8)
    found.wish("chat", 1)
    found.work()
    found.pod("chat", 1, node="n0")
    found.work()
    return found


def replicas(manifest: Manifest) -> None:
    manifest["spec"]["replicas"] = 5


def template(manifest: Manifest) -> None:
    manifest["spec"]["template"]["spec"]["containers"][0]["args"] = ["something-else"]


def selector(manifest: Manifest) -> None:
    manifest["spec"]["selector"] = {"app": "other"}


def label(manifest: Manifest) -> None:
    manifest["metadata"]["labels"][MANAGED_LABEL] = "helm"


FIGHTS = [
    pytest.param(DEPLOYMENTS, replicas, id="an autoscaler over the replicas"),
    pytest.param(DEPLOYMENTS, template, id="a mutating policy over the template"),
    pytest.param(SERVICES, selector, id="a second operator over the Service"),
    pytest.param(DEPLOYMENTS, label, id="a deployment tool over the labels"),
]


def change(world: World, resource: Resource, how: Callable[[Manifest], None]) -> bool:
    """What the other manager does, where it is not so already."""
    found = world.kube.get(resource, NS, "chat")
    assert found is not None
    before = str((found["spec"], found["metadata"].get("labels")))
    how(found)
    found["metadata"]["managedFields"] = [OURS, entry("kyverno", "2026-01-01T10:00:00Z")]
    if before == str((found["spec"], found["metadata"].get("labels"))):
        return False
    world.kube.replace(resource, found)
    return True


@pytest.mark.thorough
@pytest.mark.parametrize(("resource", "how"), FIGHTS)
def test_a_fight_costs_few_writes_and_is_named(world: World, resource: Resource, how: Callable[[Manifest], None]) -> None:
    wrote = 0
    for _ in range(HOUR):
        world.hear()  # as a watch tells: every change, one after the other
        if change(world, resource, how):
            world.hear()
        before = len(world.kube.writes)
        while (key := world.controller.queue.take(0)) is not None:
            world.controller.worker.work_on(key)
        wrote += sum(call.kind == resource.kind for call in world.kube.writes[before:])
        world.clock.now += 1
    assert 15 <= wrote <= 25, "an hour of it"
    assert world.condition("chat", "Progressing") == ("True", "ChangedByOthers")
    assert world.condition("chat", "Ready") == ("False", "ChangedByOthers")
    assert world.condition("chat", "Stalled") == ("False", "ChangedByOthers")
    assert 'by "kyverno" again and again' in str(world.status("chat")["conditions"])
    notes = {row["note"] for row in world.kube.list_page(EVENTS).items if row["reason"] == "ChangedByOthers"}
    assert len(notes) == 2
    assert all('"kyverno"' in note for note in notes)

    for _ in range(int(LONGEST_SECONDS) + 1):  # they give up
        world.clock.now += 1
        world.work()
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    assert "kyverno" not in str(world.status("chat")["conditions"])
    assert world.writes(world.work) == []
    assert change(world, resource, how), "it was put back for good"


@pytest.mark.parametrize(("resource", "how"), FIGHTS)
def test_one_change_is_put_back_at_once_and_named_once(world: World, resource: Resource, how: Callable[[Manifest], None]) -> None:
    before = world.kube.get(resource, NS, "chat")
    change(world, resource, how)
    world.work()
    after = world.kube.get(resource, NS, "chat")
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    assert [row["reason"] for row in world.kube.list_page(EVENTS).items].count("ChangedByOthers") == 1


@pytest.mark.parametrize(("resource", "how"), FIGHTS)
def test_a_second_change_by_the_same_manager_is_told_too(world: World, resource: Resource, how: Callable[[Manifest], None]) -> None:
    for _ in range(2):
        change(world, resource, how)
        world.work()
        world.clock.now += LONGEST_SECONDS
        world.work()
    rows = [row for row in world.kube.list_page(EVENTS).items if row["reason"] == "ChangedByOthers"]
    assert [row["note"] for row in rows] == [rows[0]["note"]] * 2


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES])
def test_a_child_that_somebody_deletes_is_made_again_and_told_and_a_hundred_times_are_told_a_few_times(
    world: World, resource: Resource
) -> None:
    def notes() -> list[str]:
        return [row["note"] for row in world.kube.list_page(EVENTS).items if row["reason"] == "ChildRestored"]

    assert notes() == [], "the first one was not restored"
    world.kube.delete(resource, NS, "chat")
    world.work()
    assert world.kube.get(resource, NS, "chat") is not None
    assert notes() == [f"the {resource.kind} {NS}/chat was deleted by somebody and is made again"]
    for _ in range(100):
        world.kube.delete(resource, NS, "chat")
        world.work()
        world.clock.now += 1
    assert 5 <= len(notes()) <= 9
    counted = [int(words[0]) for note in notes() if (words := note.partition("was deleted ")[2].split())[1] == "times"]
    assert sum(counted) >= 60, "those in between are counted, and the last ones with the next"


def test_what_its_user_wishes_is_no_fight(world: World) -> None:
    for number in range(2, 7):
        world.wish("chat", 1, replicas=number)
        world.work()
        child = world.child("chat")
        assert child is not None
        assert child["spec"]["replicas"] == number
    assert "ChangedByOthers" not in str(world.kube.list_page(EVENTS).items)


def test_a_new_spec_does_not_wait_for_a_fight_to_end(world: World) -> None:
    for _ in range(8):
        change(world, DEPLOYMENTS, template)
        world.work()
    assert world.condition("chat", "Ready")[1] == "ChangedByOthers"
    world.wish("chat", 2)
    world.work()
    child = world.child("chat")
    assert child is not None
    assert "--tensor-parallel-size=2" in child["spec"]["template"]["spec"]["containers"][0]["args"]
    assert world.condition("chat", "Ready")[1] != "ChangedByOthers"


def test_a_refused_spec_scales_an_autoscalers_pods_down_no_more_often_than_it_may(world: World) -> None:
    world.wish("chat", 1, replicas=2)
    world.work()
    raw = world.kube.get(INFERENCE_DEPLOYMENTS, NS, "chat")
    assert raw is not None
    raw["spec"]["engine"]["maxModelLen"] = 10_000_000
    world.kube.replace(INFERENCE_DEPLOYMENTS, raw)
    world.controller.queue.add(KEY)
    world.work()
    before = len(world.kube.writes)
    for _ in range(60):
        change(world, DEPLOYMENTS, replicas)
        world.work()
    patches = [call for call in world.kube.writes[before:] if (call.verb, call.kind) == ("merge_patch", "Deployment")]
    assert len(patches) == 1, "no time has passed"
    world.clock.now += LONGEST_SECONDS
    world.work()
    child = world.child("chat")
    assert child is not None
    assert child["spec"]["replicas"] == 2


def test_a_deleted_deployment_is_forgotten(world: World) -> None:
    keys: list[Key] = [KEY]
    change(world, DEPLOYMENTS, template)
    world.work()
    world.kube.delete(INFERENCE_DEPLOYMENTS, *keys[0])
    world.controller.queue.add(KEY)
    world.work()
    assert world.controller.reconciler._disputes._quarrels == {}
    assert world.controller.reconciler._disputes._written == {}
