"""The control plane that everything else stands on: real scheduler, real controllers, fake kubelets, real identities."""

import json

import pytest
from tests.controlplane import FAKE_GPU_NODES, Cluster, KubectlError
from tests.controlplane.cluster import Json, wait_until

pytestmark = pytest.mark.e2e


def deployment(name: str, *, product: str, gpus: int) -> str:
    """Return a Deployment of one pod that wants `gpus` cards of `product`."""
    term = {"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": [product]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    container = {"name": "main", "image": "example.invalid/none", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"affinity": affinity, "containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


def test_fake_nodes_are_ready_and_offer_their_gpus(cluster: Cluster) -> None:
    _, listed = cluster.request("GET", "/api/v1/nodes")
    nodes = {node["metadata"]["name"]: node["status"]["allocatable"] for node in listed["items"]}
    offered = {name: allocatable["nvidia.com/gpu"] for name, allocatable in nodes.items() if "nvidia.com/gpu" in allocatable}
    assert offered == {node.name: str(node.gpus) for node in FAKE_GPU_NODES}


def test_the_real_scheduler_binds_by_product_and_kwok_runs_the_pod(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=deployment("by-product", product="NVIDIA-L4", gpus=2))

    def running() -> Json | None:
        return next((pod for pod in cluster.pods("default", "app=by-product") if pod["status"]["phase"] == "Running"), None)

    try:
        assert wait_until(running, "the pod to run")["spec"]["nodeName"] == "l4-0"
    finally:
        cluster.kubectl("delete", "deployment", "by-product")
    wait_until(lambda: not cluster.pods("default", "app=by-product"), "the garbage collector to take the pod")


def test_more_gpus_than_a_node_has_stay_pending_and_the_scheduler_says_why(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=deployment("too-many", product="NVIDIA-A10G", gpus=2))

    def refusal() -> str | None:
        for pod in cluster.pods("default", "app=too-many"):
            for condition in pod["status"].get("conditions", []):
                if condition.get("reason") == "Unschedulable":
                    return str(condition["message"])
        return None

    try:
        assert "Insufficient nvidia.com/gpu" in wait_until(refusal, "the scheduler's refusal")
    finally:
        cluster.kubectl("delete", "deployment", "too-many")


def test_a_service_account_kubeconfig_has_only_that_accounts_rights(cluster: Cluster) -> None:
    kubeconfig = cluster.kubeconfig_for("default", "default")
    who = cluster.kubectl("auth", "whoami", "-o", "json", kubeconfig=kubeconfig).stdout
    assert json.loads(who)["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"
    with pytest.raises(KubectlError, match="cannot list resource"):
        cluster.kubectl("get", "nodes", kubeconfig=kubeconfig)
