"""`plimsoll doctor` and `plimsoll nodes` on a real control plane: what is planted there is found, and a healthy one ends with 0."""

import json
from pathlib import Path

import pytest
from tests.controlplane import FAKE_GPU_NODES
from tests.controlplane.cluster import wait_until
from tests.e2e.doctor import Told, command, doctor
from tests.e2e.installation import Installation, stopped

pytestmark = pytest.mark.e2e


def test_a_healthy_cluster_ends_with_0(installation: Installation) -> None:
    told = doctor(installation)
    assert (told.status, told.lacks) == (0, ()), told.texts
    assert any("the webhook refuses" in text for text in told.texts), told.texts
    assert any("with every field of this release" in text for text in told.texts)


@pytest.mark.usefixtures("own_plane")
def test_a_webhook_that_is_down_is_found(installation: Installation) -> None:
    with stopped(installation, "webhook"):
        told = doctor(installation)
    assert told.status == 1
    assert any(text.startswith("the API server cannot ask the webhook: ") for text in told.lacks)


@pytest.mark.usefixtures("own_plane")
def test_a_controller_that_is_down_is_found(installation: Installation) -> None:
    with stopped(installation, "controller"):
        told = doctor(installation)
    assert told.status == 1
    assert any(text.startswith("no controller leads") for text in told.lacks)


def test_definitions_of_another_release_and_a_registration_that_is_gone_are_found(installation: Installation) -> None:
    cluster = installation.cluster
    whole = cluster.get("crd", "fitpolicies.inference.plimsoll.dev")
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/unruledFlags"
    cluster.kubectl("patch", "crd", whole["metadata"]["name"], "--type=json", "-p", json.dumps([{"op": "remove", "path": path}]))
    try:
        assert any("FitPolicy is of another release, without .spec.unruledFlags" in text for text in doctor(installation).lacks)
    finally:
        field = whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["unruledFlags"]
        put_back = [{"op": "add", "path": path, "value": field}]
        cluster.kubectl("patch", "crd", whole["metadata"]["name"], "--type=json", "-p", json.dumps(put_back))
    assert doctor(installation).lacks == ()


def test_an_editor_is_told_what_their_rights_show_and_nothing_is_called_missing(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    cluster.kubectl("create", "serviceaccount", "editor", "-n", namespace)
    cluster.kubectl("create", "rolebinding", "editor", "-n", namespace, "--clusterrole=edit", f"--serviceaccount={namespace}:editor")
    name = f"editor-{namespace}"
    cluster.kubectl("create", "clusterrolebinding", name, "--clusterrole=plimsoll-cluster-view", f"--serviceaccount={namespace}:editor")
    try:
        kubeconfig = cluster.kubeconfig_for(namespace, "editor")
        told = wait_until(lambda: _with_rights(installation, namespace, kubeconfig), "the rights of the editor to be there")
    finally:
        cluster.kubectl("delete", "clusterrolebinding", name)
    assert (told.status, told.lacks) == (0, ())
    assert any("the webhook refuses" in text for text in told.texts)
    assert sum("with your rights" in text for text in told.texts) >= 3


def _with_rights(installation: Installation, namespace: str, kubeconfig: Path) -> Told | None:
    told = doctor(installation, "-n", namespace, kubeconfig=kubeconfig)
    return told if not any("you may not" in text for text in (*told.lacks, *told.texts)) else None


def test_nodes_are_read_from_the_cluster_with_their_doubts(installation: Installation) -> None:
    cluster = installation.cluster
    doubted = FAKE_GPU_NODES[0].name
    was = cluster.get("node", doubted)["metadata"]["labels"]["nvidia.com/gpu.memory"]
    cluster.kubectl("label", "node", doubted, "nvidia.com/gpu.memory=1", "--overwrite")
    try:
        done = command(cluster.kubeconfig, "nodes", "-o", "json")
    finally:
        cluster.kubectl("label", "node", doubted, f"nvidia.com/gpu.memory={was}", "--overwrite")
    assert done.returncode == 0, done.stderr
    rows = {row["node"]: row for row in json.loads(done.stdout)}
    assert {node.name for node in FAKE_GPU_NODES} <= rows.keys()
    assert not rows[doubted]["plannedWith"]
    assert "a memory label of 1 MiB" in rows[doubted]["doubts"][0]["text"]


def test_a_dry_run_leaves_nothing_behind(installation: Installation, namespace: str) -> None:
    doctor(installation, "-n", namespace)
    assert installation.cluster.get("infd", "-n", namespace)["items"] == []
