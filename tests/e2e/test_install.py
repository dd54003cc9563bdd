"""Plimsoll as the chart installs it: from `kubectl apply` to pods, and with one of the two programs stopped."""

import json

import pytest
from tests.controlplane import Cluster, KubectlError
from tests.controlplane.cluster import wait_until
from tests.e2e.installation import GROUP, Installation, stopped
from tests.e2e.objects import GARBAGE_COLLECTION_S, NAME_LABEL, apply, deployment, running

pytestmark = pytest.mark.e2e


def condition(cluster: Cluster, namespace: str, name: str, kind: str) -> str | None:
    """Return the status of one condition."""
    found = cluster.get("-n", namespace, "infd", name).get("status", {}).get("conditions", [])
    return next((each["status"] for each in found if each["type"] == kind), None)


def test_an_applied_object_becomes_pods_with_computed_flags(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    apply(cluster, namespace, deployment("serve", replicas=2))
    pods = wait_until(lambda: running(cluster, namespace, "serve", 2), "two pods to run")
    assert {pod["spec"]["nodeName"] for pod in pods} == {"l4-0"}
    words = " ".join(pods[0]["spec"]["containers"][0].get("command", []) + pods[0]["spec"]["containers"][0]["args"]).replace("=", " ")
    assert "--tensor-parallel-size 1" in words
    assert "--max-model-len 8192" in words
    assert "--gpu-memory-utilization 0." in words
    wait_until(lambda: condition(cluster, namespace, "serve", "Ready") == "True", "Ready in status")
    owners = {owner["kind"] for owner in cluster.get("-n", namespace, "deployment", "serve")["metadata"]["ownerReferences"]}
    assert owners == {"InferenceDeployment"}
    cluster.kubectl("delete", "-n", namespace, "infd", "serve")
    wait_until(lambda: not cluster.pods(namespace, f"{NAME_LABEL}=serve"), "the pods to go", timeout_s=GARBAGE_COLLECTION_S)
    left = cluster.get("-n", namespace, "deployments,services", "-l", f"{NAME_LABEL}=serve")["items"]
    assert [one["metadata"]["name"] for one in left] == []


def test_what_cannot_fit_is_refused_and_nothing_is_kept(installation: Installation, namespace: str) -> None:
    with pytest.raises(KubectlError) as refused:
        apply(installation.cluster, namespace, deployment("too-long", context=131072, products=("NVIDIA-A10G",)))
    for words in ("needed", "available", "short by", "spec.engine.maxModelLen"):
        assert words in refused.value.stderr
    assert installation.cluster.get("-n", namespace, "infd")["items"] == []


def test_an_unknown_model_is_kept_without_pods(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    said = apply(cluster, namespace, deployment("unknown", model="acme/in-house-13b"))
    assert "Warning:" in said
    wait_until(lambda: condition(cluster, namespace, "unknown", "Feasible") == "Unknown", "the verdict in status")
    assert cluster.get("-n", namespace, "deployments,pods")["items"] == []


@pytest.mark.usefixtures("own_plane")
def test_without_webhook_creation_fails_closed_and_the_rest_goes_on(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    apply(cluster, namespace, deployment("stays", replicas=2))
    before = {pod["metadata"]["uid"] for pod in wait_until(lambda: running(cluster, namespace, "stays", 2), "two pods to run")}
    with stopped(installation, "webhook"):
        with pytest.raises(KubectlError, match="failed calling webhook"):
            apply(cluster, namespace, deployment("refused"))
        with pytest.raises(KubectlError, match="failed calling webhook"):
            cluster.kubectl("patch", "-n", namespace, "infd", "stays", "--type=merge", "-p", '{"spec":{"engine":{"maxModelLen":4096}}}')
        cluster.kubectl("label", "-n", namespace, "infd", "stays", "team=a")
        path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments/stays/status"
        status, answer = cluster.request("PATCH", path, {"status": {"observedGeneration": 1}}, content_type="application/merge-patch+json")
        assert status == 200, answer.get("message")
        cluster.kubectl("scale", "-n", namespace, "infd/stays", "--replicas=1")
        left = wait_until(lambda: running(cluster, namespace, "stays", 1), "one pod to be left")
        assert {pod["metadata"]["uid"] for pod in left} < before
        lowered = {"spec": {"replicas": 0}}
        cluster.kubectl("patch", "-n", namespace, "infd", "stays", "--type=merge", "-p", json.dumps(lowered))
        wait_until(lambda: not cluster.pods(namespace, f"{NAME_LABEL}=stays"), "the last pod to go")
        cluster.kubectl("delete", "-n", namespace, "infd", "stays")
    assert cluster.get("-n", namespace, "infd")["items"] == []


@pytest.mark.usefixtures("own_plane")
def test_without_controller_the_webhook_still_answers(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    with stopped(installation, "controller"):
        with pytest.raises(KubectlError, match="short by"):
            apply(cluster, namespace, deployment("too-long", context=131072, products=("NVIDIA-A10G",)))
        apply(cluster, namespace, deployment("waits"))
        assert cluster.pods(namespace) == []
    wait_until(lambda: running(cluster, namespace, "waits", 1), "the returned controller to make the pod")


@pytest.mark.usefixtures("own_plane")
def test_metrics_of_a_deleted_object_vanish(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    apply(cluster, namespace, deployment("measured"))
    series = f'plimsoll_gpu_memory_predicted_bytes{{component="weights",name="measured",namespace="{namespace}"}}'
    wait_until(lambda: series in installation.metrics("controller"), "the predicted bytes to be told")
    cluster.kubectl("delete", "-n", namespace, "infd", "measured")
    wait_until(lambda: 'name="measured"' not in installation.metrics("controller"), "the series to vanish")
