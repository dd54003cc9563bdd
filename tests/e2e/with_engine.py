"""Engine pods on a real node: what goes wrong with them is said with cause and next step, soon, once, and no longer than it lasts.

Run by `make node`. The node says it has two GPUs; in the image that pods ask for a stand-in `vllm` serves or fails as it is told.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.controlplane.cluster import wait_until
from tests.controlplane.node.real_node import NAME, RealNode
from tests.e2e.engines import (
    MODEL,
    SAID_WITHIN_S,
    TEAM,
    asked,
    condition,
    container,
    events,
    is_running,
    newest_pod,
    ready,
    stalled,
    told,
    wish,
)
from tests.plimsoll_operator.observing.logs import log_of

from plimsoll_estimator import GIB, FailureCause
from plimsoll_operator.api import PlanStatus
from plimsoll_operator.reasons.engine_ends import NEXT_STEPS

pytestmark = pytest.mark.e2e
READ_THE_LOG = "kubectl logs --previous"


def test_an_engine_serves_what_the_plan_says(team: RealNode) -> None:
    """Started from the rendered command, probed by the kubelet, reached through its Service, and told what status shows."""
    wish(team)
    ready(team)
    assert asked(team, "/v1/models")[1]["data"][0]["id"] == MODEL
    flags = told(team)["flags"]
    plan = team.get("infd", "chat", "-n", TEAM)["status"]["plan"]
    shown = {
        "--tensor-parallel-size": "tensorParallelSize",
        "--max-model-len": "maxModelLen",
        "--max-num-seqs": "maxNumSeqs",
        "--max-num-batched-tokens": "maxNumBatchedTokens",
        "--gpu-memory-utilization": "gpuMemoryUtilization",
        "--dtype": "dtype",
    }
    assert {flag: flags[flag] for flag in shown} == {flag: str(plan[field]) for flag, field in shown.items()}
    assert set(flags) == {*shown, "--port"}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is asked for, and what is said of the pods that come of it: the reason, the cause and the next step."""

    asks: Mapping[str, Any] = field(default_factory=dict)
    reason: str = "EngineEnds"
    words: tuple[str, ...] = (READ_THE_LOG,)


