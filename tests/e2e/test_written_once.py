"""Many InferenceDeployments that a controller finds at its start: each object of theirs is written once, and left so at the next start.

Counted in the API server's audit log, which has every request of the controller's account. What a new controller applies to be sure of it
changes nothing, and the API server writes nothing then. DEPLOYMENTS=1000 is the whole of it, which is minutes' work.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, NAMESPACE, RELEASE, Installation
from tests.e2e.objects import deployment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
COUNT = int(os.environ.get("DEPLOYMENTS", "100"))
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-controller"
WRITES = ("create", "update", "patch", "delete")


@pytest.fixture
def programs(installation: Installation, own_plane: ControlPlane) -> Iterator[Installation]:
    assert installation.cluster is own_plane
    yield installation
    if "controller" not in own_plane.processes.running():
        installation.start_controller()


def written(plane: ControlPlane, namespace: str) -> Counter[tuple[str, str]]:
    """How often the controller has written each object of the namespace."""
    found: Counter[tuple[str, str]] = Counter()
    for event in plane.audit_events():
        about = event.get("objectRef") or {}
        if event["verb"] in WRITES and about.get("namespace") == namespace and event["user"]["username"] == ACCOUNT:
            part = f"{about['resource']}/{about['subresource']}" if about.get("subresource") else str(about["resource"])
            found[part, str(about.get("name"))] += 1
    return found


def settled(plane: ControlPlane, namespace: str) -> bool:
    """Whether every status speaks of what its Deployment has come to."""
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments"
    _, listed = plane.request("GET", path)

    def is_ready(one: Json) -> bool:
        return any((row["type"], row["status"]) == ("Ready", "True") for row in one.get("status", {}).get("conditions", ()))

    return len(listed["items"]) == COUNT and all(map(is_ready, listed["items"]))


def versions(plane: ControlPlane, namespace: str) -> dict[str, str]:
    """What the API server counts each object's writes by."""
    found: dict[str, str] = {}
    for path in (f"/apis/{GROUP}/v1alpha1", "/apis/apps/v1", "/api/v1"):
        kind = {"/apis/apps/v1": "deployments", "/api/v1": "services"}.get(path, "inferencedeployments")
        _, listed = plane.request("GET", f"{path}/namespaces/{namespace}/{kind}")
        found |= {f"{kind}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in listed["items"]}
    return found


def test_all_are_written_once_from_cold_and_not_at_all_at_the_next_start(programs: Installation, namespace: str) -> None:
    plane = programs.cluster
    assert isinstance(plane, ControlPlane)
    programs.stop("controller")
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments"
    plane.proxy_port()

    def create(number: int) -> int:
        return plane.request("POST", path, json.loads(deployment(f"d-{number}", replicas=0)))[0]

    with ThreadPoolExecutor(8) as several:
        assert set(several.map(create, range(COUNT))) == {201}
    began = time.monotonic()
    programs.start_controller()
    wait_until(lambda: settled(plane, namespace), "every status", timeout_s=600, every_s=COUNT / 200)
    took = time.monotonic() - began
    time.sleep(5)
    counts = written(plane, namespace)
    most = {part: max(count for (one, _), count in counts.items() if one == part) for part in {part for part, _ in counts}}
    print(f"\n{COUNT} deployments {took:.0f} s after the controller's start: writes {sum(counts.values())}, most of one object {most}")
    assert most == {"deployments": 1, "services": 1, "inferencedeployments/status": 2, "events": 1}
    before = versions(plane, namespace)
    assert len(before) == 3 * COUNT
    programs.stop("controller")
    programs.start_controller()
    looked = len(counts)
    wait_until(
        lambda: sum(written(plane, namespace).values()) >= sum(counts.values()) + COUNT,
        "a look at every Deployment",
        timeout_s=300,
        every_s=1,
    )
    time.sleep(5)
    again = written(plane, namespace) - counts
    assert (len(written(plane, namespace)), again.total(), set(again.values())) == (looked, COUNT, {1})
    assert versions(plane, namespace) == before
