"""GPUPool objects on a real API server: an administrator's correction from schema to status and back, and what kubectl shows of it."""

from collections.abc import Iterator

import pytest
from tests.controlplane import FAKE_GPU_NODES, Cluster
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.nodes import L4
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
NAME = "by-hand"
NODE = next(node.name for node in FAKE_GPU_NODES if node.gpu is L4)
SELECTOR = {"kubernetes.io/hostname": NODE}


@pytest.fixture
def pools(installation: Installation) -> Iterator[Cluster]:
    """The cluster; what a test has put there is taken away again, and its effect is waited off."""
    cluster = installation.cluster
    yield cluster
    cluster.kubectl("delete", "gpupools", NAME, "--ignore-not-found")
    wait_until(lambda: not corrected(cluster), "the correction to be gone")


def apply(cluster: Cluster, **spec: object) -> None:
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "GPUPool", "metadata": {"name": NAME}, "spec": spec}
    path = f"/apis/{GROUP}/v1alpha1/gpupools/{NAME}?fieldManager=admin&force=true"
    status, answer = cluster.request("PATCH", path, manifest, content_type="application/apply-patch+yaml")
    assert status in (200, 201), answer.get("message")


def corrected(cluster: Cluster) -> list[Json]:
    return [pool for pool in cluster.get("gpupools")["items"] if pool.get("status", {}).get("correctedBy") == NAME]


def mine(cluster: Cluster) -> Json:
    found: Json = cluster.get("gpupool", NAME).get("status", {})
    return found


def test_a_selector_corrects_its_node_until_it_is_taken_away(pools: Cluster) -> None:
    apply(pools, selector=SELECTOR, usableMemoryBytes="20Gi")
    wait_until(lambda: mine(pools).get("nodes") == 1, "the GPUPool to be told what it selects")
    wait_until(lambda: corrected(pools), "the node to move into a corrected pool")
    (pool,) = corrected(pools)
    assert (pool["status"]["usableMemoryBytes"], pool["status"]["source"], pool["status"]["nodes"]) == (20 << 30, "GPUPool", 1)
    (trusted,) = [row for row in pool["status"]["conditions"] if row["type"] == "Trusted"]
    assert trusted["status"] == "True"
    assert sum(row["nodes"] for row in pool["status"]["nodesByFreeGpus"]) == 1
    apply(pools, cost=5)
    wait_until(lambda: not corrected(pools) and not mine(pools).get("nodes"), "the selector's effect to be gone")
    assert "correctedBy" not in str(pools.get("gpupools"))
    (trusted,) = [row for row in mine(pools)["conditions"] if row["type"] == "Trusted"]
    assert (trusted["status"], trusted["reason"]) == ("False", "NoNodes"), "it has no selector, and no pool has its name"


def test_kubectl_shows_memory_counts_trust_and_why(pools: Cluster) -> None:
    printed = pools.kubectl("get", "gpupools", "-o", "wide").stdout.splitlines()
    columns = printed[0].split()
    assert columns[:11] == ["NAME", "PRODUCT", "MEMORY", "GPUS", "FREE", "BOOKED", "NODES", "TRUSTED", "REASON", "AGE", "SOURCE"]
    assert any("NVIDIA-L4" in line and "GpuFeatureDiscovery" in line and "NoDoubts" in line for line in printed[1:])


def test_a_resource_that_nodes_have_already_is_refused(pools: Cluster) -> None:
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "GPUPool", "metadata": {"name": NAME}, "spec": {"resource": "amd.com/gpu"}}
    status, answer = pools.request("POST", f"/apis/{GROUP}/v1alpha1/gpupools", manifest)
    assert (status, "can only be declared" in answer["message"]) == (422, True)


def test_a_pod_bound_by_hand_to_more_gpus_than_there_are_stops_no_decision(pools: Cluster, namespace: str) -> None:
    """Whoever may make pods may name the node and ask for any number."""
    container = {"name": "x", "image": "busy", "resources": {"limits": {"nvidia.com/gpu": "1Pi"}}}
    spec = {"nodeName": NODE, "containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greedy"}, "spec": spec}
    wait_until(lambda: pools.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")[0] == 200, "the ServiceAccount")
    status, answer = pools.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    assert status == 201, answer.get("message")
    engine = {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192}
    wish = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "engine": engine,
        "placement": {"gpuProducts": ["NVIDIA-A100-SXM4-40GB"]},
    }
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": "honest"}, "spec": wish}
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments"
    try:
        wait_until(lambda: any(_foreign(pool) == 4 for pool in pools.get("gpupools")["items"]), "the pod to hold all that the node has")
        status, answer = pools.request("POST", path, manifest)
        assert status == 201, answer.get("message")
        wait_until(lambda: _feasible(pools.request("GET", f"{path}/honest")[1]), "the deployment to be admitted")
    finally:
        pools.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/greedy?gracePeriodSeconds=0")


def _foreign(pool: Json) -> int:
    return int(pool.get("status", {}).get("foreignGpus", 0))


def _feasible(wish: Json) -> bool:
    return any((row["type"], row["status"]) == ("Feasible", "True") for row in wish.get("status", {}).get("conditions", ()))
