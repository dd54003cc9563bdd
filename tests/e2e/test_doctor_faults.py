"""`plimsoll doctor` finds what is planted on a real control plane: faults that stop no program. test_doctor.py has the others."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from tests.controlplane import FAKE_GPU_NODES
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.doctor import command, doctor
from tests.e2e.installation import ROOT, Installation

from plimsoll_operator.certificate import issue

pytestmark = pytest.mark.e2e
KIND = "inference.plimsoll.dev/v1alpha1"
SMALL = "Qwen/Qwen2.5-1.5B-Instruct"


def wish(name: str, model: str = SMALL, **placement: object) -> Json:
    spec = {"model": {"name": model}, "engine": {"image": "vllm/vllm-openai:v0.19.0"}, "placement": placement}
    return {"apiVersion": KIND, "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def lacks(installation: Installation, said: str) -> bool:
    return any(said in text for text in doctor(installation).lacks)


@contextmanager
def without(installation: Installation, kind: str, name: str) -> Iterator[None]:
    """An object is gone for a while."""
    cluster = installation.cluster
    found = cluster.get(kind, name)
    found["metadata"] = {key: found["metadata"][key] for key in ("name", "labels")}
    cluster.kubectl("delete", kind, name)
    try:
        yield
    finally:
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(found))


def test_an_authority_that_should_have_been_renewed_is_found(installation: Installation) -> None:
    cluster, name = installation.cluster, "plimsoll"
    right = [hook["clientConfig"]["caBundle"] for hook in cluster.get("validatingwebhookconfiguration", name)["webhooks"]]
    old = base64.b64encode(issue(["x"], now=datetime.now(UTC) - timedelta(days=95), days=100).authority).decode()

    def trust(bundles: list[str]) -> None:
        patch = [{"op": "replace", "path": f"/webhooks/{at}/clientConfig/caBundle", "value": value} for at, value in enumerate(bundles)]
        cluster.kubectl("patch", "validatingwebhookconfiguration", name, "--type=json", "-p", json.dumps(patch))

    trust([old] * len(right))
    try:
        assert lacks(installation, "should be renewed by now")
    finally:
        trust(right)


def test_rights_that_are_gone_are_found_account_by_account(installation: Installation) -> None:
    for component in ("controller", "webhook"):
        with without(installation, "clusterrolebinding", f"plimsoll-{component}"):
            said = f"plimsoll-system/plimsoll-{component} may not "
            wait_until(partial(lacks, installation, said), f"doctor to find what plimsoll-{component} may not do")
    wait_until(lambda: doctor(installation).status == 0, "the rights to be there again")


def test_labels_that_contradict_each_other_are_found(installation: Installation) -> None:
    cluster, node = installation.cluster, FAKE_GPU_NODES[0].name
    was = cluster.get("node", node)["metadata"]["labels"]["nvidia.com/gpu.memory"]
    cluster.kubectl("label", "node", node, "nvidia.com/gpu.memory=1", "--overwrite")
    try:
        wait_until(lambda: lacks(installation, "pools that nothing is planned on"), "the pool to be doubted")
    finally:
        cluster.kubectl("label", "node", node, f"nvidia.com/gpu.memory={was}", "--overwrite")
    wait_until(lambda: doctor(installation).status == 0, "the pool to be trusted again")


@pytest.mark.usefixtures("own_plane")
def test_a_cluster_without_gpu_nodes_is_found(installation: Installation) -> None:
    installation.cluster.remove_nodes(FAKE_GPU_NODES)
    try:
        wait_until(lambda: lacks(installation, "no GPUPool"), "the pools to go")
    finally:
        installation.cluster.add_nodes(FAKE_GPU_NODES)
        products = {node.gpu.product for node in FAKE_GPU_NODES}
        wait_until(lambda: len(installation.cluster.get("gpupools")["items"]) >= len(products), "the pools to be there again")


def test_what_deployments_wait_for_is_found(installation: Installation, namespace: str) -> None:
    """LeaderWorkerSet that one asks for, a hub that is not reached, and labels beyond those by which pools are split."""
    cluster = installation.cluster
    nodes = [node.name for node in FAKE_GPU_NODES]
    labels = [f"example.com/d{number}" for number in range(20)]
    cluster.kubectl("label", "node", *nodes, *(f"{label}=x" for label in labels))
    wishes = [wish("nodes", maxNodesPerReplica=2), wish("unread", "acme/nobody-knows")]
    wishes += [wish(f"of-{number}", nodeSelector={label: "x"}) for number, label in enumerate(labels)]
    spaces = [f"{namespace}-{number}" for number in range(5)]  # a namespace may take four labels
    try:
        for space in spaces:
            cluster.kubectl("create", "namespace", space)
        for number, each in enumerate(wishes):
            space = namespace if number < 2 else spaces[number % len(spaces)]
            cluster.kubectl("-n", space, "apply", "-f", "-", stdin=yaml.safe_dump(each))
        wait_until(lambda: lacks(installation, f"needed by {namespace}/nodes"), "the lack of LeaderWorkerSet to be found")
        wait_until(lambda: lacks(installation, f"which {namespace}/unread wait for"), "the hub that is not asked to be found")
        wait_until(lambda: lacks(installation, "label keys of nodeSelectors are in use"), "the full index to be found")
    finally:
        for space in spaces:
            cluster.kubectl("delete", "infd", "--all", "-n", space, "--wait=false", check=False)
            cluster.kubectl("delete", "namespace", space, "--wait=false", check=False)
        cluster.kubectl("label", "node", *nodes, *(f"{label}-" for label in labels))
    wait_until(lambda: not lacks(installation, "label keys"), "the keys to be free again", timeout_s=120)


def test_an_editor_asks_what_fits_plans_and_looks_at_capacity(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    cluster.kubectl("create", "serviceaccount", "asker", "-n", namespace)
    cluster.kubectl("create", "rolebinding", "asker", "-n", namespace, "--clusterrole=edit", f"--serviceaccount={namespace}:asker")
    kubeconfig = cluster.kubeconfig_for(namespace, "asker")
    example = str((ROOT / "examples" / "01-smallest.yaml").relative_to(ROOT))

    def asked(*words: str) -> tuple[int, str]:
        done = command(Path(kubeconfig), *words)
        return done.returncode, done.stdout + done.stderr

    wait_until(lambda: cluster.kubectl("apply", "-f", example, kubeconfig=kubeconfig, check=False).returncode == 0, "the rights of edit")
    wait_until(lambda: asked("status", "smallest")[0] == 0, "status with nothing but edit")
    status, said = asked("plan", "-f", example)
    assert (status, "ask for the ClusterRole plimsoll-cluster-view" in said) == (2, True), said
    status, said = asked("fit", SMALL)
    assert (status, "no cluster is asked, but the shipped table" in said) == (0, True), said
    binding = f"asker-{namespace}"
    cluster.kubectl("create", "clusterrolebinding", binding, "--clusterrole=plimsoll-cluster-view", f"--serviceaccount={namespace}:asker")
    try:
        wait_until(lambda: asked("capacity")[0] == 0, "the rights of plimsoll-cluster-view")
        answers = {words: asked(*words) for words in (("fit", SMALL), ("plan", "-f", example), ("capacity",), ("status", "smallest"))}
    finally:
        cluster.kubectl("delete", "clusterrolebinding", binding)
    assert {status for status, _ in answers.values()} == {0}, answers
    assert "this cluster's GPUs" in answers[("fit", SMALL)][1]
    assert "Tesla-T4" in answers[("capacity",)][1]
    assert "Admit" in answers[("plan", "-f", example)][1]
