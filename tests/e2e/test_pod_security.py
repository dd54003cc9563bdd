"""Engine pods in a namespace that only takes restricted ones, on the real API server: let in with a user of their own, kept out without."""

import json

import pytest
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e


def wish(name: str, template: Json) -> Json:
    """A small deployment with an overlay."""
    spec = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192},
        "placement": {"gpuProducts": ["NVIDIA-L4"]},
        "template": template,
    }
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def test_restricted_namespaces_take_pods_with_a_user_and_no_others(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    security = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "readOnlyRootFilesystem": True}
    sidecars = [{"name": "proxy", "image": "example/proxy:1"}]
    for name, template in (("as-root", {"sidecars": sidecars}), ("as-user", {"sidecars": sidecars, "securityContext": security})):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(wish(name, template)))

    def pods_of(name: str) -> list[Json]:
        found = cluster.get("pods", "-n", namespace, "-l", f"inference.plimsoll.dev/name={name}")["items"]
        assert isinstance(found, list)
        return found

    (pod,) = wait_until(lambda: pods_of("as-user"), "the pod with a user of its own")
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True

    def refused() -> bool:
        rows = cluster.get("deployment", "as-root", "-n", namespace).get("status", {}).get("conditions", [])
        return any(row["type"] == "ReplicaFailure" and "violates PodSecurity" in row["message"] for row in rows)

    wait_until(refused, "the API server to keep the other out")
    assert pods_of("as-root") == []
