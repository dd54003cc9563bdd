"""The controller and what a newer release has left in the cluster: running pods stay, nothing is made, and each object says why."""

from datetime import UTC, datetime

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.reconcile_world import World

from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.reporting.policy_status import PolicyStatus, condition_of
from plimsoll_operator.decision import decide
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    ENGINE_CALIBRATIONS,
    FIT_POLICIES,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    MODEL_PROFILES,
    NAMESPACES,
    NODES,
    Manifest,
    Resource,
)

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
WRONG = {"mode": "Someday"}


def an(resource: Resource, name: str, spec: Manifest, namespace: str = "") -> Manifest:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def world() -> World:
    made = World(FakeKube(), gpu_node("n1"), gpu_node("n2"))
    made.controller = Controller(made.kube, decide, identity="test")
    return made


def said(made: World, resource: Resource, name: str, namespace: str = "") -> tuple[str, str, str]:
    rows = (made.kube.get(resource, namespace, name) or {})["status"]["conditions"]
    return (rows[0]["status"], rows[0]["reason"], rows[0]["message"])


def test_no_pods_are_made_under_a_policy_that_cannot_be_read_and_those_that_run_stay() -> None:
    made = world()
    made.wish("before", model=LLAMA, maxModelLen=8192)
    made.settle()
    assert made.kube.get(DEPLOYMENTS, NS, "before") is not None
    made.kube.create(FIT_POLICIES, an(FIT_POLICIES, "default", WRONG))
    made.wish("after", model=LLAMA, maxModelLen=8192)
    made.settle()
    assert made.kube.get(DEPLOYMENTS, NS, "before") is not None
    assert made.kube.get(DEPLOYMENTS, NS, "after") is None
    assert made.condition("after", "Feasible") == ("False", "PolicyUnreadable")
    made.kube.delete(FIT_POLICIES, "", "default")
    made.settle()
    assert made.kube.get(DEPLOYMENTS, NS, "after") is not None, "what can be read again decides again"


def test_replicas_that_pass_the_webhook_are_held_under_it() -> None:
    made = world()
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    made.kube.create(FIT_POLICIES, an(FIT_POLICIES, "default", WRONG))
    made.settle()
    old = made.one(INFERENCE_DEPLOYMENTS, "chat")
    made.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "spec": {**old["spec"], "replicas": 2}})
    made.settle()
    assert made.one(DEPLOYMENTS, "chat")["spec"]["replicas"] == 1
    made.kube.delete(FIT_POLICIES, "", "default")
    made.settle()
    made.controller.enqueue([(NS, "chat")])
    made.settle()
    assert made.one(DEPLOYMENTS, "chat")["spec"]["replicas"] == 2


@pytest.mark.parametrize(("mode", "replicas"), [("Enforce", 1), ("Warn", 2)])
def test_what_a_policy_forbids_since_keeps_its_pods_and_gets_no_more(mode: str, replicas: int) -> None:
    made = world()
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    made.kube.create(FIT_POLICIES, an(FIT_POLICIES, "default", {"allowedImages": ["ghcr.io/acme"], "mode": mode}))
    made.settle()
    assert made.condition("chat", "Feasible")[1] == "PolicyForbids"
    old = made.one(INFERENCE_DEPLOYMENTS, "chat")
    made.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "spec": {**old["spec"], "replicas": 2}})
    made.settle()
    assert made.one(DEPLOYMENTS, "chat")["spec"]["replicas"] == replicas


def test_a_policy_holds_from_the_moment_a_namespace_has_its_labels() -> None:
    """What lets nothing in is decided by labels that the controller may hear of later than of the deployment."""
    made = world()
    selector = {"matchLabels": {"team": "blue"}}
    made.kube.create(FIT_POLICIES, an(FIT_POLICIES, "blue", {"namespaceSelector": selector, "maxGpusPerNamespace": 0}))
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    assert made.condition("chat", "Feasible") == ("False", "PolicyUnreadable")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS, "labels": {"team": "blue"}}}
    made.kube.create(NAMESPACES, namespace)
    made.settle()
    assert made.condition("chat", "Feasible") == ("False", "PolicyCap")
    changed = {**namespace, "metadata": {"name": NS, "labels": {"team": "red"}}}
    made.controller.objects.namespace_changed(("", NS), None, namespace)
    made.drain()
    made.kube.replace(NAMESPACES, changed)
    for informer in made.controller.informers:
        informer.relist()
    made.drain()
    assert made.kube.get(DEPLOYMENTS, NS, "chat") is not None, "a change of labels is looked at without waiting for the resync"


ACCEPTED = [
    ("one that is understood", {"mode": "Warn"}, ("True", "Accepted"), "holds"),
    ("one with fields of a newer release", {"calibrationTrust": {"b": 1}, "a": 1}, ("True", "PartlyKnown"), "a, spec.calibrationTrust.b"),
    ("one with an image that is none", {"allowedImages": ["ghcr.io/Acme"]}, ("True", "PartlyKnown"), "nothing lies under it"),
    ("one that cannot be read", WRONG, ("False", "Unreadable"), 'spec.mode: "Someday" must be one of'),
]


