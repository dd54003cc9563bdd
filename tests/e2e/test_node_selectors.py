"""Node selectors of two tenants on forty equal nodes: made-up labels take nobody's place, and a host's name is decided on that host."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.nodes import L4, FakeNode
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
NODES = 40
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


@pytest.fixture(scope="module")
def cluster(workdir: Path) -> Iterator[ControlPlane]:
    """Plimsoll on a control plane of its own, with two namespaces, one of which a user called attacker may edit."""
    with ControlPlane.start(workdir / "selectors") as plane:
        plane.add_nodes([FakeNode(name=f"node-{n}", gpu=L4, gpus=4, extra_labels={ZONE: "ab"[n % 2]}) for n in range(NODES)])
        Installation(cluster=plane).install()
        wait_until(lambda: len(pools(plane)) == 1, "one pool of equal nodes")
        for name in ("honest", "attacker"):
            plane.kubectl("create", "namespace", name)
        plane.kubectl("create", "rolebinding", "edit", "-n", "attacker", "--clusterrole=edit", "--user=attacker")
        may = ("auth", "can-i", "create", "infd", "-n", "attacker", "--as=attacker")
        wait_until(lambda: plane.kubectl(*may, check=False).returncode == 0, "the role to be aggregated")
        yield plane


def pools(cluster: ControlPlane) -> list[str]:
    return [pool["metadata"]["name"] for pool in cluster.get("gpupools")["items"]]


def wish(name: str, selector: dict[str, str], gpus: int = 4) -> str:
    spec: Json = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192, "tensorParallelSize": gpus},
        "placement": {"nodeSelector": selector},
    }
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}
    return json.dumps(manifest)


def condition(cluster: ControlPlane, namespace: str, name: str, kind: str) -> tuple[str, str, str]:
    rows = cluster.get("infd", name, "-n", namespace).get("status", {}).get("conditions", [])
    return next(((row["status"], row["reason"], row["message"]) for row in rows if row["type"] == kind), ("", "", ""))


def test_one_tenant_s_labels_shut_nobody_out_and_rename_no_pool(cluster: ControlPlane) -> None:
    before = pools(cluster)
    for number in range(4):
        made_up = {f"made-up-{number}-{index:02}": "x" for index in range(14)}
        told = cluster.kubectl("create", "--as=attacker", "-n", "attacker", "-f", "-", stdin=wish(f"made-up-{number}", made_up)).stderr
        assert "LabelNotIndexed" in told
        assert "The controller looks at the nodes themselves and decides." in told
    wait_until(lambda: condition(cluster, "attacker", "made-up-3", "Feasible")[1] == "NoMatchingPool", "the made-up labels to be refused")
    assert "has no node with made-up-3-00=x" in condition(cluster, "attacker", "made-up-3", "Feasible")[2]
    assert pools(cluster) == before, "what no node carries splits and renames nothing"
    started = time.monotonic()
    cluster.kubectl("create", "-n", "honest", "-f", "-", stdin=wish("zoned", {ZONE: "a"}))
    wait_until(lambda: condition(cluster, "honest", "zoned", "CapacityAvailable")[1] == "Bound", "the zoned deployment to run")
    took = time.monotonic() - started
    wait_until(lambda: len(pools(cluster)) == 2, "pools by zone")

    def refused() -> bool:
        return (
            "No GPU pool matches" in cluster.kubectl("create", "-n", "honest", "-f", "-", stdin=wish("no", {ZONE: "c"}), check=False).stderr
        )

    wait_until(refused, "the webhook to decide by zones")
    print(f"56 made-up labels of another tenant: a deployment by zone is bound after {took:.1f} s")


def test_a_host_s_name_makes_no_pools_and_is_planned_on_that_host(cluster: ControlPlane) -> None:
    before = pools(cluster)
    cluster.kubectl("create", "--as=attacker", "-n", "attacker", "-f", "-", stdin=wish("pinned", {HOST: "node-7"}))
    wait_until(lambda: condition(cluster, "attacker", "pinned", "CapacityAvailable")[1] == "Bound", "the pinned deployment to run")
    assert {pod["spec"].get("nodeName") for pod in cluster.pods("attacker", f"{GROUP}/name=pinned")} == {"node-7"}
    cluster.kubectl("create", "--as=attacker", "-n", "attacker", "-f", "-", stdin=wish("second", {HOST: "node-7"}))
    wait_until(lambda: condition(cluster, "attacker", "second", "CapacityAvailable")[1] == "WaitingForGpus", "the full node to be told")
    assert sorted(pools(cluster)) == sorted(before)
    plan = cluster.get("infd", "pinned", "-n", "attacker")["status"]["plan"]
    assert len(plan["pools"]) <= 2


def test_labels_of_deployments_that_are_gone_keep_no_place(cluster: ControlPlane) -> None:
    for number in range(4):
        gone = {f"gone-{number}-{index:02}": "x" for index in range(14)}
        cluster.kubectl("create", "--as=attacker", "-n", "attacker", "-f", "-", stdin=wish(f"gone-{number}", gone))
    wait_until(lambda: condition(cluster, "attacker", "gone-3", "Feasible")[1] == "NoMatchingPool", "the made-up labels to be refused")
    cluster.kubectl("delete", "--as=attacker", "-n", "attacker", "infd", "--all")
    cluster.kubectl("label", "node", "--all", "rack=r1")
    cluster.kubectl("create", "-n", "honest", "-f", "-", stdin=wish("racked", {"rack": "r1"}))
    wait_until(lambda: condition(cluster, "honest", "racked", "CapacityAvailable")[1] == "Bound", "the deployment by rack to run")
    assert [pool for pool in cluster.get("gpupools")["items"] if any(key.startswith("gone-") for key in json.dumps(pool).split('"'))] == []
