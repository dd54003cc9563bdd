"""Replicas over several nodes with the real LeaderWorkerSet: its kind, webhooks and manager.

Run by `make lws`, and not by `make test`: LeaderWorkerSet takes minutes to build.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane import FAKE_GPU_NODES, ControlPlane, FakeNode, leader_worker_set
from tests.controlplane.cluster import Json, wait_until
from tests.documents import documents
from tests.e2e.installation import Installation
from tests.e2e.strict import refusal
from tests.e2e.wishes import Wishes
from tests.engine.manifests import GROUPS, golden, public

pytestmark = pytest.mark.e2e
H100 = FAKE_GPU_NODES[0]
NODES = tuple(FakeNode(name=f"h100-{number}", gpu=H100.gpu, gpus=8, cpu="192", memory="2Ti") for number in range(4))
SET = "llama-group"


@pytest.fixture(scope="module")
def plane(workdir: Path) -> Iterator[ControlPlane]:
    with ControlPlane.start(workdir) as started:
        started.add_nodes(NODES)
        leader_worker_set.install(started)
        yield started


@pytest.fixture(scope="module")
def wishes(plane: ControlPlane) -> Wishes:
    Installation(cluster=plane).install()
    wait_until(lambda: plane.get("gpupools")["items"], "the GPUPool of the fake nodes")
    plane.kubectl("create", "namespace", "spread")
    return Wishes(plane, "spread")


def wish(name: str, *, model: str = "meta-llama/Llama-3.1-405B", replicas: int = 1, nodes: int = 2) -> Json:
    spec = {
        "model": {"name": model},
        "replicas": replicas,
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192},
        "placement": {"maxNodesPerReplica": nodes},
    }
    return {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def test_two_nodes_serve_what_one_cannot_hold(plane: ControlPlane, wishes: Wishes) -> None:
    """From the wish to Ready: a group of two pods on two nodes, found by the Service through its leader."""
    wishes.create(wish("llama"))
    wishes.ready("llama")
    pods = {pod["metadata"]["name"]: pod for pod in plane.pods("spread")}
    assert set(pods) == {f"{SET}-0", f"{SET}-0-1"}
    assert len({pod["spec"]["nodeName"] for pod in pods.values()}) == 2
    leader, worker = (pods[name]["spec"]["containers"][0] for name in (f"{SET}-0", f"{SET}-0-1"))
    for container in (leader, worker):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
        env = {row["name"] for row in container["env"]}
        assert {"LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX", "VLLM_HOST_IP"} <= env
    assert ("--headless" in leader["args"], "--headless" in worker["args"]) == (False, True)
    slices = plane.get("endpointslices", "-n", "spread", "-l", "kubernetes.io/service-name=llama")["items"]
    assert [row["targetRef"]["name"] for one in slices for row in one["endpoints"]] == [f"{SET}-0"]
    assert wishes.status("llama")["plan"]["nodesPerReplica"] == 2
    assert wishes.condition("llama", "CapacityAvailable") == "True"


def test_scaling_adds_a_group_on_the_nodes_that_are_left(plane: ControlPlane, wishes: Wishes) -> None:
    """Through the scale subresource, as an autoscaler would; four pods on four nodes, and none for a third group."""
    plane.kubectl("scale", "infd/llama", "-n", "spread", "--replicas=2")
    wait_until(lambda: wishes.status("llama").get("ready") == "2/2", "both groups to be ready")
    assert len({pod["spec"]["nodeName"] for pod in plane.pods("spread")}) == 4
    plane.kubectl("scale", "infd/llama", "-n", "spread", "--replicas=3")
    wait_until(lambda: wishes.condition("llama", "CapacityAvailable") == "False", "the third group to wait for GPUs")
    plane.kubectl("scale", "infd/llama", "-n", "spread", "--replicas=1")
    wait_until(lambda: len(plane.pods("spread")) == 2, "the other groups to go")


def test_a_plan_for_one_node_takes_over_and_back(plane: ControlPlane, wishes: Wishes) -> None:
    """The kind of the child changes with the plan; the old one goes, and its pods with it."""
    wishes.patch("llama", {"spec": {"engine": {"quantization": "fp8"}, "placement": {"maxNodesPerReplica": 1}}})
    wait_until(lambda: wishes.child("llama"), "a Deployment for the plan on one node")
    wishes.ready("llama")
    wait_until(lambda: not plane.get("leaderworkersets", "-n", "spread")["items"], "the LeaderWorkerSet to go")
    wait_until(lambda: len(plane.pods("spread")) == 1, "its pods to go")
    wishes.patch("llama", {"spec": {"engine": {"quantization": None}, "placement": {"maxNodesPerReplica": 2}}})
    wait_until(lambda: plane.get("leaderworkersets", "-n", "spread")["items"], "the LeaderWorkerSet to come back")
    wait_until(lambda: wishes.child("llama") is None, "the Deployment to go")
    wishes.ready("llama")


def test_a_deleted_deployment_takes_its_groups_along(plane: ControlPlane, wishes: Wishes) -> None:
    """By owner references alone."""
    plane.kubectl("delete", "infd", "llama", "-n", "spread")
    wait_until(lambda: not plane.get("leaderworkersets", "-n", "spread")["items"], "the LeaderWorkerSet to go")
    wait_until(lambda: not plane.pods("spread"), "the pods to go")


def test_groups_behind_the_capacity_gate_pass_it_whole(plane: ControlPlane, wishes: Wishes) -> None:
    """Three groups for the four nodes of two: two run, and of the third both pods wait behind the gate."""
    gated = wish("patient", replicas=3)
    gated["spec"]["placement"]["waitForCapacity"] = True
    wishes.create(gated)
    wait_until(lambda: wishes.status("patient").get("ready") == "2/3", "two groups to be ready")
    pods = wait_until(lambda: [*found] if len(found := plane.pods("spread")) == 6 else None, "the pods of the third group to be made")
    waiting = {pod["metadata"]["name"] for pod in pods if pod["spec"].get("schedulingGates")}
    assert len(waiting) == 2
    assert len({name.removeprefix("patient-group-")[0] for name in waiting}) == 1


def test_every_set_of_the_manifests_that_are_kept_is_taken_in_strict_mode(plane: ControlPlane, wishes: Wishes) -> None:
    """By the kind's own schema, defaults and webhooks; a field that nobody knows is refused."""
    made = [
        one for group in (*GROUPS, *public()) for one in documents(golden(group).read_text("utf-8")) if one["kind"] == "LeaderWorkerSet"
    ]
    assert len(made) >= 3
    assert {one["metadata"]["name"]: why for one in made if (why := refusal(plane, wishes.namespace, one))} == {}
    made[0]["spec"]["leaderWorkerTemplate"]["sizes"] = 2
    assert "sizes" in refusal(plane, wishes.namespace, made[0])