@pytest.mark.parametrize(("why", "spec", "expected", "words"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_each_policy_says_whether_it_is_understood(why: str, spec: Manifest, expected: tuple[str, str], words: str) -> None:
    made = world()
    made.kube.create(FIT_POLICIES, an(FIT_POLICIES, "default", spec))
    made.settle()
    made.controller.policy_status.write_due()
    status, reason, message = said(made, FIT_POLICIES, "default")
    assert ((status, reason), words in message) == (expected, True)
    writes = len(made.kube.writes)
    made.settle()
    made.controller.policy_status.write_due()
    assert len(made.kube.writes) == writes, "what is said already is not said again"


def test_a_status_that_is_refused_keeps_no_other_from_being_written_and_is_tried_again() -> None:
    now = [0.0]
    made = world()
    made.controller = Controller(made.kube, decide, identity="test", clock=lambda: now[0])
    for name in ("a", "b"):
        made.kube.create(FIT_POLICIES, an(FIT_POLICIES, name, {"namespaceSelector": {}}))
    made.settle()
    made.kube.fail_next("apply", ApiFailure(403, "Forbidden", "no"))
    made.controller.policy_status.write_due()
    written = [call.key[1] for call in made.kube.writes if call.kind == "FitPolicy" and call.verb == "apply"]
    assert len(written) == 1
    now[0] += 60
    made.controller.policy_status.write_due()
    written = [call.key[1] for call in made.kube.writes if call.kind == "FitPolicy" and call.verb == "apply"]
    assert sorted(written) == ["a", "b"]


def test_a_wish_of_a_newer_release_is_refused_by_name_and_what_runs_of_it_stays_booked() -> None:
    made = world()
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    before, plan = made.one(DEPLOYMENTS, "chat"), made.status("chat")["plan"]
    made.wish("chat", model=LLAMA, maxModelLen=8192, ofTomorrow=True)
    made.wish("other", model=LLAMA, maxModelLen=8192, ofTomorrow=True)
    made.settle()
    assert made.condition("other", "Feasible") == ("False", "NotSupportedYet")
    assert made.kube.get(DEPLOYMENTS, NS, "other") is None
    assert made.condition("chat", "Feasible") == ("False", "NotSupportedYet")
    assert "spec.engine.ofTomorrow is a field that this release does not know" in str(made.status("chat")["conditions"])
    assert (made.one(DEPLOYMENTS, "chat")["spec"], made.status("chat")["plan"]) == (before["spec"], plan)
    assert made.controller.ledger.reserved((NS, "chat")) is not None


WHERE = [
    ("default", {}, "in every namespace that no other policy holds for"),
    ("blue", {"namespaceSelector": {"matchLabels": {"a": "b"}}}, "where its selector holds"),
    ("blue", {}, "in every namespace that no policy before it by name holds for"),
]


@pytest.mark.parametrize(("name", "spec", "where"), WHERE, ids=[row[2] for row in WHERE])
def test_it_says_where_nothing_is_admitted(name: str, spec: Manifest, where: str) -> None:
    assert f"nothing new is admitted {where}; running pods stay." in condition_of(an(FIT_POLICIES, name, WRONG | spec))[2]


def test_nothing_is_planned_on_nodes_that_an_unreadable_pool_selects() -> None:
    """It may say that they have less memory than their labels tell."""
    made = world()
    made.kube.create(
        GPU_POOLS, an(GPU_POOLS, "less", {"selector": {"nvidia.com/gpu.product": "NVIDIA-L4"}, "usableMemoryBytes": {"gib": 8}})
    )
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    made.controller.pool_writer.write()
    assert made.kube.get(DEPLOYMENTS, NS, "chat") is None
    status, reason, message = said(made, GPU_POOLS, "less")
    assert (status, reason) == ("False", "GpuPoolUnreadable")
    assert "GPUPool less cannot be read by this release" in message


def test_a_derived_pool_whose_spec_cannot_be_read_is_not_offered_and_never_deleted() -> None:
    made = world()
    made.settle()
    made.controller.pool_writer.write()
    (name,) = [pool["metadata"]["name"] for pool in made.kube.list_page(GPU_POOLS).items]
    old = made.kube.get(GPU_POOLS, "", name) or {}
    made.kube.replace(GPU_POOLS, {**old, "spec": {"usableMemoryBytes": {"gib": 8}}})
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    made.controller.pool_writer.write()
    assert made.kube.get(DEPLOYMENTS, NS, "chat") is None
    assert said(made, GPU_POOLS, name)[:2] == ("False", "GpuPoolUnreadable")
    for node in ("n1", "n2"):
        made.kube.delete(NODES, "", node)
    made.settle()
    made.controller.pool_writer.write()
    assert (made.kube.get(GPU_POOLS, "", name) or {})["spec"] == {"usableMemoryBytes": {"gib": 8}}


def test_a_profile_that_cannot_be_read_says_so() -> None:
    made = world()
    made.kube.create(MODEL_PROFILES, an(MODEL_PROFILES, "p", {"model": LLAMA, "config": "{}", "weights": {"totalBytes": "many"}}, NS))
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    while made.controller.profile_status.loop.run_once(0.0):
        pass
    status, reason, message = said(made, MODEL_PROFILES, "p", NS)
    assert (status, reason, "spec.weights.totalBytes" in message) == ("False", "Invalid", True)
    assert made.condition("chat", "Feasible") == ("Unknown", "UnknownModel")


def test_a_calibration_that_cannot_be_read_says_that_it_corrects_nothing() -> None:
    made = world()
    row = {"engineMinor": "0.19", "component": "ofTomorrow", "addBytes": 1}
    made.kube.create(ENGINE_CALIBRATIONS, an(ENGINE_CALIBRATIONS, "learned", {"corrections": [row]}))
    made.settle()
    made.controller.calibration_writer.write_if_changed()
    status, reason, message = said(made, ENGINE_CALIBRATIONS, "learned")
    assert (status, reason, "None of its corrections is made" in message) == ("False", "Unreadable", True)


def test_a_policy_that_is_gone_is_told_nothing_and_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The informer's word of the deletion may come after the look, or never where a watch has ended."""
    kube, now, tried = FakeKube(), [0.0], list[float]()

    class Counted(FakeKube):
        def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
            tried.append(now[0])
            return kube.apply(resource, manifest, subresource=subresource)

    status = PolicyStatus(Counted(), clock=lambda: now[0], now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    kube.create(FIT_POLICIES, an(FIT_POLICIES, "gone", {"namespaceSelector": {}}))
    status.changed(("", "gone"), None, kube.get(FIT_POLICIES, "", "gone"))
    kube.delete(FIT_POLICIES, "", "gone")
    for _ in range(5):
        status.write_due()
        now[0] += 60
    assert tried == [0.0]
    assert "again" not in caplog.text
    status.changed(("", "gone"), None, kube.create(FIT_POLICIES, an(FIT_POLICIES, "gone", {"namespaceSelector": {}})))
    status.write_due()
    found = kube.get(FIT_POLICIES, "", "gone")
    assert found is not None
    assert found["status"]["conditions"][0]["reason"] == "Accepted", "one of the same name is told"


def test_a_private_image_that_an_earlier_release_took_by_its_tag_keeps_its_pods_and_is_told_to_name_its_version() -> None:
    made = world()
    made.wish("chat", model=LLAMA, maxModelLen=8192)
    made.settle()
    made.bind("chat", "n1", "chat-0")
    child = made.one(DEPLOYMENTS, "chat")
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    made.kube.replace(DEPLOYMENTS, {**child, "status": {"observedGeneration": child["metadata"]["generation"], **counts}})
    made.settle()
    before = made.status("chat")
    old = made.one(INFERENCE_DEPLOYMENTS, "chat")
    stored = {**old["spec"], "engine": {**old["spec"]["engine"], "image": "registry.example/team/vllm:v0.19.0"}}
    made.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "spec": stored})
    made.controller = Controller(made.kube, decide, identity="newer")
    made.settle()
    assert made.one(DEPLOYMENTS, "chat")["spec"] == child["spec"]
    status = made.one(INFERENCE_DEPLOYMENTS, "chat")["status"]
    rows = {row["type"]: row for row in status["conditions"]}
    assert "set version to the release in the image" in rows["Feasible"]["message"]
    assert "the existing pods keep running on the plan of generation 1" in rows["Stalled"]["message"]
    assert status["plan"] == before["plan"], "what runs is what status shows"
    assert (status["replicas"], status["readyReplicas"], status["selector"]) == (1, 1, before["selector"])
    assert rows["CapacityAvailable"]["reason"] == "Bound"
    assert rows["Available"]["status"] == "True"


def test_the_unbound_pods_of_what_cannot_be_read_any_more_keep_their_gpus_and_nothing_is_written_twice() -> None:
    made = world()
    made.wish("chat", model=LLAMA, maxModelLen=8192, tensorParallelSize=1)
    made.settle()
    old = made.one(INFERENCE_DEPLOYMENTS, "chat")
    stored = {**old["spec"], "engine": {**old["spec"]["engine"], "image": "registry.example/team/vllm:v0.19.0"}}
    made.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "spec": stored})
    before = sum(pool["status"]["bookedGpus"] for pool in _pools(made))
    made.settle()
    assert sum(pool["status"]["bookedGpus"] for pool in _pools(made)) == before == 1
    rows = {row["type"]: row for row in made.status("chat")["conditions"]}
    assert rows["CapacityAvailable"]["status"] == "True", "the pod is not on a node yet, and its GPU is booked"
    assert made.writes(made.settle) == []


def _pools(made: World) -> list[Manifest]:
    made.controller.pool_writer.write()
    return list(made.kube.list_page(GPU_POOLS).items)
