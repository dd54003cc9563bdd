"""The webhook's rules on the real API server: how a refusal reads, what is only a warning, and what passes whatever the state."""

from __future__ import annotations

import json

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, policy

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("installation")]
MAX_WARNING = 256


def wish(name: str, *, context: int = 8192, replicas: int = 1, product: str = "NVIDIA-A10G") -> Json:
    spec = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "replicas": replicas,
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": context},
        "placement": {"gpuProducts": [product]},
    }
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def post(cluster: Cluster, namespace: str, manifest: Json, *, dry_run: bool = False) -> tuple[int, Json]:
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments"
    return cluster.request("POST", f"{path}?dryRun=All" if dry_run else path, manifest)


def said(cluster: Cluster, namespace: str, manifest: Json, *arguments: str) -> tuple[int, list[str]]:
    """kubectl's exit status and what it prints beside the result, line by line."""
    done = cluster.kubectl("apply", "-n", namespace, *arguments, "-f", "-", stdin=json.dumps(manifest), check=False)
    return done.returncode, done.stderr.splitlines()


def test_a_refusal_is_a_422_whose_first_cause_is_the_whole_sentence(cluster: Cluster, namespace: str) -> None:
    status, answer = post(cluster, namespace, wish("too-long", context=131072))
    assert (status, answer["reason"], answer["details"]["kind"]) == (422, "Invalid", "InferenceDeployment")
    causes = answer["details"]["causes"]
    for words in ("does not fit", "needed", "available", "short by"):
        assert words in causes[0]["message"]
    assert causes[0]["field"] == "spec.engine.maxModelLen"
    assert any(cause["field"] == "offer" for cause in causes), "and what would work"
    for cause in causes:
        assert "\n" not in cause["message"]
        assert len(cause["message"]) <= 1024


def test_a_dry_run_gets_the_same_answer(cluster: Cluster, namespace: str) -> None:
    refused = wish("too-long", context=131072)
    dry, real = (post(cluster, namespace, refused, dry_run=dry_run) for dry_run in (True, False))
    assert dry[0] == real[0] == 422
    assert dry[1]["details"]["causes"] == real[1]["details"]["causes"]
    unknown = wish("unknown")
    unknown["spec"]["model"]["name"] = "acme/nobody-knows"
    assert said(cluster, namespace, unknown, "--dry-run=server") == said(cluster, namespace, unknown)


def test_a_full_cluster_is_only_a_warning(cluster: Cluster, namespace: str) -> None:
    assert post(cluster, namespace, wish("holds-the-only-one"))[0] == 201

    def warned() -> list[str]:
        status, lines = said(cluster, namespace, wish("waits"), "--dry-run=server")
        assert status == 0, lines
        return [line for line in lines if "not enough GPUs are free now" in line]

    wait_until(warned, "the pool to be full and the warning to say so")
    status, lines = said(cluster, namespace, wish("waits"))
    assert status == 0
    warnings = [line.removeprefix("Warning: ") for line in lines]
    assert any("pods will wait" in line for line in warnings)
    assert all(len(line) <= MAX_WARNING and line.isprintable() for line in warnings)
    wait_until(lambda: cluster.pods(namespace, f"{GROUP}/name=waits"), "its pod, for the scheduler to see")


def test_what_would_be_refused_now_may_still_be_labelled_scaled_down_and_deleted(cluster: Cluster, namespace: str) -> None:
    assert post(cluster, namespace, wish("kept", replicas=3, product="NVIDIA-L4"))[0] == 201
    with policy(cluster, namespace, maxGpusPerNamespace=1):

        def refused() -> bool:
            return post(cluster, namespace, wish("another", replicas=2, product="NVIDIA-L4"), dry_run=True)[0] == 422

        wait_until(refused, "the webhook to see the policy")
        path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments/kept"

        def patch(body: Json, subresource: str = "") -> int:
            return cluster.request("PATCH", path + subresource, body, content_type="application/merge-patch+json")[0]

        assert patch({"spec": {"engine": {"maxModelLen": 4096}}}) == 422, "a changed spec is judged"
        assert patch({"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}}) == 200
        assert patch({"spec": {"replicas": 2}}, "/scale") == 200
        assert patch({"spec": {"replicas": 1}}) == 200
        assert cluster.request("DELETE", path)[0] == 200
