"""How a pod begins and ends: time to start from what it loads, probes that can be tuned, and no request cut off at the end."""

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, deployment, planned, verdict
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.rendering.rendering import PLAN, wish

from plimsoll_operator.api import FitPolicy, PlanStatus, parse_object
from plimsoll_operator.life import DRAIN
from plimsoll_operator.names import API_VERSION, NAME_LABEL
from plimsoll_operator.render import Origin, render_deployment, render_group
from plimsoll_operator.verdict import Admit, Reason, Reject

ORIGIN = Origin(generation=1, spec_digest="", replan="")
NOW = replace(PLAN, pod_form=1, startup_seconds=1260, termination_grace_seconds=440)
H100S = gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559)


def spec_of(template: Any = None, plan: Any = NOW, **spec: Any) -> Any:
    item = wish(**spec, **({"template": template} if template is not None else {}))
    return render_deployment(item, plan, ORIGIN)["spec"]


def engine_of(template: Any = None, plan: Any = NOW, **spec: Any) -> Any:
    return spec_of(template, plan, **spec)["template"]["spec"]["containers"][0]


def budget(container: Any) -> int:
    probe = container["startupProbe"]
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def plan_of(model: str, **spec: Any) -> Any:
    found = verdict(model, engine={"maxModelLen": 8192}, store=Files(H100S), **spec)
    assert isinstance(found, Admit), found
    return found.plan


# The times that a plan gives


def test_what_is_large_or_comes_from_far_has_longer_to_start() -> None:
    small, large = plan_of(LLAMA_8B), plan_of(LLAMA_70B)
    assert 15 * 60 <= small.startup_seconds < large.startup_seconds
    # 141 GB at 0.4 Gbit/s are 47 minutes: an hour, as all had, would be too little for some.
    assert 2 * 141e9 / 5e7 < large.startup_seconds < 2 * 3600


def test_the_longest_request_may_be_answered_before_a_pod_ends() -> None:
    short, long = (planned(verdict(LLAMA_8B, engine={"maxModelLen": size}, store=Files(H100S))) for size in (512, 131072))
    assert (short.termination_grace_seconds, plan_of(LLAMA_8B).termination_grace_seconds, long.termination_grace_seconds) == (60, 440, 600)
    classes = [{"name": "a", "promptTokens": 1000, "outputTokens": 1000, "concurrency": 4}]
    worksheet = planned(verdict(LLAMA_8B, workload={"requestClasses": classes}, store=Files(H100S)))
    assert worksheet.termination_grace_seconds == 130


def test_the_times_make_no_other_plan_and_are_shown() -> None:
    assert NOW.digest == PLAN.digest, "an upgrade proposes no other plan"
    status = PlanStatus.of(NOW)
    shown = status.model_dump(by_alias=True)
    assert (shown["startupSeconds"], shown["terminationGraceSeconds"]) == (1260, 440)
    assert status.as_plan() == NOW


# What of them is in the pod


def test_a_plan_of_an_earlier_release_has_an_hour_and_a_minute_and_nothing_before_its_end() -> None:
    container = engine_of(plan=replace(PLAN, pod_form=1))
    assert budget(container) == 3600
    assert "lifecycle" not in container
    assert spec_of(plan=replace(PLAN, pod_form=1))["template"]["spec"]["terminationGracePeriodSeconds"] == 60


def test_an_engine_that_its_probe_takes_for_dead_is_not_waited_for_as_long_as_one_that_answers() -> None:
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    new, old = replace(NOW, pod_form=3), replace(NOW, pod_form=2)
    assert [engine_of(plan=new)[one].get("terminationGracePeriodSeconds") for one in probes] == [30, 30, None]
    assert [engine_of(plan=old)[one].get("terminationGracePeriodSeconds") for one in probes] == [None] * 3
    short = engine_of({"terminationGracePeriodSeconds": 7, "livenessProbe": {"timeoutSeconds": 30}}, plan=new)
    assert short["livenessProbe"]["terminationGracePeriodSeconds"] == 7


