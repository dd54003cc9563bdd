"""Engine pods on a real node: what goes wrong with them is said with cause and next step, soon, once, and no longer than it lasts.

Run by `make node`. The node says it has two GPUs; in the image that pods ask for a stand-in `vllm` serves or fails as it is told.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.node import images
from tests.controlplane.node.real_node import RealNode
from tests.e2e.installation import CHART, NAMESPACE, RELEASE

pytestmark = pytest.mark.e2e
TEAM = "team"
IMAGE = images.ENGINE.removeprefix("docker.io/")
SAID_WITHIN_S = 10


@pytest.fixture(scope="module")
def node(workdir: Path) -> Iterator[RealNode]:
    with RealNode.boot(workdir / "engine", images=images.handed(), gpus=2) as plane:
        plane.helm("install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace", "--set", "hub.offline=true", "--wait")
        plane.kubectl("create", "namespace", TEAM)
        wait_until(lambda: plane.get("gpupools")["items"], "the GPUPool of the node")
        yield plane


@pytest.fixture
def team(node: RealNode) -> Iterator[RealNode]:
    """Each test begins and ends without wishes and pods: there are two GPUs for all."""
    yield node
    node.kubectl("delete", "infd", "--all", "-n", TEAM)
    wait_until(lambda: not node.pods(TEAM), "the pods to go", timeout_s=90)


def wish(node: RealNode, name: str = "chat", *, image: str = IMAGE, behaves: str = "serve", **template: Any) -> None:
    env = [{"name": "ENGINE", "value": behaves}, *template.pop("env", [])]
    spec = {
        "model": {"name": "Qwen/Qwen2.5-1.5B-Instruct"},
        "engine": {"image": image, "maxModelLen": 4096},
        "template": {"env": env, **template},
    }
    manifest = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}
    node.kubectl("apply", "-n", TEAM, "-f", "-", stdin=yaml.safe_dump(manifest))


def condition(node: RealNode, kind: str, name: str = "chat") -> tuple[str, str, str]:
    rows = node.get("infd", name, "-n", TEAM).get("status", {}).get("conditions", [])
    return next(((row["status"], row["reason"], row["message"]) for row in rows if row["type"] == kind), ("", "", ""))


def ready(node: RealNode) -> None:
    wait_until(lambda: condition(node, "Ready")[0] == "True", "the engine to serve", timeout_s=90)
    assert condition(node, "Stalled")[:2] == ("False", "NotStalled")


def container(node: RealNode) -> Json:
    """Status of the engine's container in the newest pod."""
    pods = sorted(node.pods(TEAM), key=lambda pod: pod["metadata"]["creationTimestamp"])
    return (pods[-1]["status"].get("containerStatuses") or [{}])[0] if pods else {}


def stalled(node: RealNode, reason: str, *words: str) -> None:
    """Pods say something is wrong; soon after the deployment says it too, in all its conditions, with one Event."""

    def fails() -> bool:
        now = container(node)
        waiting = now.get("state", {}).get("waiting", {}).get("reason", "")
        return waiting not in ("", "ContainerCreating", "PodInitializing")

    wait_until(fails, "the pod to fail", timeout_s=60, every_s=0.2)
    began = time.monotonic()
    wait_until(lambda: condition(node, "Stalled")[:2] == ("True", reason), f"Stalled to say {reason}", timeout_s=60, every_s=0.2)
    took = time.monotonic() - began
    status, _, message = condition(node, "Stalled")
    assert status == "True"
    for word in words:
        assert word in message
    assert {condition(node, kind)[:2] for kind in ("Ready", "Progressing", "Available")} == {("False", reason)}
    print(f"\n{reason} said {took:.1f} s after the pod: {message}")
    assert took < SAID_WITHIN_S
    time.sleep(12)  # the kubelet tries again meanwhile, and words it otherwise
    assert condition(node, "Stalled") == (status, reason, message)
    uid = node.get("infd", "chat", "-n", TEAM)["metadata"]["uid"]
    events = node.get("events.events.k8s.io", "-n", TEAM)["items"]
    assert [one["reason"] for one in events if one["regarding"].get("uid") == uid].count(reason) == 1


