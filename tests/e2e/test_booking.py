"""A nearly full cluster on the real scheduler: whoever is called available is bound, and in which order the others follow.

Ten nodes of four GPUs, three of them half used by pods of somebody else; 38 deployments that together want twice what there is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.nodes import L4, FakeNode
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
GATE = f"{GROUP}/capacity"
DECIDED = f"{GROUP}/decided-at"
SIZES = (4,) * 6 + (2,) * 12 + (1,) * 20
GPUS_FREE = 7 * 4 + 3 * 2
BIND_LIMIT_S = 10.0
SETTLE_LIMIT_S = 120.0
QUIET_S = 2.0


@pytest.fixture(scope="module")
def installation(workdir: Path) -> Iterator[Installation]:
    """Plimsoll on a control plane of its own: what else runs on the shared one would take GPUs."""
    with ControlPlane.start(workdir / "booking") as plane:
        plane.add_nodes([FakeNode(name=f"node-{index}", gpu=L4, gpus=4) for index in range(10)])
        plane.kubectl("create", "namespace", "foreign")
        wait_until(lambda: plane.request("GET", "/api/v1/namespaces/foreign/serviceaccounts/default")[0] == 200, "the ServiceAccount")
        for index in range(3):
            status, answer = plane.request("POST", "/api/v1/namespaces/foreign/pods", _foreign_pod(index))
            assert status == 201, answer.get("message")
        wait_until(lambda: all(pod["spec"].get("nodeName") for pod in plane.pods("foreign")), "the foreign pods to be bound")
        installed = Installation(cluster=plane)
        installed.install()

        def free() -> int:
            return sum(int(pool["status"].get("freeGpus", 0)) for pool in plane.get("gpupools")["items"] if "status" in pool)

        wait_until(lambda: free() == GPUS_FREE, f"{GPUS_FREE} free GPUs in the pools")
        yield installed


def _foreign_pod(index: int) -> Json:
    container = {"name": "busy", "image": "busy", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    spec = {"nodeSelector": {"kubernetes.io/hostname": f"node-{index}"}, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"busy-{index}"}, "spec": spec}


@dataclass
class Seen:
    """One deployment at one look."""

    name: str
    gpus: int
    decided: str
    available: bool
    judged: bool
    bound: bool
    running: bool
    gated: bool
    has_pod: bool


@dataclass
class Crowd:
    """The deployments of one namespace, which of them were called available, and since when each has been so without being bound."""

    installation: Installation
    namespace: str
    waits_for_capacity: bool = False
    told: set[str] = field(default_factory=set)
    since: dict[str, float] = field(default_factory=dict)
    longest: float = 0.0

    @property
    def path(self) -> str:
        return f"/apis/{GROUP}/v1alpha1/namespaces/{self.namespace}/inferencedeployments"

    def create(self, sizes: tuple[int, ...] = SIZES) -> None:
        """All at once, mixed."""
        wishes = [(f"tp{gpus}-{index}", gpus) for index, gpus in enumerate(sizes)]
        random.Random(7).shuffle(wishes)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda wish: self._create(*wish), wishes))

    def _create(self, name: str, gpus: int) -> None:
        spec: Json = {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192, "tensorParallelSize": gpus},
            "placement": {"waitForCapacity": self.waits_for_capacity},
        }
        manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}
        status, answer = self.installation.cluster.request("POST", self.path, manifest)
        assert status == 201, answer.get("message")

    def delete(self, names: list[str]) -> None:
        for name in names:
            status, answer = self.installation.cluster.request("DELETE", f"{self.path}/{name}")
            assert status == 200, answer.get("message")

    def look(self) -> list[Seen]:
        """Every deployment as it is now. Statuses are read before pods, so that what a status says is held against what came later."""
        cluster = self.installation.cluster
        wishes = cluster.request("GET", self.path)[1]["items"]
        children = cluster.request("GET", f"/apis/apps/v1/namespaces/{self.namespace}/deployments")[1]["items"]
        decided = {child["metadata"]["name"]: child["metadata"]["annotations"].get(DECIDED, "") for child in children}
        pods = {pod["metadata"]["labels"].get(f"{GROUP}/name"): pod for pod in cluster.pods(self.namespace)}
        seen = [self._seen(wish, decided.get(wish["metadata"]["name"], ""), pods.get(wish["metadata"]["name"])) for wish in wishes]
        self._hold_to_reservations(seen)
        return seen

    def _seen(self, wish: Json, decided: str, pod: Json | None) -> Seen:
        conditions = {row["type"]: row["status"] for row in wish.get("status", {}).get("conditions", [])}
        spec = (pod or {}).get("spec", {})
        return Seen(
            name=wish["metadata"]["name"],
            gpus=wish["spec"]["engine"]["tensorParallelSize"],
            decided=decided,
            available=conditions.get("CapacityAvailable") == "True",
            judged="CapacityAvailable" in conditions,
            bound=bool(spec.get("nodeName")),
            running=(pod or {}).get("status", {}).get("phase") == "Running",
            gated=any(gate["name"] == GATE for gate in spec.get("schedulingGates") or ()),
            has_pod=pod is not None,
        )

    def _hold_to_reservations(self, seen: list[Seen]) -> None:
        now = time.monotonic()
        self.told |= {one.name for one in seen if one.available}
        for one in seen:
            assert one.available or one.name not in self.told, f"{one.name} was called available and is called so no more"
            if one.bound or not one.available:
                self.since.pop(one.name, None)
                continue
            waited = now - self.since.setdefault(one.name, now)
            self.longest = max(self.longest, waited)
            assert waited <= BIND_LIMIT_S, f"{one.name} has been called available for {waited:.1f} s and is not bound"

    def settled(self) -> list[Seen]:
        """Look until nothing has changed for a while and every deployment has its pods."""
        limit = time.monotonic() + SETTLE_LIMIT_S
        last: list[Seen] = []
        quiet_since = time.monotonic()
        while True:
            seen = self.look()
            now = time.monotonic()
            if seen != last:
                last, quiet_since = seen, now
            complete = bool(seen) and all(one.judged and one.has_pod for one in seen)
            if complete and now - quiet_since > QUIET_S:
                return seen
            assert now < limit, f"not settled after {SETTLE_LIMIT_S:.0f} s: {_without_pods(seen)}"
            time.sleep(0.1)


def _without_pods(seen: list[Seen]) -> str:
    return (
        ", ".join(f"{one.name} (judged {one.judged}, pod {one.has_pod})" for one in seen if not (one.judged and one.has_pod)) or "it moves"
    )


@pytest.fixture
def crowd(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Crowd]:
    cluster, name = installation.cluster, request.node.name.replace("_", "-")[:40].strip("-")
    cluster.kubectl("create", "namespace", name)
    wait_until(lambda: cluster.request("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")[0] == 200, "the ServiceAccount")
    yield Crowd(installation=installation, namespace=name)
    if "controller" not in cluster.processes.running():
        installation.start_controller()
    cluster.kubectl("delete", "inferencedeployments", "--all", "-n", name, "--wait=false")
    wait_until(lambda: not cluster.pods(name), f"the pods of {name} to go")


def check_settled(seen: list[Seen]) -> None:
    """Available means bound and running, everything else has no node, and no node has room for what waits."""
    for one in seen:
        assert one.available == one.bound == one.running, one
    used = sum(one.gpus for one in seen if one.bound)
    waiting = {one.gpus for one in seen if not one.bound}
    assert used <= GPUS_FREE
    assert waiting, "the crowd wants twice what there is"
    if 1 in waiting:
        assert used == GPUS_FREE, "a single GPU is free although one is waited for"


def delete_some(crowd: Crowd, seen: list[Seen]) -> None:
    """Delete two of the largest that have nodes and are no smaller than some that wait; at least as many take their place."""
    least = min(one.gpus for one in seen if not one.bound)
    victims = sorted((one for one in seen if one.bound and one.gpus >= least), key=lambda one: -one.gpus)[:2]
    assert len(victims) == 2
    before = {one.name for one in seen if one.bound}
    crowd.delete([one.name for one in victims])
    gone = {one.name for one in victims}

    def replaced() -> list[Seen]:
        now = crowd.look()
        new = [one for one in now if one.available and one.running and one.name not in before]
        return now if len(new) >= len(gone) and not gone & {one.name for one in now} else []

    wait_until(replaced, "as many pending ones to be running and available", timeout_s=60)
    check_settled(crowd.settled())


def test_what_is_called_available_is_bound_and_what_is_deleted_is_replaced(crowd: Crowd) -> None:
    start = time.monotonic()
    crowd.create()
    seen = crowd.settled()
    took = time.monotonic() - start - QUIET_S
    check_settled(seen)
    print(f"{len(SIZES)} deployments settled in {took:.1f} s; longest from available to bound {crowd.longest:.2f} s")
    delete_some(crowd, seen)


def test_the_same_with_the_leader_killed_half_way(crowd: Crowd) -> None:
    installation = crowd.installation
    installation.start_standby()
    try:
        before = installation.leader()
        crowd.create()
        wait_until(lambda: len(installation.cluster.pods(crowd.namespace)) >= 8, "the first pods", every_s=0.01)
        installation.cluster.processes["controller"].kill()
        made = sum(one.has_pod for one in crowd.look())
        wait_until(lambda: crowd.look() and installation.leader() != before, "the other controller to lead", timeout_s=40)
        check_settled(crowd.settled())
        print(f"leader killed with pods for {made} of {len(SIZES)}; longest from available to bound {crowd.longest:.2f} s")
    finally:
        installation.stop("controller-standby")


def test_gates_lift_in_the_order_of_the_decisions(crowd: Crowd) -> None:
    crowd.waits_for_capacity = True
    crowd.create()
    seen = crowd.settled()
    check_settled(seen)
    check_gates(seen)
    delete_some(crowd, seen)
    check_gates(crowd.settled())


def check_gates(seen: list[Seen]) -> None:
    """Bound are exactly those without gate, and of one size those decided first."""
    for one in seen:
        assert one.gated != one.bound, one
        assert one.decided, one
    for size in set(SIZES):
        order = sorted((one for one in seen if one.gpus == size), key=lambda one: one.decided)
        lifted = [not one.gated for one in order]
        assert lifted == sorted(lifted, reverse=True), f"size {size}: " + " ".join(
            f"{one.name}:{'lifted' if not one.gated else 'gated'}" for one in order
        )
