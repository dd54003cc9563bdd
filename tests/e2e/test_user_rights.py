"""Shapes that need a namespace's own rights, on a real control plane: reader pods on fake nodes run their real program.

A kubelet of ours runs the pod's command on a folder of the test's and serves its output as the pod's log.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.controlplane import Cluster, ControlPlane, KubectlError
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.kubelet import LogServer, serving_logs
from tests.e2e.installation import GROUP, NAMESPACE, RELEASE, Installation
from tests.plimsoll_operator.checkpoints import TINY, write_checkpoint
from tests.plimsoll_operator.hub_cache import COMMIT, cache_of
from tests.plimsoll_operator.hub_server import MODEL, TOKEN, HubServer
from tests.plimsoll_operator.kubelet import run_container

pytestmark = pytest.mark.e2e
API = f"/apis/{GROUP}/v1alpha1"
READER = f"{GROUP}/reader"
NOW = "2026-11-25T12:00:00Z"
BOUND = "the claim to be bound"


@dataclass(kw_only=True)
class Node:
    """Plays the reader pods of the cluster."""

    cluster: ControlPlane
    logs: LogServer
    folders: dict[str, Path] = field(default_factory=dict)
    secrets: dict[tuple[str, str], str] = field(default_factory=dict)
    seen: list[Json] = field(default_factory=list)

    def reader(self, namespace: str) -> Json:
        """Wait for the namespace's reader pod to be started."""

        def started() -> Json | None:
            return next((pod for pod in self.cluster.pods(namespace, READER) if pod["status"]["phase"] == "Running"), None)

        return wait_until(started, f"the reader pod of {namespace}")

    def play(self, namespace: str, *, forge: Callable[[bytes], bytes] = lambda log: log) -> None:
        """Run it to its end; a forger answers in the program's place."""
        pod = self.reader(namespace)
        self.seen.append(pod)
        code, log, message = run_container(pod, self.folders, self.secrets)
        name = pod["metadata"]["name"]
        self.logs.logs[namespace, name, "reader"] = forge(log)
        terminated = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "message": message,
            "startedAt": NOW,
            "finishedAt": NOW,
        }
        row = {"name": "reader", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": terminated}}
        patch = {"status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": [row]}}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        status, answer = self.cluster.request("PATCH", path, patch, content_type="application/strategic-merge-patch+json")
        assert status == 200, answer


@pytest.fixture
def node(own_plane: ControlPlane) -> Iterator[Node]:
    with serving_logs(own_plane) as logs:
        yield Node(cluster=own_plane, logs=logs)


@pytest.fixture
def other_namespace(cluster: Cluster, namespace: str) -> Iterator[str]:
    name = f"{namespace}-b"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "inferencedeployments", "--all", "-n", name, "--wait=false", check=False)
    wait_until(lambda: not cluster.pods(name), f"the pods of {name} to go")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def bind_claim(cluster: Cluster, namespace: str) -> None:
    """A claim named weights, bound to a volume of the namespace's own."""
    capacity = {"storage": "1Gi"}
    shared = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    volume = {**shared, "capacity": capacity, "hostPath": {"path": "/weights"}, "claimRef": {"namespace": namespace, "name": "weights"}}
    claim = {**shared, "resources": {"requests": capacity}, "volumeName": f"weights-{namespace}"}
    apply(cluster, "PersistentVolume", f"weights-{namespace}", "", spec=volume)
    apply(cluster, "PersistentVolumeClaim", "weights", namespace, spec=claim)
    wait_until(lambda: cluster.get("-n", namespace, "pvc", "weights")["status"].get("phase") == "Bound", BOUND)


def apply(cluster: Cluster, kind: str, name: str, namespace: str, **content: object) -> None:
    version = f"{GROUP}/v1alpha1" if kind == "InferenceDeployment" else "v1"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, **content}
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))


def wish(cluster: Cluster, namespace: str, *, model: str = "acme/in-house", **spec_of_model: object) -> None:
    spec = {
        "model": {"name": model, **spec_of_model},
        "engine": {"image": "vllm/vllm-openai:v0.19.0"},
        "placement": {"gpuProducts": ["NVIDIA-L4"]},
    }
    apply(cluster, "InferenceDeployment", "mine", namespace, spec=spec)


VOLUME = {"persistentVolumeClaim": {"claimName": "weights", "path": "llama"}}


def condition(cluster: Cluster, namespace: str, kind: str) -> tuple[str, str, str]:
    status = cluster.get("-n", namespace, "infd", "mine").get("status", {})
    return next(
        ((row["status"], row["reason"], row["message"]) for row in status.get("conditions", []) if row["type"] == kind), ("", "", "")
    )


