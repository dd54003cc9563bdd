"""Verdicts that depend on what the cluster has, at the webhook and in the controller's conditions, on clusters made for each."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.controlplane import Cluster, ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.nodes import H100, L4, T4, FakeNode
from tests.e2e.installation import GROUP, Installation, policy

from plimsoll_estimator.engine_version import NEWEST_KNOWN

pytestmark = pytest.mark.e2e
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"


@pytest.fixture(scope="module")
def installation(workdir: Path) -> Iterator[Installation]:
    """Plimsoll on a control plane of its own that has no node at all."""
    with ControlPlane.start(workdir / "verdicts") as plane:
        installed = Installation(cluster=plane)
        installed.install()
        yield installed


@pytest.fixture
def cluster(installation: Installation) -> Cluster:
    return installation.cluster


@contextmanager
def nodes(cluster: Cluster, *added: FakeNode) -> Iterator[None]:
    """Nodes for a while; their pools are known inside and gone afterwards."""
    cluster.add_nodes(added)
    try:
        wait_until(lambda: cluster.get("gpupools")["items"], "the nodes' pools")
        yield
    finally:
        cluster.remove_nodes(added)
        wait_until(lambda: not cluster.get("gpupools")["items"], "the pools to vanish with their nodes")


def wish(name: str, *, model: str = LLAMA_8B, version: str = "0.19.0") -> Json:
    spec = {"model": {"name": model}, "engine": {"image": f"vllm/vllm-openai:v{version}", "maxModelLen": 8192}}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def ask(cluster: Cluster, namespace: str, manifest: Json, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What kubectl says when the manifest is applied."""
    return cluster.kubectl("apply", "-n", namespace, *arguments, "-f", "-", stdin=json.dumps(manifest), check=False)


def door_says(cluster: Cluster, namespace: str, manifest: Json, words: str, *, refused: bool) -> str:
    """Wait until a dry run is refused, or passes, with these words; what it said."""

    def said() -> str:
        done = ask(cluster, namespace, manifest, "--dry-run=server")
        return done.stderr if words in done.stderr and bool(done.returncode) == refused else ""

    return wait_until(said, f"the webhook to {'refuse' if refused else 'pass'} {manifest['metadata']['name']} with {words!r}")


def feasible_becomes(cluster: Cluster, namespace: str, name: str, status: str, reason: str) -> None:
    """Wait for the Feasible condition of the controller."""
    condition_becomes(cluster, namespace, name, "Feasible", status, reason)


def condition_becomes(cluster: Cluster, namespace: str, name: str, kind: str, status: str, reason: str) -> None:
    found: list[tuple[str, str]] = []

    def reached() -> bool:
        rows = cluster.get("infd", name, "-n", namespace).get("status", {}).get("conditions", [])
        found[:] = [(row["status"], row["reason"]) for row in rows if row["type"] == kind]
        return found == [(status, reason)]

    try:
        wait_until(reached, f"{kind} of {name} to be {status} ({reason})")
    except TimeoutError as error:
        raise TimeoutError(f"{error}; it is {found}") from error


def makes_nothing(cluster: Cluster, namespace: str) -> bool:
    return not cluster.get("deployments,pods", "-n", namespace)["items"]


def test_without_a_gpu_node_everything_is_undecided(cluster: Cluster, namespace: str) -> None:
    said = ask(cluster, namespace, wish("early"))
    assert said.returncode == 0
    assert "Warning: undecided (NoCapacityKnown)" in said.stderr
    feasible_becomes(cluster, namespace, "early", "Unknown", "NoCapacityKnown")
    assert makes_nothing(cluster, namespace)
    with nodes(cluster, FakeNode(name="late", gpu=L4, gpus=1)):
        feasible_becomes(cluster, namespace, "early", "True", "Fits")
        wait_until(lambda: cluster.pods(namespace), "the pod")
        cluster.kubectl("delete", "infd", "early", "-n", namespace)
        wait_until(lambda: not cluster.pods(namespace), "the pod to go")


STARVED = [
    ("host memory", "HostMemory", FakeNode(name="starved", gpu=H100, gpus=8, memory="4Gi")),
    ("ephemeral storage", "EphemeralStorage", FakeNode(name="starved", gpu=H100, gpus=8, ephemeral_storage="20Gi")),
]


