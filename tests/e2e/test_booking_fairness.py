"""Tenants with the role edit whose pods never come or never bind, against a neighbour whose pods wait behind the capacity gate."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.nodes import L4, FakeNode
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
GPUS = 4
# One failing claim (10 s), the idle GPUs that are lent after it (24 s), and the tests' own busy machine.
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def installation(workdir: Path) -> Iterator[Installation]:
    """Plimsoll on a control plane of its own with one node of four GPUs."""
    with ControlPlane.start(workdir / "fairness") as plane:
        plane.add_nodes([FakeNode(name="node-0", gpu=L4, gpus=GPUS)])
        installed = Installation(cluster=plane)
        installed.install()
        wait_until(lambda: free(plane) == GPUS, "the free GPUs in the pools")
        yield installed


def free(cluster: ControlPlane) -> int:
    return sum(int(pool["status"].get("freeGpus", 0)) for pool in cluster.get("gpupools")["items"] if "status" in pool)


@pytest.fixture
def cluster(installation: Installation) -> Iterator[ControlPlane]:
    """The control plane with two namespaces, one of which a user called attacker may edit; emptied afterwards."""
    plane = installation.cluster
    assert isinstance(plane, ControlPlane)
    for name in ("honest", "attacker"):
        plane.kubectl("create", "namespace", name)
        wait_until(partial(answers, plane, f"/api/v1/namespaces/{name}/serviceaccounts/default", 200), "the account")
    plane.kubectl("create", "rolebinding", "edit", "-n", "attacker", "--clusterrole=edit", "--user=attacker")
    wait_until(
        lambda: plane.kubectl("auth", "can-i", "create", "infd", "-n", "attacker", "--as=attacker", check=False).returncode == 0, "edit"
    )
    yield plane
    for name in ("honest", "attacker"):
        plane.kubectl("delete", "inferencedeployments,pods", "--all", "-n", name, "--wait=false", "--grace-period=0", "--force")
        plane.kubectl("delete", "namespace", name, "--wait=false")
    for name in ("honest", "attacker"):
        wait_until(partial(answers, plane, f"/api/v1/namespaces/{name}", 404), "the namespaces to go", timeout_s=120)
    wait_until(lambda: free(plane) == GPUS, "nothing to be left booked", timeout_s=60)


def answers(plane: ControlPlane, path: str, status: int) -> bool:
    return plane.request("GET", path)[0] == status


def wish(name: str, gpus: int, replicas: int = 1, **placement: object) -> Json:
    spec: Json = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "replicas": replicas,
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192, "tensorParallelSize": gpus},
        "placement": placement,
    }
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def attack(cluster: ControlPlane, *manifests: Json) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    cluster.kubectl("create", "--as=attacker", "-n", "attacker", "-f", "-", stdin=json.dumps(items))


def serves(cluster: ControlPlane, name: str = "whole-node") -> float:
    """A gated deployment of the whole node is made, and comes to run and to be called available. Returns the seconds it took."""
    started = time.monotonic()
    cluster.kubectl("create", "-n", "honest", "-f", "-", stdin=json.dumps(wish(name, GPUS, waitForCapacity=True)))

    def available() -> bool:
        pods = cluster.pods("honest")
        status = cluster.get("infd", name, "-n", "honest").get("status", {})
        row: Json = next((row for row in status.get("conditions", []) if row["type"] == "CapacityAvailable"), {})
        return bool(pods) and all(pod["spec"].get("nodeName") for pod in pods) and row.get("reason") == "Bound"

    wait_until(available, "the neighbour's pod to be bound", timeout_s=LIMIT_S)
    return time.monotonic() - started


def child(cluster: ControlPlane, name: str) -> Json:
    """The Deployment of that name; empty before it is made."""
    status, found = cluster.request("GET", f"/apis/apps/v1/namespaces/attacker/deployments/{name}")
    return found if status == 200 else {}


def test_a_quota_of_no_pods_books_nothing(cluster: ControlPlane) -> None:
    cluster.kubectl("create", "quota", "none", "-n", "attacker", "--hard=pods=0")
    wait_until(lambda: cluster.get("quota", "none", "-n", "attacker").get("status", {}).get("hard"), "the quota to count")
    attack(cluster, *(wish(f"huge-{number}", 1, 5000, waitForCapacity=bool(number % 2)) for number in range(6)))

    def refused(name: str) -> bool:
        rows = child(cluster, name).get("status", {}).get("conditions", [])
        return any(row["type"] == "ReplicaFailure" and row["status"] == "True" for row in rows)

    wait_until(lambda: all(refused(f"huge-{number}") for number in range(6)), "the quota to refuse the pods", timeout_s=60)
    took = serves(cluster)
    wait_until(lambda: _reason(cluster, "huge-0") == "PodsAbsent", "the tenant to be told")
    print(f"six deployments of 5000 replicas under a quota of none: the neighbour is bound after {took:.1f} s")


def _reason(cluster: ControlPlane, name: str) -> str:
    rows = cluster.get("infd", name, "-n", "attacker").get("status", {}).get("conditions", [])
    return next((row["reason"] for row in rows if row["type"] == "CapacityAvailable"), "")


def pod(name: str, gpus: int, **spec: object) -> Json:
    container = {"name": "busy", "image": "busy", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def test_pods_that_no_scheduler_ever_binds_keep_no_gpus_idle(cluster: ControlPlane) -> None:
    stuck = [pod("nowhere", 4, nodeSelector={"no": "node"}), pod("no-scheduler", 1, schedulerName="nobody"), pod("giant", 1_000_000)]
    attack(cluster, *stuck)
    took = serves(cluster)
    print(f"beside three pods that are never bound the neighbour is bound after {took:.1f} s")


def test_pods_with_a_forged_label_are_nobody_s(cluster: ControlPlane) -> None:
    attack(cluster, wish("mine", GPUS, 1, waitForCapacity=True, schedulerName="nobody"))
    wait_until(lambda: cluster.pods("attacker", f"{GROUP}/name=mine"), "the deployment's own pod")
    forged = [pod(f"forged-{number}", GPUS, schedulingGates=[{"name": f"{GROUP}/capacity"}]) for number in range(20)]
    for one in forged:
        one["metadata"]["labels"] = {f"{GROUP}/name": "mine", "pod-template-hash": "1"}
    attack(cluster, *forged)
    took = serves(cluster)
    gated = [one["metadata"]["name"] for one in cluster.pods("attacker") if one["spec"].get("schedulingGates")]
    assert {one["metadata"]["name"] for one in forged} <= set(gated), "the controller lifts the gates of its own pods alone"
    print(f"beside a scheduler that does not run and 20 forged pods the neighbour is bound after {took:.1f} s")
