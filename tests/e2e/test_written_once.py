"""Many InferenceDeployments that a controller finds at its start: each object of theirs is written once, and left so at the next start.

Counted in the API server's audit log, which has every request of the controller's account. A new controller recognises by what it lists
what nobody has changed: it neither writes nor reads any of it, and so has time for what is new. DEPLOYMENTS=1000 is the whole of it, which
is minutes' work.
"""

import json
import os
import re
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
NEW_SECONDS = 4.0
"""Two on a machine that does nothing else."""
WRITES = ("create", "update", "patch", "delete")


@pytest.fixture
def programs(installation: Installation, own_plane: ControlPlane) -> Iterator[Installation]:
    assert installation.cluster is own_plane
    yield installation
    if "controller" not in own_plane.processes.running():
        installation.start_controller()


def requests(plane: ControlPlane, namespace: str) -> list[Json]:
    """What the controller has asked of the API server about objects of the namespace."""
    return [
        event
        for event in plane.audit_events()
        if (event.get("objectRef") or {}).get("namespace") == namespace and event["user"]["username"] == ACCOUNT
    ]


def written(plane: ControlPlane, namespace: str) -> Counter[tuple[str, str]]:
    """How often the controller has written each object of the namespace."""
    found: Counter[tuple[str, str]] = Counter()
    for event in requests(plane, namespace):
        about = event["objectRef"]
        if event["verb"] in WRITES:
            part = f"{about['resource']}/{about['subresource']}" if about.get("subresource") else str(about["resource"])
            found[part, str(about.get("name"))] += 1
    return found


def looks(programs: Installation) -> int:
    """How many times the controller that runs has looked at a deployment."""
    rows = re.findall(r"^plimsoll_reconcile_duration_seconds_count\{.*\} (.*)$", programs.metrics("controller"), re.MULTILINE)
    return int(sum(map(float, rows)))


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


def create_all(plane: ControlPlane, namespace: str) -> None:
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments"
    plane.proxy_port()

    def create(number: int) -> int:
        return plane.request("POST", path, json.loads(deployment(f"d-{number}", replicas=0)))[0]

    with ThreadPoolExecutor(8) as several:
        assert set(several.map(create, range(COUNT))) == {201}


def test_all_are_written_once_from_cold_and_not_even_read_at_the_next_start(programs: Installation, namespace: str) -> None:
    plane = programs.cluster
    assert isinstance(plane, ControlPlane)
    programs.stop("controller")
    create_all(plane, namespace)
    began = time.monotonic()
    programs.start_controller()
    wait_until(lambda: settled(plane, namespace), "every status", timeout_s=600, every_s=COUNT / 200)
    took = time.monotonic() - began
    time.sleep(5)
    counts, asked = written(plane, namespace), len(requests(plane, namespace))
    most = {part: max(count for (one, _), count in counts.items() if one == part) for part in {part for part, _ in counts}}
    print(f"\n{COUNT} deployments {took:.0f} s after the controller's start: {asked} requests, of them writes {sum(counts.values())}")
    print(f"most writes of one object: {most}")
    assert most == {"deployments": 1, "services": 1, "inferencedeployments/status": 2, "events": 1}
    before = versions(plane, namespace)
    assert len(before) == 3 * COUNT
    programs.stop("controller")
    programs.start_controller()
    wait_until(lambda: looks(programs) >= COUNT, "a look at every InferenceDeployment", timeout_s=300, every_s=1)
    time.sleep(5)
    again = requests(plane, namespace)[asked:]
    assert not again, f"{len(again)} requests about what nobody has changed, such as {again[0]['verb']} {again[0]['requestURI']}"
    assert versions(plane, namespace) == before
    # Somebody has meddled while nobody led: that is seen, and put back.
    programs.stop("controller")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d-0"
    engine = {"name": plane.request("GET", path)[1]["spec"]["template"]["spec"]["containers"][0]["name"], "image": "docker.io/else/where:1"}
    for name in ("kubectl-edit", "plimsoll-controller"):  # under its own name, and under ours
        meddled = {"spec": {"template": {"spec": {"containers": [engine]}}}}
        status, _ = plane.request("PATCH", f"{path}?fieldManager={name}", meddled, content_type="application/strategic-merge-patch+json")
        assert status == 200
        programs.start_controller()
        wait_until(lambda: image_of(plane, path) != engine["image"], "the image to be put back")
        programs.stop("controller")


def test_a_new_object_does_not_wait_for_the_old_ones_at_a_new_leader(programs: Installation, namespace: str) -> None:
    plane = programs.cluster
    assert isinstance(plane, ControlPlane)
    create_all(plane, namespace)
    wait_until(lambda: settled(plane, namespace), "every status", timeout_s=600, every_s=COUNT / 200)
    standby = programs.start_standby()
    old = programs.leader()
    try:
        programs.stop("controller")
        path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments"
        assert plane.request("POST", path, json.loads(deployment("new", replicas=0)))[0] == 201
        wait_until(lambda: programs.leader() not in ("", old), "another leader", every_s=0.05)
        began = time.monotonic()
        child = f"/apis/apps/v1/namespaces/{namespace}/deployments/new"
        wait_until(lambda: plane.request("GET", child)[0] == 200, "the new object's child", every_s=0.05)
        took = time.monotonic() - began
        print(f"\nthe Deployment of a new object {took:.1f} s after another leader had the lease, beside {COUNT} old ones")
        assert took < NEW_SECONDS
    finally:
        standby.check()
        programs.start_controller()
        programs.stop("controller-standby")


def image_of(plane: ControlPlane, path: str) -> str:
    return str(plane.request("GET", path)[1]["spec"]["template"]["spec"]["containers"][0]["image"])
