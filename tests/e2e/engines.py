"""Engine pods of one team on a real node, as the tests of them ask for, reach and look at them.

Called by the tests that `make node` runs on a node which says that it has two GPUs; what stands in for vLLM there is the image's.
"""

import json
from typing import Any

import yaml
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.node import images
from tests.controlplane.node.real_node import RealNode

TEAM = "team"
NAME = "chat"
IMAGE = images.ENGINE.removeprefix("docker.io/")
MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
SAID_WITHIN_S = 10


def wish(node: RealNode, *, image: str = IMAGE, behaves: str = "serve", replicas: int = 1, **template: Any) -> None:
    """Ask for an engine that behaves so, with what the pod's template says beside."""
    env = [{"name": "ENGINE", "value": behaves}, *template.pop("env", [])]
    spec = {
        "model": {"name": MODEL},
        "replicas": replicas,
        "engine": {"image": image, "maxModelLen": 4096},
        "template": {"env": env, **template},
    }
    manifest = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": NAME}, "spec": spec}
    node.kubectl("apply", "-n", TEAM, "-f", "-", stdin=yaml.safe_dump(manifest))


def condition(node: RealNode, kind: str) -> tuple[str, str, str]:
    """Status, reason and message; empty where it is not said."""
    rows = node.get("infd", NAME, "-n", TEAM).get("status", {}).get("conditions", [])
    return next(((row["status"], row["reason"], row["message"]) for row in rows if row["type"] == kind), ("", "", ""))


def ready(node: RealNode, *, timeout_s: float = 90) -> None:
    """Wait until the newest spec serves and nothing stands in its way."""
    wait_until(lambda: is_current(node) and condition(node, "Ready")[0] == "True", "the engine to serve", timeout_s=timeout_s)
    assert condition(node, "Stalled")[:2] == ("False", "NotStalled")


def is_current(node: RealNode) -> bool:
    """Whether the status speaks of the spec as it stands."""
    wanted = node.get("infd", NAME, "-n", TEAM)
    return bool(wanted.get("status", {}).get("observedGeneration") == wanted["metadata"]["generation"])


def newest_pod(node: RealNode) -> Json:
    """The pod made last, or nothing."""
    pods = sorted(node.pods(TEAM), key=lambda pod: pod["metadata"]["creationTimestamp"])
    return pods[-1] if pods else {}


def container(node: RealNode) -> Json:
    """Status of the engine's container in the newest pod."""
    rows = newest_pod(node).get("status", {}).get("containerStatuses") or []
    return next((row for row in rows if row["name"] == "vllm"), {})


def is_running(node: RealNode) -> bool:
    """Whether the engine's container runs, ready or not."""
    return "running" in container(node).get("state", {})


def asked(node: RealNode, path: str) -> tuple[int, Json]:
    """What the engine answers through its Service."""
    return node.request("GET", f"/api/v1/namespaces/{TEAM}/services/{NAME}:8000/proxy{path}")


def told(node: RealNode) -> Json:
    """What the engine was told and what it finds around it."""
    status, answer = asked(node, "/told")
    assert status == 200, answer
    return answer


def stalled(node: RealNode, reason: str, *words: str, timeout_s: float = 60) -> str:
    """Wait until the deployment says that it is stalled so, in all its conditions; return what it says."""

    def says() -> str:
        status, why, message = condition(node, "Stalled")
        return message if (status, why) == ("True", reason) else ""

    message = wait_until(says, f"Stalled to say {reason}", timeout_s=timeout_s, every_s=0.2)
    for word in words:
        assert word in message
    assert {condition(node, kind)[:2] for kind in ("Ready", "Progressing", "Available")} == {("False", reason)}
    return message


def events(node: RealNode, reason: str) -> list[str]:
    """What was told of the deployment by Events of that reason."""
    uid = node.get("infd", NAME, "-n", TEAM)["metadata"]["uid"]
    listed = node.get("events.events.k8s.io", "-n", TEAM)["items"]
    return [one["note"] for one in listed if one["regarding"].get("uid") == uid and one["reason"] == reason]


def patched(node: RealNode, **spec: Any) -> None:
    """Change the deployment's spec by a merge patch."""
    node.kubectl("patch", "infd", NAME, "-n", TEAM, "--type=merge", "-p", json.dumps({"spec": spec}))
