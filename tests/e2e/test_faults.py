"""Whatever stops or stumbles in a burst: every object that was accepted has its children in the end, once, and no other has any.

On a real control plane. What is refused meanwhile was never promised anything; who is killed is started again, as the kubelet would.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, Installation
from tests.e2e.objects import deployment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
COUNT = 30
EACH_SECONDS = 0.2
MOST_SECONDS = 90.0
STOPPED_SECONDS = 20.0
"""Longer than a lease lasts."""


@pytest.fixture
def programs(installation: Installation, own_plane: ControlPlane) -> Iterator[Installation]:
    assert installation.cluster is own_plane
    yield installation
    if "controller-standby" in own_plane.processes.running():
        installation.stop("controller-standby")
    if "controller" not in own_plane.processes.running():
        installation.start_controller()


class Burst(threading.Thread):
    """Makes objects, one after the other, until the fault is over and COUNT are taken, and remembers which were."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        super().__init__(daemon=True)
        self._plane = plane
        self._path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments"
        self.accepted: dict[str, str] = {}
        self._over = threading.Event()
        plane.proxy_port()
        self.start()

    def run(self) -> None:
        number, until = 0, time.monotonic() + MOST_SECONDS
        while time.monotonic() < until and not (self._over.is_set() and len(self.accepted) >= COUNT):
            time.sleep(EACH_SECONDS)
            number += 1
            try:
                status, answer = self._plane.request("POST", self._path, json.loads(deployment(f"d-{number}", replicas=0)))
            except OSError:
                continue
            if status == 201:
                self.accepted[answer["metadata"]["name"]] = answer["metadata"]["uid"]

    def end(self) -> None:
        """The fault is over."""
        self._over.set()
        self.join(2 * MOST_SECONDS)
        assert len(self.accepted) >= COUNT, "hardly anything was accepted: nothing was tried"


def listed(plane: ControlPlane, namespace: str, group: str, plural: str) -> list[Json]:
    status, found = plane.request("GET", f"{group}/namespaces/{namespace}/{plural}")
    assert status == 200, found
    items: list[Json] = found["items"]
    return items


def hold(programs: Installation, plane: ControlPlane, namespace: str, burst: Burst) -> None:
    """Every accepted object has exactly its children, made for it, and never made anew."""
    burst.end()

    def owned(plural: str, group: str) -> dict[str, str]:
        return {one["metadata"]["name"]: one["metadata"]["ownerReferences"][0]["uid"] for one in listed(plane, namespace, group, plural)}

    def complete() -> bool:
        if not {"controller", "controller-standby"} & set(plane.processes.running()):
            programs.start_controller()  # who has lost its lease has ended: the kubelet starts it again
        return owned("deployments", "/apis/apps/v1") == burst.accepted == owned("services", "/api/v1")

    # An object may have been stored although its answer never came: then it counts as accepted.
    for one in listed(plane, namespace, f"/apis/{GROUP}/v1alpha1", "inferencedeployments"):
        burst.accepted.setdefault(one["metadata"]["name"], one["metadata"]["uid"])
    wait_until(complete, "every accepted object to have its children", timeout_s=90)
    time.sleep(2)
    assert complete(), "and none comes or goes afterwards"
    generations = {
        one["metadata"]["name"]: one["metadata"]["generation"] for one in listed(plane, namespace, "/apis/apps/v1", "deployments")
    }
    assert set(generations.values()) == {1}, f"a child was written with other pods than first: {generations}"


def killed_twice(programs: Installation) -> None:
    for _ in range(2):
        time.sleep(1.5)
        programs.cluster.processes["controller"].kill()
        programs.start_controller()


def storage_and_api_server_restarted(programs: Installation) -> None:
    plane = programs.cluster
    assert isinstance(plane, ControlPlane)
    for component in ("etcd", "apiserver"):
        time.sleep(1)
        plane.restart_component(component)


def webhook_killed(programs: Installation) -> None:
    time.sleep(1.5)
    programs.cluster.processes["webhook"].kill()
    programs.start_webhook()


FAULTS = [
    pytest.param(killed_twice, id="the controller is killed twice"),
    pytest.param(storage_and_api_server_restarted, id="etcd and the API server are started anew, and every watch is cut"),
    pytest.param(webhook_killed, id="the webhook is killed"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_accepted_object_has_exactly_its_children(
    programs: Installation, own_plane: ControlPlane, namespace: str, fault: Callable[[Installation], None]
) -> None:
    burst = Burst(own_plane, namespace)
    fault(programs)
    hold(programs, own_plane, namespace, burst)


def test_a_leader_that_sleeps_longer_than_its_lease_makes_nothing_twice(
    programs: Installation, own_plane: ControlPlane, namespace: str
) -> None:
    programs.start_standby()
    child = own_plane.processes["controller"]
    burst = Burst(own_plane, namespace)
    time.sleep(1)
    os.killpg(child.pid, signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    os.killpg(child.pid, signal.SIGCONT)
    hold(programs, own_plane, namespace, burst)
