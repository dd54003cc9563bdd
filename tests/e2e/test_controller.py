"""The controller on a real control plane: speed, stickiness, what it puts right, and that a second one takes over."""

import json
import statistics
import time
from collections.abc import Iterator
from functools import partial

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import wait_until
from tests.e2e.installation import GROUP, Installation
from tests.e2e.wishes import API, Wishes, wish

pytestmark = pytest.mark.e2e


@pytest.fixture
def wishes(installation: Installation, namespace: str) -> Wishes:
    return Wishes(installation.cluster, namespace)


@pytest.fixture
def processes(installation: Installation, own_plane: ControlPlane) -> Iterator[Installation]:
    """The installation where the programs are processes of ours; the controller runs again afterwards."""
    yield installation
    if "controller" not in installation.cluster.processes.running():
        installation.start_controller()


def test_pods_exist_soon_after_the_wish(wishes: Wishes) -> None:
    seconds = []
    for index in range(7):
        name = f"quick-{index}"
        wishes.create(wish(name))
        start = time.monotonic()
        wait_until(partial(wishes.pods, name), f"a pod of {name}", every_s=0.005)
        seconds.append(time.monotonic() - start)
        wishes.cluster.request("DELETE", wishes.path(name))
    median = statistics.median(seconds)
    print(f"median {median * 1000:.0f} ms from the accepted wish to its pod, of {[round(s * 1000) for s in seconds]}")
    assert median < 1.0, "the aim is 0.3 s; the bound leaves room for a busy machine"


def test_the_object_stays_the_users_own(wishes: Wishes) -> None:
    """No finalizer, no annotation, no spec field is written into it: uninstalling never wedges and GitOps sees no drift."""
    wishes.create(wish("mine"))
    wishes.ready("mine")
    found = wishes.get("mine")
    assert "finalizers" not in found["metadata"]
    assert "annotations" not in found["metadata"]
    written = {entry["manager"]: entry for entry in found["metadata"]["managedFields"]}
    assert set(written["plimsoll-controller"]["fieldsV1"]) == {"f:status"}
    assert not [manager for manager in written if "kopf" in manager]


def test_a_changed_spec_is_planned_again_and_scaling_is_not(wishes: Wishes) -> None:
    wishes.create(wish("moves"))
    wishes.ready("moves")
    before, plan = wishes.uids("moves"), wishes.status("moves")["plan"]
    wishes.patch("moves", {"spec": {"replicas": 2}})
    wait_until(lambda: len(wishes.uids("moves")) == 2, "a second pod")
    assert before < wishes.uids("moves")
    assert wishes.status("moves")["plan"] == plan
    wishes.patch("moves", {"spec": {"engine": {"maxModelLen": 4096}}})
    wait_until(lambda: "--max-model-len=4096" in wishes.arguments("moves"), "the new context in the pods' arguments")
    wait_until(lambda: not before & wishes.uids("moves"), "the old pod to go")
    wait_until(lambda: wishes.status("moves").get("plan", {}).get("maxModelLen") == 4096, "the new plan in status")


@pytest.mark.parametrize("kind", ["apps/v1/namespaces/{}/deployments", "v1/namespaces/{}/services"], ids=["Deployment", "Service"])
def test_a_deleted_child_comes_back_with_the_same_plan(wishes: Wishes, kind: str) -> None:
    wishes.create(wish("again"))
    wishes.ready("again")
    arguments = wishes.arguments("again")
    prefix = "/apis/" if kind.startswith("apps") else "/api/"
    path = prefix + kind.format(wishes.namespace) + "/again"
    _, before = wishes.cluster.request("GET", path)
    assert wishes.cluster.request("DELETE", path)[0] == 200

    def returned() -> bool:
        status, found = wishes.cluster.request("GET", path)
        return status == 200 and found["metadata"]["uid"] != before["metadata"]["uid"]

    wait_until(returned, "the child to come back")
    assert wishes.arguments("again") == arguments


def test_a_profile_that_arrives_turns_an_undecided_wish_into_pods(wishes: Wishes) -> None:
    wishes.create(wish("waits", model="acme/in-house-1b"))
    wait_until(lambda: wishes.condition("waits", "Feasible") == "Unknown", "the verdict")
    assert wishes.pods("waits") == []
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }
    profile = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "ModelProfile",
        "metadata": {"name": "in-house"},
        "spec": {"model": "acme/in-house-1b", "config": json.dumps(config)},
    }
    status, answer = wishes.cluster.request("POST", f"{API}/namespaces/{wishes.namespace}/modelprofiles", profile)
    assert status == 201, answer.get("message")
    wait_until(lambda: wishes.pods("waits"), "the pod")


def test_a_restart_restores_lost_status_and_touches_no_pod(processes: Installation, wishes: Wishes) -> None:
    wishes.create(wish("keeps"))
    wishes.ready("keeps")
    uids, plan, child = wishes.uids("keeps"), wishes.status("keeps")["plan"], wishes.child("keeps")
    processes.stop("controller")
    wishes.patch("keeps", {"status": None}, "status")
    assert wishes.status("keeps") == {}
    processes.start_controller()
    wishes.ready("keeps")
    assert wishes.status("keeps")["plan"] == plan
    assert wishes.uids("keeps") == uids
    after = wishes.child("keeps")
    assert child is not None
    assert after is not None
    assert after["metadata"]["generation"] == child["metadata"]["generation"]


def test_a_standby_writes_nothing_and_takes_over_when_the_leader_is_killed(processes: Installation, wishes: Wishes) -> None:
    standby = processes.start_standby()
    told = len(standby.log.read_text())  # of earlier tests
    try:
        before = processes.leader()
        wishes.create(wish("first"))
        wishes.ready("first")
        assert processes.leader() == before
        assert "leading" not in standby.log.read_text()[told:]
        uids = wishes.uids("first")
        processes.cluster.processes["controller"].kill()
        wishes.create(wish("second"))
        wait_until(lambda: processes.leader() != before, "the standby to take the lease", timeout_s=40)
        wait_until(lambda: wishes.pods("second"), "what was accepted meanwhile to get its pods")
        assert wishes.uids("first") == uids
    finally:
        processes.stop("controller-standby")


def test_what_a_user_writes_beyond_the_first_plane_reaches_the_pods(processes: Installation, wishes: Wishes) -> None:
    note = "\U0001f600 \u2028 \x85"
    wide = wish("wide")
    wide["spec"]["template"] = {"annotations": {"note": note}}
    wishes.create(wide)
    wishes.ready("wide")
    child = wishes.child("wide")
    assert child is not None
    assert child["spec"]["template"]["metadata"]["annotations"]["note"] == note


def test_the_controller_needs_no_right_that_the_chart_does_not_give(processes: Installation, wishes: Wishes) -> None:
    wishes.create(wish("plain"))
    wishes.ready("plain")
    log = processes.log("controller")
    for words in ("cannot", "Traceback", "ERROR"):  # a missing right reads: User "…" cannot list resource "pods"
        assert words not in log, log[-2000:]