def test_the_plan_s_times_are_the_pod_s_and_the_rollout_waits_longer_than_a_start() -> None:
    assert budget(engine_of()) == 1260
    assert spec_of()["progressDeadlineSeconds"] > 1260
    assert spec_of()["template"]["spec"]["terminationGracePeriodSeconds"] == 440
    *_, scheme, port, most, _ = engine_of()["lifecycle"]["preStop"]["exec"]["command"]
    assert (scheme, port) == ("http", "8000")
    assert 0 < int(most) < 440, "the engine has something left for its own end"


TUNED = [
    ("a longer start by more failures", {"startupProbe": {"failureThreshold": 720}}, "startupProbe", {"failureThreshold": 720}),
    ("asked less often, as long in all", {"startupProbe": {"periodSeconds": 60}}, "startupProbe",
     {"periodSeconds": 60, "failureThreshold": 21}),
    ("slow answers are no death", {"livenessProbe": {"timeoutSeconds": 30}}, "livenessProbe",
     {"timeoutSeconds": 30, "periodSeconds": 10, "failureThreshold": 6}),
    ("unready sooner", {"readinessProbe": {"periodSeconds": 1, "failureThreshold": 1}}, "readinessProbe",
     {"periodSeconds": 1, "failureThreshold": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "template", "probe", "expected"), TUNED, ids=[row[0] for row in TUNED])
def test_probes_are_tuned_and_still_ask_for_health(why: str, template: Any, probe: str, expected: Any) -> None:
    found = engine_of(template)[probe]
    assert expected.items() <= found.items()
    assert found["httpGet"] == {"path": "/health", "port": "http"}
    if probe == "startupProbe":
        assert spec_of(template)["progressDeadlineSeconds"] == budget(engine_of(template)) + 600


def test_the_end_is_the_user_s_where_it_is_said() -> None:
    sleeps = engine_of({"lifecycle": {"preStop": {"sleep": {"seconds": 20}}}})
    assert sleeps["lifecycle"] == {"preStop": {"sleep": {"seconds": 20}}}
    runs = engine_of({"lifecycle": {"preStop": {"exec": {"command": ["/bin/end"]}}}})
    assert runs["lifecycle"] == {"preStop": {"exec": {"command": ["/bin/end"]}}}
    longer = spec_of({"terminationGracePeriodSeconds": 7200})["template"]["spec"]
    assert longer["terminationGracePeriodSeconds"] == 7200
    assert longer["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-2] == "7185"
    assert "lifecycle" not in engine_of({"terminationGracePeriodSeconds": 10}), "there is no time to wait in"


def test_a_wait_of_the_user_s_own_fits_into_the_end_and_none_is_none() -> None:
    pod = spec_of({"lifecycle": {"preStop": {"sleep": {"seconds": 900}}}})["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 915
    assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 900}}}
    nothing = spec_of({"lifecycle": {"preStop": {"sleep": {"seconds": 0}}}})["template"]["spec"]
    assert nothing["terminationGracePeriodSeconds"] == 440
    assert "lifecycle" not in nothing["containers"][0]


def test_a_command_at_the_end_is_code_from_outside_the_image() -> None:
    policy = parse_object(
        FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": {"codeLoading": "Deny"}}
    )
    store = Files(H100S, policies=(policy,))
    found = [
        verdict(LLAMA_8B, engine={"maxModelLen": 8192}, template={"lifecycle": {"preStop": one}}, store=store)
        for one in ({"exec": {"command": ["/bin/end"]}}, {"sleep": {"seconds": 1}})
    ]
    refused, admitted = found
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.field) == (Reason.POLICY_FORBIDS, "spec.template.lifecycle.preStop.exec")
    assert isinstance(admitted, Admit)


