"""Replicas over several nodes on the real API server: refused until LeaderWorkerSet is served, then made. Its manager is in make lws."""

from collections.abc import Iterator

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import Installation, apply
from tests.e2e.wishes import Wishes

pytestmark = pytest.mark.e2e
PRODUCT = "NVIDIA-A100-SXM4-80GB"
POOL: Json = {
    "apiVersion": "inference.plimsoll.dev/v1alpha1",
    "kind": "GPUPool",
    "metadata": {"name": "e2e-two-nodes"},
    "spec": {"declared": True, "product": PRODUCT, "usableMemoryBytes": "79Gi", "gpusPerNode": 8, "maxNodes": 2},
}
SETS = "leaderworkersets.leaderworkerset.x-k8s.io"
# As much of the kind as the API server needs to serve it: what is put into templates is checked by the real one in make lws.
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}, "x-kubernetes-preserve-unknown-fields": True},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}, "x-kubernetes-preserve-unknown-fields": True},
    },
}
KIND = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": SETS, "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in of a test"}},
    "spec": {
        "group": "leaderworkerset.x-k8s.io",
        "names": {
            "kind": "LeaderWorkerSet",
            "listKind": "LeaderWorkerSetList",
            "plural": "leaderworkersets",
            "singular": "leaderworkerset",
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": SCHEMA},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            }
        ],
    },
}


def wish(name: str, *, replicas: int = 1) -> Json:
    spec = {
        "model": {"name": "meta-llama/Llama-3.1-405B"},
        "replicas": replicas,
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192},
        "placement": {"maxNodesPerReplica": 2, "gpuProducts": [PRODUCT]},
    }
    return {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def wishes(installation: Installation, namespace: str) -> Iterator[Wishes]:
    """With a pool that may grow to two nodes of eight, and without the kind."""
    cluster = installation.cluster
    if cluster.request("GET", "/apis/leaderworkerset.x-k8s.io/v1")[0] == 200:
        pytest.fail("LeaderWorkerSet is installed here already: this test brings a stand-in of its own")
    apply(cluster, [POOL])
    yield Wishes(cluster, namespace)
    cluster.kubectl("delete", "crd", SETS, "--ignore-not-found")
    cluster.kubectl("delete", "gpupool", POOL["metadata"]["name"], "--ignore-not-found")


def group_of(cluster: Cluster, namespace: str, name: str) -> Json | None:
    status, found = cluster.request("GET", f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{namespace}/leaderworkersets/{name}-group")
    return found if status == 200 else None


def test_a_plan_over_nodes_waits_for_the_kind_and_is_then_made_with_the_rights_of_the_chart(wishes: Wishes) -> None:
    """The webhook refuses it by name, both notice the kind without a restart, and the controller applies, scales and lets go."""
    cluster, namespace = wishes.cluster, wishes.namespace

    def answer() -> tuple[int, str]:
        status, body = cluster.request("POST", f"{wishes.path()}?dryRun=All", wish("spread"))
        return status, str(body.get("message"))

    wait_until(lambda: "install LeaderWorkerSet" in answer()[1], "the refusal that says what to install")
    apply(cluster, [KIND])
    wait_until(lambda: answer()[0] == 201, "the webhook to notice the kind")
    wishes.create(wish("spread"))
    made = wait_until(lambda: group_of(cluster, namespace, "spread"), "the LeaderWorkerSet")
    template = made["spec"]["leaderWorkerTemplate"]
    assert (made["spec"]["replicas"], template["size"]) == (1, 2)
    assert template["workerTemplate"]["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("InferenceDeployment", "spread", True)
    assert wishes.child("spread") is None
    plan = wait_until(lambda: wishes.status("spread").get("plan"), "the plan in status")
    assert (plan["nodesPerReplica"], plan["gpusPerReplica"]) == (2, 16)
    cluster.kubectl("scale", "infd/spread", "-n", namespace, "--replicas=2")
    wait_until(lambda: (group_of(cluster, namespace, "spread") or made)["spec"]["replicas"] == 2, "the LeaderWorkerSet to be scaled")
    wishes.patch("spread", {"spec": {"engine": {"quantization": "fp8"}, "placement": {"maxNodesPerReplica": 1}}})
    wait_until(lambda: wishes.child("spread"), "a Deployment for the plan on one node")
    wait_until(lambda: group_of(cluster, namespace, "spread") is None, "the LeaderWorkerSet to go")