FAILURES = {
    "an image that is not there": Failure(
        asks={"image": "vllm/vllm-openai:v0.31.0"}, reason="ImageNotPulled", words=("vllm/vllm-openai:v0.31.0", "Correct spec.engine.image")
    ),
    "an end with an error": Failure(asks={"behaves": "end with 3"}, words=("ended with status 3", READ_THE_LOG)),
    "an end without one": Failure(asks={"behaves": "end with 0"}, words=("ended with status 0, where it should serve", READ_THE_LOG)),
    # The status has the server's traceback alone, which points to the cause above: the log is read, and the step is the cause's.
    "too little GPU memory": Failure(
        asks={"behaves": "fail for memory"}, words=("CUDA out of memory", NEXT_STEPS[FailureCause.CUDA_OUT_OF_MEMORY])
    ),
    "too little cache": Failure(
        asks={"behaves": "fail for cache"}, words=("16.00 GiB KV cache is needed", NEXT_STEPS[FailureCause.KV_CACHE_TOO_SMALL])
    ),
    "a start that takes longer than it may": Failure(
        asks={"behaves": "serve after 600", "startupProbe": {"periodSeconds": 1, "failureThreshold": 4}},
        words=("startupProbe",),
    ),
    "a Secret that is not there": Failure(
        asks={"env": [{"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "later", "key": "token"}}}]},
        reason="ContainerNotStarted",
        words=('secret "later" not found', "make it in the namespace"),
    ),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_what_goes_wrong_is_said_and_a_corrected_one_serves(team: RealNode, failure: Failure) -> None:
    wish(team, **failure.asks)
    said_soon_once_and_the_same(team, failure)
    wish(team)
    ready(team)


def said_soon_once_and_the_same(team: RealNode, failure: Failure) -> None:
    """Pods say something is wrong; soon after the deployment says it too, in all its conditions, with one Event."""

    def fails() -> bool:
        waiting = container(team).get("state", {}).get("waiting", {}).get("reason", "")
        return waiting not in ("", "ContainerCreating", "PodInitializing")

    wait_until(fails, "the pod to fail", timeout_s=60, every_s=0.2)
    began = time.monotonic()
    message = stalled(team, failure.reason, *failure.words)
    took = time.monotonic() - began
    print(f"\n{failure.reason} said {took:.1f} s after the pod: {message}")
    assert took < SAID_WITHIN_S
    time.sleep(12)  # the kubelet tries again meanwhile, and words it otherwise
    assert condition(team, "Stalled") == ("True", failure.reason, message)
    assert len(events(team, failure.reason)) == 1


def test_an_engine_that_takes_more_host_memory_than_it_may_is_said(team: RealNode) -> None:
    """The kernel ends it at the limit of its pod's cgroup, which is lowered here: 10 GiB of this machine are not taken for a test."""
    wish(team, behaves="take 512")
    groups = Path("/sys/fs/cgroup/memory", os.environ["NODE_CGROUP"])

    def limit() -> Path | None:
        uid = newest_pod(team).get("metadata", {}).get("uid", "none")
        return next(groups.glob(f"**/pod{uid}/memory.limit_in_bytes"), None)

    wait_until(limit, "the pod's cgroup", every_s=0.01).write_text(str(128 << 20))
    said_soon_once_and_the_same(team, Failure(words=("OOMKilled", "spec.template.resources")))
    wish(team)
    ready(team)


def test_what_an_engine_logs_of_its_start_is_beside_its_plan_and_no_pod_is_touched_for_it(team: RealNode) -> None:
    """Read through the API server and the kubelet, soon after the engine serves; what differs is said, and said no longer than it is so."""
    wish(team)
    ready(team)
    said_of_the_start(team, "Unknown", "NotObserved")  # it has logged no figures
    plan = PlanStatus.model_validate(team.get("infd", "chat", "-n", TEAM)["status"]["plan"]).as_plan()
    assert plan is not None
    half_gib = plan.predicted.kv_cache_bytes / GIB / 2
    poisoned = "(EngineCore_DP0 pid=271) INFO 11-30 10:00:00 [a.py:1] Available KV cache memory: 4000.00 GiB"
    for log, status, reason in (
        (log_of(plan), "True", "AsPredicted"),
        (log_of(plan, kv_gib=half_gib), "False", "LessKvCache"),
        (log_of(plan, version="0.17.1"), "False", "EngineNotAsPlanned"),
        (log_of(plan, more=poisoned), "False", "FiguresLeftOut"),
        (log_of(plan), "True", "AsPredicted"),
    ):
        wish(team, env=[{"name": "LOG", "value": log}])
        ready(team)
        pod = newest_pod(team)["metadata"]["uid"]
        said_of_the_start(team, status, reason)
        assert newest_pod(team)["metadata"]["uid"] == pod
        assert condition(team, "Ready")[0] == "True"
    observed = team.get("infd", "chat", "-n", TEAM)["status"]["observed"]
    assert (observed["engineVersion"], observed["kvCacheTokens"]) == (plan.engine_version, plan.kv_cache_tokens)
    assert abs(float(observed["errorRatio"])) < 0.02
    head, row = team.kubectl("get", "infd", "chat", "-n", TEAM, "-o", "wide").stdout.splitlines()
    assert {"OBSERVED", "ERROR"} <= set(head.split())
    assert observed["errorRatio"] in row.split()


def said_of_the_start(team: RealNode, status: str, reason: str) -> None:
    """Wait until AsPredicted says so, which is soon."""
    began = time.monotonic()
    wait_until(lambda: condition(team, "AsPredicted")[:2] == (status, reason), f"AsPredicted to say {reason}", timeout_s=60, every_s=0.2)
    took = time.monotonic() - began
    print(f"\n{reason} said {took:.1f} s after the engine served: {condition(team, 'AsPredicted')[2]}")
    assert took < SAID_WITHIN_S


def test_a_quota_that_is_full_is_said_in_the_api_server_s_words(team: RealNode) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    team.kubectl("apply", "-n", TEAM, "-f", "-", stdin=json.dumps(quota))
    wish(team)
    stalled(team, "PodsRefused", "exceeded quota: none", timeout_s=30)
    team.kubectl("delete", "resourcequota", "none", "-n", TEAM)
    wish(team, labels={"again": "now"})  # the ReplicaSet tries again by itself, ever more slowly
    ready(team)


def test_a_slow_load_is_progress_and_no_failure(team: RealNode) -> None:
    wish(team, behaves="serve after 25")
    wait_until(lambda: is_running(team), "the engine to load", timeout_s=30)
    for _ in range(8):
        assert condition(team, "Stalled")[:2] == ("False", "NotStalled")
        assert condition(team, "Progressing")[:2] == ("True", "RollingOut")
        time.sleep(2)
    ready(team)


def test_a_node_that_falls_silent_is_said_and_when_it_answers_again_its_pods_serve(team: RealNode) -> None:
    wish(team)
    ready(team)
    team.stop_kubelet()
    try:
        wait_until(lambda: NAME not in team.ready_nodes(), "Kubernetes to take the node for lost", timeout_s=60)
        began = time.monotonic()
        message = stalled(team, "NodeNotReady", NAME, "kubectl describe node")
        print(f"\nNodeNotReady said {time.monotonic() - began:.1f} s after the node: {message}")
        assert time.monotonic() - began < SAID_WITHIN_S
    finally:
        team.start_kubelet()
    ready(team)


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
