"""Pods that the API server refuses: what the child tells of it, and that status says it while it is so and no longer."""

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World

from plimsoll_operator.conditions import PodsRefused
from plimsoll_operator.controller.children.refusals import MAX_WORDS, pods_refused
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.ports import DEPLOYMENTS, EVENTS, Manifest

QUOTA = 'pods "chat-5d4-x2x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0'
SECURITY = 'pods "c" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "vllm" must set it)'
LIMITS = 'pods "c" is forbidden: maximum memory usage per Container is 1Gi, but limit is 20Gi'
WEBHOOK = 'admission webhook "images.example.com" denied the request: image is not signed'
INVALID = 'Pod "c" is invalid: spec.containers[0].image: Required value'


def failing(message: object, *, reason: str = "FailedCreate", status: str = "True") -> Manifest:
    return {"type": "ReplicaFailure", "status": status, "reason": reason, "message": message}


def child(*conditions: Manifest, observed: int = 3, **status: object) -> Manifest:
    return {
        "kind": "Deployment",
        "metadata": {"namespace": NS, "name": "chat", "generation": 3},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": observed, "conditions": list(conditions), **status},
    }


@pytest.mark.parametrize(
    ("manifest", "found"),
    [
        pytest.param(child(), None, id="no condition at all"),
        pytest.param(child(failing(QUOTA, status="False")), None, id="a condition that is over"),
        pytest.param(child(failing("no", reason="FailedDelete")), None, id="a pod that could not be deleted"),
        pytest.param(child(failing(QUOTA), observed=2), None, id="a refusal of an earlier spec"),
        pytest.param(child(failing(QUOTA)), PodsRefused(message=QUOTA, final=True), id="a quota"),
        pytest.param(child(failing(SECURITY)), PodsRefused(message=SECURITY, final=True), id="Pod Security"),
        pytest.param(child(failing(LIMITS)), PodsRefused(message=LIMITS, final=True), id="a LimitRange"),
        pytest.param(child(failing(WEBHOOK)), PodsRefused(message=WEBHOOK, final=True), id="somebody's admission webhook"),
        pytest.param(child(failing(INVALID)), PodsRefused(message=INVALID, final=True), id="a pod that is invalid"),
        pytest.param(
            child(failing("Internal error occurred: context deadline exceeded")),
            PodsRefused(message="Internal error occurred: context deadline exceeded", final=False),
            id="an error that may pass by itself",
        ),
        pytest.param(
            child(failing(QUOTA), terminatingReplicas=1),
            PodsRefused(message=QUOTA, final=False),
            id="a quota that is full of pods on their way out",
        ),
        pytest.param(
            child(failing("a\n  b\tis forbidden")), PodsRefused(message="a b is forbidden", final=True), id="several lines are one"
        ),
        pytest.param(
            child(failing("is forbidden " + "x" * 5000)),
            PodsRefused(message=("is forbidden " + "x" * 5000)[:MAX_WORDS], final=True),
            id="a book is cut",
        ),
        pytest.param(child(failing(None)), PodsRefused(message="", final=False), id="no words"),
    ],
)
def test_what_a_child_tells_of_refused_pods(manifest: Manifest, found: PodsRefused | None) -> None:
    assert pods_refused(manifest) == found
    assert pods_refused(trim.child(manifest)) == found, "the caches keep the words"


def test_words_of_progress_wake_nobody() -> None:
    words = [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": text} for text in ("1 of 3", "2 of 3")]
    assert trim.child(child(words[0])) == trim.child(child(words[1]))


def tell(world: World, *conditions: Manifest) -> None:
    found = world.child("chat")
    assert found is not None
    found["status"] = {"observedGeneration": found["metadata"]["generation"], "conditions": list(conditions)}
    world.kube.replace(DEPLOYMENTS, found)
    world.work()


def test_status_and_an_event_say_it_at_once_and_no_longer_than_it_lasts() -> None:
    world = World(4)
    world.wish("chat", 1)
    world.work()
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    tell(world, failing(QUOTA))
    assert world.condition("chat", "Stalled") == ("True", "PodsRefused")
    assert "exceeded quota: small" in str(world.status("chat")["conditions"])
    (event,) = [row for row in world.kube.list_page(EVENTS).items if row["reason"] == "PodsRefused"]
    assert (event["type"], QUOTA in event["note"]) == ("Warning", True)
    assert world.writes(world.work) == []
    tell(world, failing(SECURITY))
    assert "PodSecurity" in str(world.status("chat")["conditions"])
    tell(world)
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")
    assert "forbidden" not in str(world.status("chat")["conditions"])


def test_a_child_that_somebody_deletes_meanwhile_comes_back_with_the_same_plan() -> None:
    world = World(4)
    world.wish("chat", 1)
    world.work()
    tell(world, failing(QUOTA))
    plan = world.status("chat")["plan"]
    world.wish("other", 4)  # what is free has changed: another decision would be another plan
    world.work()
    world.kube.delete(DEPLOYMENTS, NS, "chat")
    world.work()
    assert world.child("chat") is not None
    assert world.status("chat")["plan"] == plan
