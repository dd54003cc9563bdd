"""Ports that an engine cannot have, and pods with their node's network: whether they may, what they look like, what is free for them."""

from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import Files, deployment, manifest
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import FitPolicy, parse_inference_deployment, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.render import Origin, render_workload
from plimsoll_operator.verdict import Admit, Reason, Reject, Verdict

ORIGIN = Origin(generation=1, spec_digest="", replan="")
ALLOWED = {"hostNetwork": "Allow"}
ON_HOST = {"hostNetwork": True}
NODES = [gpu_node(f"h{number}", "NVIDIA-H100-80GB-HBM3", 8, 81559) for number in range(2)]


def verdict(*, policy: dict[str, Any] | None = None, engine: dict[str, Any] | None = None, lws: bool = False, **spec: Any) -> Verdict:
    body = {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": policy or {}}
    wish = deployment(engine={"maxModelLen": 8192, "tensorParallelSize": 1, **(engine or {})}, **spec)
    return decide(facts_for(wish, Files(*NODES, policies=[parse_object(FitPolicy, body)], lws=lws), applied_plan=None))


def admitted(**spec: Any) -> Admit:
    found = verdict(**spec)
    assert isinstance(found, Admit), found
    return found


@pytest.mark.parametrize("port", [1, 22, 80, 1023])
def test_a_port_that_needs_privilege_is_refused(port: int) -> None:
    found = verdict(engine={"port": port})
    assert isinstance(found, Reject)
    assert (found.reason, found.field) == (Reason.INVALID_SPEC, "spec.engine.port")
    assert "1024 or above" in found.message


@pytest.mark.parametrize("port", [1024, 8000, 65535])
def test_any_other_is_taken(port: int) -> None:
    admitted(engine={"port": port})


def test_the_nodes_network_is_the_administrators_to_allow() -> None:
    found = verdict(template=ON_HOST)
    assert isinstance(found, Reject)
    assert (found.reason, found.field) == (Reason.POLICY_FORBIDS, "spec.template.hostNetwork")
    assert "FitPolicy's hostNetwork denies" in found.message
    admitted(template={"hostNetwork": False})


def test_pods_on_the_nodes_network_say_which_ports_they_take() -> None:
    router = {"name": "router", "image": "r:1", "restartPolicy": "Always", "ports": [{"name": "router", "containerPort": 9001}]}
    sidecar = {"name": "proxy", "image": "p:1", "ports": [{"name": "proxy", "containerPort": 9000}]}
    raw = manifest(engine={"maxModelLen": 8192, "port": 8100}, template={**ON_HOST, "sidecars": [sidecar], "initContainers": [router]})
    found = admitted(policy=ALLOWED, engine={"port": 8100}, template=raw["spec"]["template"])
    pod = render_workload(parse_inference_deployment(raw), found.plan, ORIGIN)["spec"]["template"]["spec"]
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    containers = [*pod["containers"], *pod["initContainers"]]
    ports = {row["name"]: (row["containerPort"], row["hostPort"]) for one in containers for row in one["ports"]}
    assert ports == {"http": (8100, 8100), "proxy": (9000, 9000), "router": (9001, 9001)}


def test_pods_with_a_network_of_their_own_are_as_they_were() -> None:
    found = admitted()
    pod = render_workload(deployment(engine={"maxModelLen": 8192}), found.plan, ORIGIN)["spec"]["template"]["spec"]
    assert not {"hostNetwork", "dnsPolicy"} & pod.keys()
    assert all("hostPort" not in row for row in pod["containers"][0]["ports"])


@pytest.mark.parametrize(("replicas", "available"), [(1, True), (2, True), (3, False)])
def test_a_node_holds_one_of_them(replicas: int, available: bool) -> None:
    found = admitted(policy=ALLOWED, template=ON_HOST, replicas=replicas)
    assert found.plan.available_now is available
    assert any("a node holds one of them" in line for line in found.warnings)
    assert admitted(replicas=replicas).plan.available_now, "of others a node holds eight"


def test_an_update_of_them_waits_for_no_other_node() -> None:
    found = admitted(policy=ALLOWED, template=ON_HOST)
    assert not found.plan.may_surge
    assert admitted().plan.may_surge


def test_groups_over_nodes_have_it_too() -> None:
    engine = {"image": "vllm/vllm-openai:v0.19.0", "tensorParallelSize": 8, "pipelineParallelSize": 2, "maxModelLen": 8192}
    spec = {"template": ON_HOST, "placement": {"maxNodesPerReplica": 2}}
    found = admitted(policy=ALLOWED, lws=True, engine=engine, **spec)
    made = render_workload(deployment(engine=engine, **spec), found.plan, ORIGIN)["spec"]["leaderWorkerTemplate"]
    for part in ("leaderTemplate", "workerTemplate"):
        assert made[part]["spec"]["hostNetwork"]
        assert made[part]["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet", "workers find their leader by its name in the cluster"
    assert "ports" not in made["workerTemplate"]["spec"]["containers"][0]