def decided(cluster: Cluster, namespace: str) -> Json:
    wait_until(lambda: condition(cluster, namespace, "Feasible")[0] == "True", f"the deployment of {namespace} to be admitted")
    return cluster.get("-n", namespace, "deployment", "mine")


def profiles(cluster: Cluster, namespace: str) -> list[Json]:
    found: list[Json] = cluster.get("-n", namespace, "modelprofiles")["items"]
    return found


def test_a_volume_is_read_by_a_pod_of_its_namespace_and_decides_the_deployment(node: Node, namespace: str, tmp_path: Path) -> None:
    cluster = node.cluster
    total = write_checkpoint(tmp_path / "weights" / "llama", shards=2)
    node.folders["weights"] = tmp_path / "weights"
    bind_claim(cluster, namespace)
    wish(cluster, namespace, source=VOLUME)
    pod = node.reader(namespace)
    assert condition(cluster, namespace, "Feasible")[0] == "Unknown"
    assert f"{GROUP}/name" not in pod["metadata"]["labels"], "no engine pod"
    assert not any(row["name"].startswith("kube-api-access") for row in pod["spec"]["volumes"]), "no token of a ServiceAccount"
    node.play(namespace)
    child = decided(cluster, namespace)
    assert child["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"] == "weights"
    (profile,) = profiles(cluster, namespace)
    assert profile["spec"]["origin"] == VOLUME
    assert profile["spec"]["weights"]["totalBytes"] == total
    wait_until(lambda: not cluster.pods(namespace, READER), "the reader pod to be taken away")
    assert condition(cluster, namespace, "ModelResolved")[0] == "True"


def test_an_image_is_read_as_data_by_a_pod_of_its_namespace(node: Node, namespace: str, tmp_path: Path) -> None:
    """On the kubelet of ours; that a runtime mounts such volumes is Kubernetes' own business (GA since 1.36)."""
    cluster, reference = node.cluster, "ghcr.io/acme/llama:1"
    total = write_checkpoint(tmp_path / "image" / "models")
    node.folders[reference] = tmp_path / "image"
    wish(cluster, namespace, source={"image": {"reference": reference, "path": "models"}})
    node.play(namespace)
    child = decided(cluster, namespace)
    volumes = {row["name"]: row for row in child["spec"]["template"]["spec"]["volumes"]}
    assert volumes["weights"]["image"] == {"reference": reference, "pullPolicy": "IfNotPresent"}
    (profile,) = profiles(cluster, namespace)
    assert profile["spec"]["origin"] == {"image": {"reference": reference, "path": "models"}}
    assert profile["spec"]["weights"]["totalBytes"] == total


def test_a_model_in_the_hubs_cache_on_a_claim_is_served_at_its_commit(node: Node, namespace: str, tmp_path: Path) -> None:
    cluster = node.cluster
    cache_of(tmp_path / "weights" / "hub")
    node.folders["weights"] = tmp_path / "weights"
    bind_claim(cluster, namespace)
    wish(cluster, namespace, source={"persistentVolumeClaim": {"claimName": "weights", "path": "hub", "layout": "HubCache"}})
    node.play(namespace)
    (container,) = decided(cluster, namespace)["spec"]["template"]["spec"]["containers"]
    assert container["args"][:5] == ["acme/in-house", "--served-model-name", "acme/in-house", "--revision", COMMIT]
    assert {"name": "HF_HUB_CACHE", "value": "/models/hub"} in container["env"]


def test_the_pod_is_allowed_where_only_restricted_pods_are(node: Node, namespace: str, tmp_path: Path) -> None:
    cluster = node.cluster
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    write_checkpoint(tmp_path / "weights" / "llama")
    node.folders["weights"] = tmp_path / "weights"
    bind_claim(cluster, namespace)
    wish(cluster, namespace, source=VOLUME)
    node.play(namespace)
    decided(cluster, namespace)