@pytest.mark.parametrize(("what", "reason", "starved"), STARVED, ids=[row[0] for row in STARVED])
def test_enough_gpu_memory_with_too_little_of_the_host_is_refused_by_name(
    cluster: Cluster, namespace: str, what: str, reason: str, starved: FakeNode
) -> None:
    ask(cluster, namespace, wish("before"))
    with nodes(cluster, starved):
        said = door_says(cluster, namespace, wish("after"), what, refused=True)
        (pool,) = cluster.get("gpupools")["items"]
        for words in (pool["metadata"]["name"], "needed", "available", "short by"):
            assert words in said
        feasible_becomes(cluster, namespace, "before", "False", reason)
        assert makes_nothing(cluster, namespace)


def test_free_gpus_on_a_disk_for_one_download_take_one_replica(cluster: Cluster, namespace: str) -> None:
    def bound() -> int:
        return sum("nodeName" in pod["spec"] for pod in cluster.pods(namespace))

    with nodes(cluster, FakeNode(name="narrow", gpu=L4, gpus=4, ephemeral_storage="40Gi")):
        said = door_says(cluster, namespace, {**wish("two"), "spec": {**wish("two")["spec"], "replicas": 2}}, "free now", refused=False)
        assert "pods will wait" in said
        ask(cluster, namespace, wish("first"))
        wait_until(lambda: bound() == 1, "the first pod on the node")
        (pod,) = cluster.pods(namespace)
        assert pod["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] == "29Gi"
        door_says(cluster, namespace, wish("second"), "pods will wait", refused=False)
        ask(cluster, namespace, wish("second"))
        condition_becomes(cluster, namespace, "second", "CapacityAvailable", "False", "WaitingForGpus")
        wait_until(lambda: len(cluster.pods(namespace)) == 2, "the second pod, which the scheduler sees")
        assert bound() == 1
        cluster.kubectl("delete", "infd", "first", "-n", namespace)
        wait_until(lambda: bound() == 1 and len(cluster.pods(namespace)) == 1, "the second pod on the node")
        condition_becomes(cluster, namespace, "second", "CapacityAvailable", "True", "Bound")
        rows = cluster.get("infd", "second", "-n", namespace)["status"]["conditions"]
        assert not [row["message"] for row in rows if "wait" in row["message"]], "its pod is on a node"
        cluster.kubectl("delete", "infd", "second", "-n", namespace)
        wait_until(lambda: not cluster.pods(namespace), "the pod to go")


def test_what_fits_no_known_pool_is_refused_in_a_closed_cluster_and_undecided_in_an_open_one(cluster: Cluster, namespace: str) -> None:
    ask(cluster, namespace, wish("large", model=LLAMA_70B))
    with nodes(cluster, FakeNode(name="small", gpu=T4, gpus=1)):
        door_says(cluster, namespace, wish("other", model=LLAMA_70B), "short by", refused=True)
        feasible_becomes(cluster, namespace, "large", "False", "InsufficientGpuMemory")
        with policy(cluster, namespace, capacity="Open"):
            said = door_says(cluster, namespace, wish("other", model=LLAMA_70B), "undecided (NoKnownPool)", refused=False)
            assert "It would fit" in said
            feasible_becomes(cluster, namespace, "large", "Unknown", "NoKnownPool")
        feasible_becomes(cluster, namespace, "large", "False", "InsufficientGpuMemory")
        assert makes_nothing(cluster, namespace)


def test_a_newer_engine_is_extrapolated_within_the_policys_limit_and_undecided_beyond(cluster: Cluster, namespace: str) -> None:
    next_minor = f"{NEWEST_KNOWN.major}.{NEWEST_KNOWN.minor + 1}.0"
    far = f"{NEWEST_KNOWN.major}.{NEWEST_KNOWN.minor + 40}.0"
    with nodes(cluster, FakeNode(name="good", gpu=L4, gpus=1)):
        door_says(cluster, namespace, wish("far", version=far), "undecided (UnknownEngine)", refused=False)
        ask(cluster, namespace, wish("far", version=far))
        feasible_becomes(cluster, namespace, "far", "Unknown", "UnknownEngine")
        door_says(cluster, namespace, wish("next", version=next_minor), "extrapolated", refused=False)
        with policy(cluster, namespace, maxExtrapolatedMinors=0):
            door_says(cluster, namespace, wish("next", version=next_minor), "undecided (UnknownEngine)", refused=False)
        ask(cluster, namespace, wish("next", version=next_minor))
        feasible_becomes(cluster, namespace, "next", "True", "Fits")
        plan = cluster.get("infd", "next", "-n", namespace)["status"]["plan"]
        assert plan["extrapolated"] is True
        cluster.kubectl("delete", "infd", "--all", "-n", namespace)
        wait_until(lambda: not cluster.pods(namespace), "the pods to go")