def test_in_a_group_workers_end_with_their_leader() -> None:
    over_two = replace(NOW, nodes_per_replica=2, gpus_per_replica=4, tensor_parallel_size=4)
    template = {"topologySpreadConstraints": [{"topologyKey": "zone"}]}
    item = deployment(placement={"maxNodesPerReplica": 2}, template=template)
    group = render_group(item, over_two, ORIGIN)["spec"]["leaderWorkerTemplate"]
    leader, worker = (group[name]["spec"] for name in ("leaderTemplate", "workerTemplate"))
    assert worker["containers"][0]["lifecycle"] == leader["containers"][0]["lifecycle"]
    assert "startupProbe" not in worker["containers"][0]
    assert ("topologySpreadConstraints" in leader, "topologySpreadConstraints" in worker) == (True, False)


def test_replicas_are_spread_among_themselves() -> None:
    template = {"topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 2}]}
    assert spec_of(template)["template"]["spec"]["topologySpreadConstraints"] == [
        {
            "topologyKey": "topology.kubernetes.io/zone",
            "maxSkew": 2,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {NAME_LABEL: "chat"}},
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]


# What outlives a container

KEPT = [
    ("without a word, a volume of the pod's own", 2, None, "compile-cache"),
    ("pods of earlier plans stay as they are", 1, None, None),
    ("a claim of the user's", 2,
     {"volumes": [{"name": "c", "mountPath": "/root/.cache/vllm/", "persistentVolumeClaim": {"claimName": "c"}}]}, "c"),
    ("a claim for a part of it", 2,
     {"volumes": [{"name": "c", "mountPath": "/root/.cache/vllm/torch_compile_cache", "persistentVolumeClaim": {"claimName": "c"}}]}, "c"),
    ("another place", 2, {"env": [{"name": "VLLM_CACHE_ROOT", "value": "/fast"}]}, None),
    ("a home that has moved", 2, {"securityContext": {"runAsUser": 7}}, None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "form", "template", "volume"), KEPT, ids=[row[0] for row in KEPT])
def test_a_restart_does_not_compile_again(why: str, form: int, template: Any, volume: str | None) -> None:
    container = engine_of(template, plan=replace(PLAN, pod_form=form))
    found = [row["name"] for row in container["volumeMounts"] if row["mountPath"].startswith("/root/.cache/vllm")]
    assert found == ([volume] if volume is not None else [])


# What runs before the end


class Figures(http.server.BaseHTTPRequestHandler):
    """Metrics of an engine: one request in flight for as many answers as `busy` says."""

    busy = 0
    asked = 0

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked += 1
        running = 1.0 if kind.asked <= kind.busy else 0.0
        body = f'# HELP x\nvllm:num_requests_running{{engine="0"}} {running}\nvllm:num_requests_waiting{{engine="0"}} 0.0\n'.encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def engine() -> Iterator[tuple[type[Figures], int]]:
    kind = type("Own", (Figures,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kind, server.server_port
    server.shutdown()
    server.server_close()


def drain(port: int, *, most: float) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    command = [sys.executable, "-I", "-c", DRAIN, "http", str(port), str(most), "0"]
    environment = {"http_proxy": "http://127.0.0.1:9", "LWS_LEADER_ADDRESS": "nowhere.invalid"}
    subprocess.run(command, check=True, env=environment, timeout=60)
    return time.monotonic() - began


@pytest.mark.thorough
def test_it_waits_until_nothing_is_in_flight(engine: tuple[type[Figures], int]) -> None:
    kind, port = engine
    kind.busy = 2
    drain(port, most=50)
    assert kind.asked == 2 + 2, "and asks once more, since one may just be coming"


def test_it_waits_no_longer_than_there_is_time(engine: tuple[type[Figures], int]) -> None:
    kind, port = engine
    kind.busy = 1000
    assert drain(port, most=1) < 20
    assert kind.asked < 10


def test_where_nothing_answers_nothing_is_waited_for(engine: tuple[type[Figures], int]) -> None:
    assert drain(1, most=50) < 20
