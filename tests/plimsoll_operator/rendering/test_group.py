"""The LeaderWorkerSet of a replica over several nodes: vLLM's start on each of them, and what finds whom."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.plimsoll_operator.rendering.rendering import PLAN, value_of, wish

from plimsoll_estimator.arguments import flag_exists
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_operator import group, render
from plimsoll_operator.names import NAME_LABEL, PLAN_ANNOTATION, TEMPLATE_DIGEST_ANNOTATION, WORKER_LABEL
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Plan

SPREAD = replace(PLAN, tensor_parallel_size=8, pipeline_parallel_size=2, gpus_per_replica=16, nodes_per_replica=2)
ORIGIN = render.Origin(generation=3, spec_digest="abc", replan="")


def made(plan: Plan = SPREAD, **spec: Any) -> dict[str, Any]:
    return render.render_workload(wish(**spec), plan, ORIGIN)


def template(role: str, plan: Plan = SPREAD, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = made(plan, **spec)["spec"]["leaderWorkerTemplate"][f"{role}Template"]
    return found


def engine(role: str, plan: Plan = SPREAD, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = template(role, plan, **spec)["spec"]["containers"][0]
    return found


def test_only_a_replica_over_nodes_is_a_group() -> None:
    assert [made(plan)["kind"] for plan in (PLAN, SPREAD)] == ["Deployment", "LeaderWorkerSet"]


def test_a_group_has_a_pod_for_each_node_and_is_restarted_whole() -> None:
    spec = made(replicas=3)["spec"]
    assert (spec["replicas"], spec["leaderWorkerTemplate"]["size"]) == (3, 2)
    assert spec["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"


def test_each_pod_takes_its_nodes_share_of_gpus_and_host() -> None:
    for role in ("leader", "worker"):
        resources = engine(role)["resources"]
        assert resources["limits"] == {"nvidia.com/gpu": "8"}
        assert resources["requests"]["cpu"] == "9000m"
        assert template(role)["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] == "9Gi"


def test_leader_and_workers_start_one_engine_together() -> None:
    leader, worker = engine("leader")["args"], engine("worker")["args"]
    for args in (leader, worker):
        assert args[0] == "acme/tiny-8b"
        assert [value_of(flag, args) for flag in ("--tensor-parallel-size", "--pipeline-parallel-size")] == ["8", "2"]
        assert (value_of("--nnodes", args), value_of("--node-rank", args)) == ("2", "$(LWS_WORKER_INDEX)")
    assert value_of("--master-addr", worker) == "$(LWS_LEADER_ADDRESS)"
    # The leader binds sockets to this address (vLLM v1/engine/utils.py), and ZeroMQ binds to no DNS name.
    assert value_of("--master-addr", leader) == "$(VLLM_HOST_IP)"
    assert ("--headless" in leader, "--headless" in worker) == (False, True)


@pytest.mark.parametrize("version", ["0.11.1", "0.11.2", "0.19.1", "0.25.1", "0.33.0"])
def test_every_argument_exists_in_releases_that_span_nodes(version: str) -> None:
    plan = replace(SPREAD, engine_version=version, data_parallel_size=2, decode_context_parallel_size=2, enable_expert_parallel=True)
    for role in ("leader", "worker"):
        flags = [token.partition("=")[0] for token in engine(role, plan)["args"] if token.startswith("--")]
        assert [flag for flag in flags if not flag_exists(flag, EngineVersion.parse(version))] == []


def test_every_pod_announces_its_own_address_once() -> None:
    env = [row for row in engine("worker")["env"] if row["name"] == "VLLM_HOST_IP"]
    assert env == [{"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]


def test_the_service_and_the_scale_selector_find_leaders_only() -> None:
    selector = render.render_service(wish())["spec"]["selector"]
    leader, worker = (template(role)["metadata"]["labels"] for role in ("leader", "worker"))
    assert selector.items() <= leader.items()
    assert not selector.items() & worker.items()
    assert (worker[WORKER_LABEL], worker.get(NAME_LABEL)) == ("chat", None)
    assert "LeaderWorkerSet".lower() not in render.selector_text(wish())


def test_workers_serve_nothing_and_so_answer_no_probe() -> None:
    assert {"ports", "startupProbe", "livenessProbe", "readinessProbe"} <= engine("leader").keys()
    assert not {"ports", "startupProbe", "livenessProbe", "readinessProbe"} & engine("worker").keys()


def test_the_headless_service_of_the_group_does_not_take_the_deployments_name() -> None:
    assert made()["metadata"]["name"] == group.name_of("chat") != render.render_service(wish())["metadata"]["name"]
    assert made()["spec"]["networkConfig"] == {"subdomainPolicy": "Shared"}


def test_the_group_belongs_to_its_deployment_and_carries_the_plan() -> None:
    metadata = made()["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("InferenceDeployment", "chat", True)
    assert Plan.from_json(metadata["annotations"][PLAN_ANNOTATION]) == SPREAD
    assert metadata["labels"][NAME_LABEL] == "chat"


def test_a_group_surges_only_where_the_plan_found_free_nodes() -> None:
    rolled = {
        surge: made(replace(SPREAD, may_surge=surge))["spec"]["rolloutStrategy"]["rollingUpdateConfiguration"] for surge in (True, False)
    }
    assert rolled == {True: {"maxSurge": 1, "maxUnavailable": 0}, False: {"maxSurge": 0, "maxUnavailable": 1}}


def test_the_users_overlay_and_arguments_reach_every_pod_of_the_group() -> None:
    overlay: Manifest = {"annotations": {"leaderworkerset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gce-topology-block"}}
    spec: Manifest = {"template": overlay, "engine": {"image": "vllm/vllm-openai:v0.19.0", "extraArgs": ["--disable-log-requests"]}}
    for role in ("leader", "worker"):
        assert overlay["annotations"].items() <= template(role, **spec)["metadata"]["annotations"].items()
        assert "--disable-log-requests" in engine(role, **spec)["args"]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["--api-server-count=1", "--seed", "1"], ["--seed", "1"]),  # entrypoints/cli/serve.py of 0.15 on refuses it beside --headless
        (["--seed=1", "-asc", "1"], ["--seed=1"]),
        (["--api_server_c", "1"], []),
        (["--no-such-flag", "--api-server-count=1"], ["--no-such-flag", "--api-server-count=1"]),  # of a plan that passed once
    ],
)
def test_only_the_leader_is_told_how_many_servers_to_start(given: list[str], left: list[str]) -> None:
    spec: Manifest = {"engine": {"image": "vllm/vllm-openai:v0.19.0", "extraArgs": given}}
    common = engine("leader")["args"].index(next(word for word in engine("leader")["args"] if word.startswith("--nnodes")))
    leader, worker = engine("leader", **spec)["args"], engine("worker", **spec)["args"]
    assert leader[common : common + len(given)] == given
    assert worker[common : common + len(left)] == left
    assert worker[common + len(left)].startswith("--nnodes")


@pytest.mark.parametrize(("given", "port"), [([], 29501), (["--master-port", "30000"], 30000)])
def test_leaders_on_the_nodes_network_take_the_port_where_they_meet_their_workers(given: list[str], port: int) -> None:
    def ports(role: str, **template_spec: Any) -> list[tuple[str, int | None]]:
        rows = engine(role, template=template_spec, engine={"image": "vllm/vllm-openai:v0.19.0", "extraArgs": given}).get("ports", [])
        return [(row["name"], row.get("hostPort")) for row in rows]

    assert ports("leader", hostNetwork=True) == [("http", 8000), ("group", port)]
    assert ports("worker", hostNetwork=True) == []
    assert ports("leader") == [("http", None)]


def test_scaling_does_not_touch_the_templates_and_rendering_is_pure() -> None:
    once, scaled = made(), made(replicas=7)
    assert once == made()
    assert once["spec"]["leaderWorkerTemplate"] == scaled["spec"]["leaderWorkerTemplate"]
    annotation = TEMPLATE_DIGEST_ANNOTATION
    assert once["metadata"]["annotations"][annotation] == scaled["metadata"]["annotations"][annotation]


ENGINES = replace(
    PLAN, engine_version="0.11.0", tensor_parallel_size=1, data_parallel_size=32, gpus_per_replica=32, nodes_per_replica=4,
    enable_expert_parallel=True,
)  # fmt: skip


def test_before_nnodes_each_node_has_whole_engines_and_counts_them_from_the_workers_index() -> None:
    leader, worker = engine("leader", ENGINES), engine("worker", ENGINES)
    for container, address in ((leader, "$(VLLM_HOST_IP)"), (worker, "$(LWS_LEADER_ADDRESS)")):
        args = container["args"]
        assert (value_of("--data-parallel-size", args), value_of("--data-parallel-size-local", args)) == ("32", "8")
        assert value_of("--data-parallel-address", args) == address
        assert not any(arg.startswith(("--nnodes", "--node-rank", "--master-addr")) for arg in args)
        assert all(flag_exists(arg.partition("=")[0], EngineVersion(0, 11)) for arg in args if arg.startswith("--"))
    assert (leader["command"], "--headless" in leader["args"]) == (["vllm", "serve"], False)
    shell, flag, script, name = worker["command"]
    assert (shell, flag, name, "--headless" in worker["args"]) == ("/bin/sh", "-c", "vllm", True)
    assert "$$((LWS_WORKER_INDEX * 8))" in script, "Kubernetes would look for a variable in $("


def test_the_workers_command_hands_on_its_arguments_and_counts(tmp_path: Path) -> None:
    """Run as the kubelet would run it, `vllm` being a program that prints what it is told."""
    told = tmp_path / "vllm"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    told.chmod(0o755)
    command = [part.replace("$$(", "$(") for part in engine("worker", ENGINES)["command"]]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LWS_WORKER_INDEX": "3"}
    out = subprocess.run([*command, "acme/m", "--x=a b", "$HOME"], env=environment, capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["serve", "acme/m", "--x=a b", "$HOME", "--data-parallel-start-rank=24"]
