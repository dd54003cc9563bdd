"""The life of engine pods on a real node: what they may write and see, that they end when nobody is answered any more, and not before.

Run by `make node`, on a node that says it has two GPUs, with a stand-in for vllm that counts its requests as vLLM does.
"""

import threading
import time
from typing import Any

import pytest
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.node.real_node import NAME, RealNode
from tests.e2e.engines import IMAGE, TEAM, asked, condition, container, is_running, newest_pod, ready, told, wish

pytestmark = pytest.mark.e2e
ENDS_WITHIN_S = 15
"""Without a request: five seconds to leave the Service, two looks at the figures, and what the container runtime takes."""


class Request(threading.Thread):
    """A request that takes so long, through the Service; what came of it, and when."""

    def __init__(self, node: RealNode, seconds: int) -> None:
        super().__init__(daemon=True)
        self._node, self._seconds = node, seconds
        self.answer: tuple[int, Json] = (0, {})
        self.ended = 0.0
        self.start()
        time.sleep(1)

    def run(self) -> None:
        self.answer = asked(self._node, f"/work/{self._seconds}")
        self.ended = time.monotonic()


def test_a_pod_that_is_deleted_ends_when_its_requests_are_answered_and_not_before(team: RealNode) -> None:
    wish(team)
    ready(team)
    name = newest_pod(team)["metadata"]["name"]
    request = Request(team, 20)
    began = time.monotonic()
    team.kubectl("delete", "pod", name, "-n", TEAM, "--wait=false")
    wait_until(lambda: name not in {pod["metadata"]["name"] for pod in team.pods(TEAM)}, "the pod to go", timeout_s=90, every_s=0.1)
    gone = time.monotonic()
    request.join(30)
    print(f"\nrequest answered {request.ended - began:.1f} s after the deletion, pod gone after {gone - began:.1f} s")
    assert request.answer == (200, {"done": "/work/20"})
    assert 0 < gone - request.ended < ENDS_WITHIN_S
    ready(team)


def test_a_pod_without_requests_ends_at_once(team: RealNode) -> None:
    wish(team)
    ready(team)
    began = time.monotonic()
    team.kubectl("delete", "infd", "chat", "-n", TEAM)
    wait_until(lambda: not team.pods(TEAM), "the pod to go", timeout_s=60, every_s=0.1)
    print(f"\nan idle engine went in {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < ENDS_WITHIN_S


def test_a_request_that_takes_longer_than_a_pod_may_is_cut_off_at_its_grace_period(team: RealNode) -> None:
    wish(team, terminationGracePeriodSeconds=25)
    ready(team)
    Request(team, 120)
    began = time.monotonic()
    team.kubectl("delete", "infd", "chat", "-n", TEAM)
    wait_until(lambda: not team.pods(TEAM), "the pod to go", timeout_s=60, every_s=0.1)
    print(f"\na busy engine was cut off after {time.monotonic() - began:.1f} s of 25")
    assert 8 < time.monotonic() - began < 32


def test_a_roll_to_another_plan_loses_no_request(team: RealNode) -> None:
    """Two GPUs, one replica: the new pod comes beside the old one, which answers what it has begun."""
    wish(team)
    ready(team)
    request = Request(team, 25)
    wish(team, env=[{"name": "ROLLED", "value": "yes"}])
    request.join(60)
    assert request.answer[0] == 200
    ready(team)


def test_a_drained_node_lets_requests_end_and_says_what_the_next_pod_waits_for(team: RealNode) -> None:
    """As before maintenance of the only node with GPUs. The programs of the chart stay: what drains here are the team's pods."""
    wish(team)
    ready(team)
    request = Request(team, 15)
    try:
        drained = ("drain", NAME, "--pod-selector=inference.plimsoll.dev/name=chat", "--delete-emptydir-data", "--timeout=90s")
        team.kubectl(*drained, timeout_s=100)
        request.join(30)
        assert request.answer[0] == 200
        wait_until(lambda: condition(team, "CapacityAvailable")[0] == "False", "what the next pod waits for", timeout_s=10)
        _, reason, message = condition(team, "CapacityAvailable")
        print(f"\ndrained: {reason}: {message}")
        assert reason in ("WaitingForGpus", "NotScheduled")
        assert condition(team, "Ready")[0] == "False"
    finally:
        team.kubectl("uncordon", NAME)
    ready(team)


def test_an_engine_that_is_deleted_while_it_loads_gives_its_gpus_back_at_once(team: RealNode) -> None:
    """It hears no signal while it loads; as the first process of its namespace it would hold them for its grace period of a minute."""
    wish(team, behaves="serve after 600")
    wait_until(lambda: is_running(team), "the engine to load", timeout_s=30)
    began = time.monotonic()
    team.kubectl("delete", "infd", "chat", "-n", TEAM)
    wait_until(lambda: not team.pods(TEAM), "the pod to go", timeout_s=40)
    print(f"\na loading engine went in {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 15


SECURITY = {
    "as the image's root": {},
    "as a user without a name": {"securityContext": {"runAsUser": 2000, "runAsGroup": 2000}},
    "with a root that cannot be written": {"securityContext": {"runAsUser": 2000, "fsGroup": 2000, "readOnlyRootFilesystem": True}},
}


@pytest.mark.parametrize("template", SECURITY.values(), ids=SECURITY)
def test_what_an_engine_writes_it_can_and_what_it_compiled_outlives_its_container(team: RealNode, template: dict[str, Any]) -> None:
    wish(team, **template)
    ready(team)
    found = told(team)
    assert {"hub", "compiled", "/tmp", "/dev/shm"} <= set(found["can_write"])
    assert ("/" in found["can_write"]) == (template == {})
    assert found["uid"] == (template.get("securityContext") or {}).get("runAsUser", 0)
    assert found["starts"] == 1
    asked(team, "/end")
    wait_until(lambda: container(team).get("restartCount") == 1, "the container to be started again", timeout_s=60)
    wait_until(lambda: container(team).get("ready"), "the engine to serve again", timeout_s=60)
    assert told(team)["starts"] == 2


def test_containers_beside_the_engine_are_told_that_there_is_no_gpu(team: RealNode) -> None:
    """Their image says, as every CUDA image does, that all GPUs of the node are to be shown."""
    look = [
        "python3",
        "-c",
        "import os, time; print(os.environ.get('NVIDIA_VISIBLE_DEVICES'), flush=True); time.sleep(float(os.environ['STAYS']))",
    ]

    def beside(name: str, stays: int, **more: object) -> Json:
        return {"name": name, "image": IMAGE, "command": look, "env": [{"name": "STAYS", "value": str(stays)}], **more}

    wish(
        team,
        terminationGracePeriodSeconds=20,  # which these, deaf to signals as any first process, are given whole
        sidecars=[beside("router", 3600)],
        initContainers=[beside("prepares", 0), beside("proxy", 3600, restartPolicy="Always")],
    )
    ready(team)
    name = newest_pod(team)["metadata"]["name"]
    seen = {one: team.kubectl("logs", name, "-n", TEAM, "-c", one).stdout.strip() for one in ("prepares", "proxy", "router")}
    assert seen == dict.fromkeys(seen, "void")
    assert told(team)["gpus"] == "all"