def test_a_forged_log_is_said_and_changes_no_other_namespace(node: Node, namespace: str, other_namespace: str, tmp_path: Path) -> None:
    cluster = node.cluster
    write_checkpoint(tmp_path / "weights" / "llama")
    node.folders["weights"] = tmp_path / "weights"
    for each in (namespace, other_namespace):
        bind_claim(cluster, each)
        wish(cluster, each, source=VOLUME)
    node.play(other_namespace)
    decided(cluster, other_namespace)
    wait_until(lambda: condition(cluster, other_namespace, "Ready")[0] == "True", "the other namespace to serve")
    before = cluster.get("-n", other_namespace, "infd", "mine")["status"]
    node.play(namespace, forge=lambda log: b"x" * (1 << 20) + log)
    wait_until(lambda: condition(cluster, namespace, "ModelResolved")[1] == "Invalid", "the condition to say so")
    status, _, message = condition(cluster, namespace, "ModelResolved")
    assert (status, "is not believed: it is longer than" in message) == ("False", True), message
    assert profiles(cluster, namespace) == []
    events = cluster.get("-n", namespace, "events.events.k8s.io")["items"]
    assert any("is not believed" in event.get("note", "") for event in events), [event.get("note") for event in events]
    assert cluster.get("-n", other_namespace, "infd", "mine")["status"] == before
    assert len(profiles(cluster, other_namespace)) == 1


@pytest.fixture
def asking(installation: Installation, hub: HubServer) -> Iterator[str]:
    """The controller with the hub stand-in as its hub; offline again afterwards."""
    installation.stop("controller")
    installation.hub = hub.url
    installation.start_controller()
    yield installation.hub
    installation.stop("controller")
    installation.hub = ""
    installation.start_controller()


def test_a_users_token_is_nowhere_but_in_its_secret(node: Node, installation: Installation, namespace: str, asking: str) -> None:
    cluster = node.cluster
    node.secrets["hub", "token"] = TOKEN
    apply(cluster, "Secret", "hub", namespace, stringData={"token": TOKEN})
    wish(cluster, namespace, model=MODEL, source={"huggingFace": {"tokenSecretRef": {"name": "hub"}}})
    node.play(namespace)
    assert {"name": "HF_ENDPOINT", "value": asking} in node.seen[0]["spec"]["containers"][0]["env"]
    decided(cluster, namespace)
    (profile,) = profiles(cluster, namespace)
    assert "origin" not in profile["spec"]
    assert profile["spec"]["revision"], "a commit"
    shown = [json.dumps(node.seen), *(log.decode() for log in node.logs.logs.values())]
    for kind in ("infd", "modelprofiles", "clustermodelprofiles", "pods", "deployments", "events.events.k8s.io", "events"):
        shown.append(cluster.kubectl("get", kind, "-n", namespace, "-o", "yaml", "--show-managed-fields").stdout)
    shown += [installation.log(name) for name in ("controller", "webhook")]
    shown += [installation.metrics(name) for name in ("controller", "webhook")]
    assert MODEL in "".join(shown)
    assert TOKEN not in "".join(shown)


def test_the_controller_may_make_and_delete_no_pod_but_a_reader(installation: Installation, namespace: str) -> None:
    """RBAC cannot say it, so the chart's ValidatingAdmissionPolicies do. All that they refuse: test_controller_rights."""
    cluster = installation.cluster
    controller = cluster.kubeconfig_for(NAMESPACE, f"{RELEASE}-controller")
    pod: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare", "labels": {}}}
    pod["spec"] = {"containers": [{"name": "c", "image": "x"}], "automountServiceAccountToken": False, "activeDeadlineSeconds": 1}
    create, delete = ("create", "-n", namespace, "-f", "-"), ("delete", "pod", "bare", "-n", namespace, "--wait=false")
    with pytest.raises(KubectlError, match="the controller makes no pods but reader pods"):
        cluster.kubectl(*create, stdin=json.dumps(pod), kubeconfig=controller)
    cluster.kubectl(*create, stdin=json.dumps(pod))
    with pytest.raises(KubectlError, match="the controller deletes no pods but reader pods"):
        cluster.kubectl(*delete, kubeconfig=controller)
    cluster.kubectl(*delete)


def test_a_config_map_is_read_and_decides_its_own_namespace_only(node: Node, namespace: str, other_namespace: str) -> None:
    cluster = node.cluster
    both = (namespace, other_namespace)
    for each in both:
        wish(cluster, each, profile={"configMapRef": {"name": "shape"}})
    wait_until(
        lambda: all(condition(cluster, each, "ModelResolved")[1] == "NotFound" for each in both), "the ConfigMap to be missed in both"
    )
    apply(cluster, "ConfigMap", "shape", namespace, data={"config.json": json.dumps(TINY)})
    decided(cluster, namespace)
    (profile,) = profiles(cluster, namespace)
    assert profile["spec"]["origin"] == {"configMapRef": {"name": "shape", "key": "config.json"}}
    assert condition(cluster, other_namespace, "Feasible")[0] == "Unknown"