def test_an_engine_serves_what_the_plan_says(team: RealNode) -> None:
    """Started from the rendered command, probed by the kubelet, reached through its Service, and told what status shows."""
    wish(team)
    ready(team)
    path = f"/api/v1/namespaces/{TEAM}/services/chat:8000/proxy"
    assert team.request("GET", f"{path}/v1/models")[1]["data"][0]["id"] == "Qwen/Qwen2.5-1.5B-Instruct"
    told = team.request("GET", f"{path}/arguments")[1]["flags"]
    plan = team.get("infd", "chat", "-n", TEAM)["status"]["plan"]
    shown = {
        "--tensor-parallel-size": "tensorParallelSize",
        "--max-model-len": "maxModelLen",
        "--gpu-memory-utilization": "gpuMemoryUtilization",
    }
    assert {flag: told[flag] for flag in shown} == {flag: str(plan[field]) for flag, field in shown.items()}


def test_an_image_that_is_not_there_is_said_and_a_corrected_one_serves(team: RealNode) -> None:
    wish(team, image="vllm/vllm-openai:v0.31.0")
    stalled(team, "ImageNotPulled", "vllm/vllm-openai:v0.31.0", "Correct spec.engine.image")
    wish(team)
    ready(team)


@pytest.mark.parametrize(("code", "words"), [(3, "ended with status 3"), (0, "ended by itself with status 0")])
def test_an_engine_that_ends_again_and_again_is_said_and_a_corrected_one_serves(team: RealNode, code: int, words: str) -> None:
    wish(team, behaves=f"end with {code}")
    stalled(team, "EngineEnds", words, "kubectl logs --previous")
    wish(team)
    ready(team)


@pytest.mark.parametrize(("cause", "words"), [("memory", "CUDA out of memory"), ("cache", "16.00 GiB KV cache is needed")])
def test_why_an_engine_could_not_start_is_read_from_its_log(team: RealNode, cause: str, words: str) -> None:
    """The status has the server's traceback alone, which points to the cause above."""
    wish(team, behaves=f"fail for {cause}")
    stalled(team, "EngineEnds", words)


def test_a_secret_that_is_not_there_is_said_and_when_it_comes_the_pod_goes_on(team: RealNode) -> None:
    wish(team, env=[{"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "later", "key": "token"}}}])
    stalled(team, "ContainerNotStarted", 'secret "later" not found')
    team.kubectl("create", "secret", "generic", "later", "-n", TEAM, "--from-literal=token=x")
    ready(team)


def test_a_quota_that_is_full_is_said_in_the_api_server_s_words(team: RealNode) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    team.kubectl("apply", "-n", TEAM, "-f", "-", stdin=json.dumps(quota))
    wish(team)
    wait_until(lambda: condition(team, "Stalled")[:2] == ("True", "PodsRefused"), "the refusal to be said", timeout_s=30)
    assert "exceeded quota: none" in condition(team, "Stalled")[2]
    team.kubectl("delete", "resourcequota", "none", "-n", TEAM)
    wish(team, labels={"again": "now"})  # the ReplicaSet tries again by itself, ever more slowly
    ready(team)


def test_a_slow_load_is_progress_and_no_failure(team: RealNode) -> None:
    wish(team, behaves="serve after 25")
    wait_until(lambda: "running" in container(team).get("state", {}), "the engine to load", timeout_s=30)
    for _ in range(8):
        assert condition(team, "Stalled")[:2] == ("False", "NotStalled")
        assert condition(team, "Progressing")[:2] == ("True", "RollingOut")
        time.sleep(2)
    ready(team)


def test_an_engine_that_is_deleted_while_it_loads_gives_its_gpus_back_at_once(team: RealNode) -> None:
    """It hears no signal while it loads; as the first process of its namespace it would hold them for its grace period of a minute."""
    wish(team, behaves="serve after 600")
    wait_until(lambda: "running" in container(team).get("state", {}), "the engine to load", timeout_s=30)
    began = time.monotonic()
    team.kubectl("delete", "infd", "chat", "-n", TEAM)
    wait_until(lambda: not team.pods(TEAM), "the pod to go", timeout_s=40)
    print(f"\na loading engine went in {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 15


def test_what_somebody_changes_in_the_pods_deployment_is_put_back_and_nothing_is_left_after_deletion(team: RealNode) -> None:
    wish(team)
    ready(team)
    team.kubectl("set", "env", "deployment/chat", "-n", TEAM, "ENGINE=end with 9")

    def put_back() -> bool:
        env = team.get("deployment", "chat", "-n", TEAM)["spec"]["template"]["spec"]["containers"][0]["env"]
        return {"name": "ENGINE", "value": "serve"} in env

    wait_until(put_back, "the change to be put back", timeout_s=30)
    ready(team)
    team.kubectl("delete", "infd", "chat", "-n", TEAM)
    kinds = "deployments,replicasets,services,pods,endpointslices"
    wait_until(lambda: not team.get(kinds, "-n", TEAM)["items"], "everything of it to go", timeout_s=90)
