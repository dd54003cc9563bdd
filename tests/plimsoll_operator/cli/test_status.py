"""`plimsoll status NAME`: what an object and its pods say, in one look."""

from collections.abc import Iterable
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, manifest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.observing.logs import L4, log_of, start

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.screen import Screen
from plimsoll_operator.cli.status import lines_of, pod_line, told_of
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.observation import observed_of
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, PODS, Manifest

WHEN = "2026-11-29T00:00:00Z"
CRASHED = {
    "restartCount": 6,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "x\ntorch.OutOfMemoryError: CUDA out of memory"}},
}


def condition(kind: str, status: str, reason: str, message: str = "because") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": WHEN}


def cluster(*conditions: dict[str, str], pods: Iterable[tuple[str, Manifest]] = (), **status: Any) -> FakeKube:
    kube = FakeKube()
    kube.create(INFERENCE_DEPLOYMENTS, manifest(LLAMA_8B))
    shown = {"conditions": list(conditions), "selector": "app=x", "readyReplicas": 0, **status}
    kube.apply(INFERENCE_DEPLOYMENTS, {**manifest(LLAMA_8B), "status": shown}, subresource="status")
    for name, row in pods:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": "x"}}, "spec": {}}
        kube.create(PODS, pod | {"status": {"phase": "Running", "containerStatuses": [row]}})
    return kube


def test_a_pod_that_crashes_is_shown_with_how_it_ended() -> None:
    told = told_of(cluster(condition("Feasible", "True", "Fits"), pods=[("x-1", CRASHED)]), "default", "x")
    assert (told.exit_status, told.ready) == (0, "0 of 1")
    line = next(line for line in lines_of(told, Screen()) if line.startswith("x-1"))
    assert line.split()[1:4] == ["CrashLoopBackOff", "no", "6"]
    assert line.endswith("status 1, Error: torch.OutOfMemoryError: CUDA out of memory")


@pytest.mark.parametrize(
    ("state", "reason", "status"), [("True", "Fits", 0), ("False", "InsufficientKvCache", 1), ("Unknown", "UnknownModel", 3)]
)
def test_the_status_is_that_of_the_decision(state: str, reason: str, status: int) -> None:
    assert told_of(cluster(condition("Feasible", state, reason)), "default", "x").exit_status == status


def test_what_stands_in_the_way_has_what_to_do_next_once() -> None:
    told = told_of(cluster(*(condition(kind, "False", "InsufficientKvCache") for kind in ("Feasible", "Ready"))), "default", "x")
    assert [line for line in lines_of(told, Screen()) if line.startswith("next: ")] == [
        "next: Lower maxModelLen or maxNumSeqs, use an fp8 KV cache, raise tensorParallelSize, or a larger GPU."
    ]


def test_what_the_engines_took_is_told_beside_the_plan() -> None:
    observed = observed_of(L4, [start(log_of(kv_gib=3.5))])
    assert observed is not None
    kube = cluster(condition("Feasible", "True", "Fits"), observed=observed.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert (
        "  took   beside the KV cache 16.50 GiB (error of the prediction -0.0303); KV cache 32000 tokens; vLLM 0.19.0; pod chat-1"
        in lines_of(told_of(kube, "default", "x"), Screen())
    )


def test_a_log_that_nobody_has_read_yet_stands_in_nobody_s_way() -> None:
    told = told_of(cluster(condition("AsPredicted", "Unknown", "NotObserved")), "default", "x")
    assert (told.took, told.next_steps) == ("", ())
    assert told_of(cluster(condition("AsPredicted", "False", "ForeignGpuMemory")), "default", "x").next_steps


def test_before_anything_was_decided_it_says_who_does() -> None:
    kube = FakeKube()
    kube.create(INFERENCE_DEPLOYMENTS, manifest())
    told = told_of(kube, "default", "x")
    assert told.exit_status == 3
    assert "does the controller run?" in "\n".join(lines_of(told, Screen(width=60)))


def test_what_is_not_there_is_said_with_how_to_find_it() -> None:
    with pytest.raises(InvalidInput, match="kubectl get infd -A"):
        told_of(FakeKube(), "default", "x")


def test_who_may_not_list_pods_is_told_the_rest() -> None:
    kube = cluster(condition("Feasible", "True", "Fits"), pods=[("x-1", CRASHED)])
    kube.fail_next("list", ApiFailure(403, "Forbidden", "pods is forbidden"))
    told = told_of(kube, "default", "x")
    assert told.pods is None
    assert "may not be listed" in "\n".join(lines_of(told, Screen(width=100, colour=False)))


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        ({"spec": {"schedulingGates": [{"name": "g"}]}, "status": {"phase": "Pending"}}, "SchedulingGated"),
        ({"status": {"phase": "Pending"}}, "Pending"),
        (
            {"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}},
            "ImagePullBackOff",
        ),
        ({"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}}, "Pending"),
        ({}, "Unknown"),
    ],
)
def test_a_pod_s_state_is_the_word_that_kubectl_has_for_it(pod: Manifest, state: str) -> None:
    assert pod_line({"metadata": {"name": "p"}, **pod}).state == state


def test_a_pod_that_drains_is_said_to_go_and_a_failed_engine_is_said_beside_sidecars_that_ended_well() -> None:
    def ended(code: int) -> Manifest:
        return {"state": {"terminated": {"exitCode": code, "reason": "OOMKilled" if code else "Completed"}}}

    status = {"phase": "Running", "containerStatuses": [ended(137), ended(0), ended(0)]}
    line = pod_line({"metadata": {"name": "p", "deletionTimestamp": "2026-11-30T00:00:00Z"}, "status": status})
    assert (line.state, line.last_end) == ("Terminating", "status 137, OOMKilled")


@pytest.mark.parametrize("width", [60, 100, 200])
def test_sentences_are_wrapped_to_the_terminal(width: int) -> None:
    told = told_of(cluster(condition("Feasible", "False", "InsufficientKvCache", "word " * 60)), "default", "x")
    assert max(len(line) for line in lines_of(told, Screen(width=width)) if line.startswith("    ")) <= width


def test_what_follows_from_the_cause_asks_for_nothing_of_its_own() -> None:
    rows = [("ModelResolved", "True", "Found"), ("Feasible", "True", "Fits"), ("CapacityAvailable", "Unknown", "NoPlan")]
    rows += [("Progressing", "False", "NameTaken"), ("Available", "False", "NameTaken"), ("Ready", "False", "NameTaken")]
    told = told_of(cluster(*(condition(*row) for row in (*rows, ("Stalled", "True", "NameTaken")))), "default", "x")
    assert len(told.next_steps) == 1
    assert told.next_steps[0].startswith("Rename one of the two.")


def test_what_serves_as_planned_asks_for_nothing() -> None:
    rows = [("Feasible", "True", "Fits"), ("Progressing", "False", "Complete"), ("Available", "True", "MinimumReplicasAvailable")]
    rows += [("Ready", "True", "Ready"), ("Stalled", "False", "NotStalled"), ("AsPredicted", "Unknown", "LogUnread")]
    assert told_of(cluster(*(condition(*row) for row in rows)), "default", "x").next_steps == ()
