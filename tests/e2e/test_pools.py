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
    assert "source" not in mine(pools)


def test_kubectl_shows_memory_counts_trust_and_why(pools: Cluster) -> None:
    printed = pools.kubectl("get", "gpupools", "-o", "wide").stdout.splitlines()
    columns = printed[0].split()
    assert columns[:11] == ["NAME", "PRODUCT", "MEMORY", "GPUS", "FREE", "BOOKED", "NODES", "TRUSTED", "REASON", "AGE", "SOURCE"]
    assert any("NVIDIA-L4" in line and "GpuFeatureDiscovery" in line and "NoDoubts" in line for line in printed[1:])


def test_a_resource_that_nodes_have_already_is_refused(pools: Cluster) -> None:
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "GPUPool", "metadata": {"name": NAME}, "spec": {"resource": "amd.com/gpu"}}
    status, answer = pools.request("POST", f"/apis/{GROUP}/v1alpha1/gpupools", manifest)
    assert (status, "can only be declared" in answer["message"]) == (422, True)
