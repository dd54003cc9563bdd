"""Namespaces that let no pod in, on a real API server: status says so within seconds, in its words, and recovers by itself."""

import json
import time
from collections.abc import Sequence

import pytest
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
SAID_WITHIN_S = 15  # on a busy machine; measured below
QUOTA: Json = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
LIMITS: Json = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "small"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]},
}


def wish(name: str) -> Json:
    spec = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192},
        "placement": {"gpuProducts": ["NVIDIA-L4"]},
    }
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def conditions(installation: Installation, namespace: str, name: str) -> dict[str, tuple[str, str, str]]:
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments/{name}"
    rows = installation.cluster.request("GET", path)[1].get("status", {}).get("conditions", [])
    return {row["type"]: (row["status"], row["reason"], row["message"]) for row in rows}


@pytest.mark.parametrize(
    ("hindrance", "undo", "words"),
    [
        pytest.param(
            ("label", "namespace", "{}", "pod-security.kubernetes.io/enforce=restricted"),
            ("label", "namespace", "{}", "pod-security.kubernetes.io/enforce-"),
            "violates PodSecurity",
            id="Pod Security",
        ),
        pytest.param(QUOTA, ("delete", "resourcequota", "none", "-n", "{}"), "exceeded quota: none", id="a quota of no pods"),
        pytest.param(
            LIMITS,
            ("delete", "limitrange", "small", "-n", "{}"),
            "must be less than or equal to memory limit of 1Gi",
            id="a LimitRange below the request",
        ),
    ],
)
def test_a_namespace_that_lets_no_pod_in_is_said_within_seconds_and_recovers(
    installation: Installation, namespace: str, hindrance: Json | Sequence[str], undo: Sequence[str], words: str
) -> None:
    cluster = installation.cluster
    if isinstance(hindrance, dict):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(hindrance))
    else:
        cluster.kubectl(*(part.format(namespace) for part in hindrance))
    if hindrance is QUOTA:  # its controller must have counted before it refuses with a figure
        path = f"/api/v1/namespaces/{namespace}/resourcequotas/none"
        wait_until(lambda: cluster.request("GET", path)[1].get("status", {}).get("hard"), "the quota to be counted")
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(wish("kept-out")))
    began = time.monotonic()

    def said() -> bool:
        found = conditions(installation, namespace, "kept-out")
        return found.get("Stalled", ("", "", ""))[:2] == ("True", "PodsRefused") and words in found["Stalled"][2]

    wait_until(said, f"status to say {words!r}", timeout_s=SAID_WITHIN_S, every_s=0.05)
    print(f"said after {time.monotonic() - began:.2f} s")
    found = conditions(installation, namespace, "kept-out")
    assert [found[kind][:2] for kind in ("Progressing", "Available", "Ready")] == [("False", "PodsRefused")] * 3
    assert found["Feasible"][0] == "True", "the model fits all the same"
    events = cluster.kubectl("get", "events", "-n", namespace, "-o", "json").stdout
    assert any(row["reason"] == "PodsRefused" and words in row["message"] for row in json.loads(events)["items"])

    cluster.kubectl(*(part.format(namespace) for part in undo))
    # ReplicaSets try again after a delay that doubles with each refusal.
    wait_until(lambda: conditions(installation, namespace, "kept-out")["Ready"][0] == "True", "it to recover", timeout_s=60)
    assert conditions(installation, namespace, "kept-out")["Stalled"][:2] == ("False", "NotStalled")
