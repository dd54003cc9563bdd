"""The controller's small parts: what caches keep, what is booked, what is said once, and the two ports."""

import ast
import json
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path

import pytest
from tests.plimsoll_operator import plans
from tests.plimsoll_operator.cluster import of_replica_set
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod

import plimsoll_operator
from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.booking.reservation import Reservation
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.reporting.events import EventRecorder
from plimsoll_operator.controller.serve import exposition, probe, serve
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import EVENTS, Manifest

KEY = ("team", "chat")
OPERATOR = Path(plimsoll_operator.__file__).parent
PLAN = replace(plans.PLAN, tensor_parallel_size=2, gpus_per_replica=2)


def node(name: str, gpus: int = 8, heartbeat: str = "") -> Manifest:
    """With what kubelets write and nobody here reads."""
    made = gpu_node(name, count=gpus, labels={"zone": name}, podCIDR="x")
    made["metadata"]["annotations"] = {"noise": heartbeat}
    made["status"]["conditions"][0]["lastHeartbeatTime"] = heartbeat
    made["status"]["images"] = ["x"] * 50
    return made


def pod(name: str, node_name: str, phase: str = "Running", gpus: int = 2) -> Manifest:
    owned = of_replica_set("chat")
    made = gpu_pod(name, node_name, gpus, phase, **{**owned, "labels": {**owned["labels"], "other": "x"}})
    made["spec"]["containers"][0] |= {"image": "x", "env": [{"name": "A"}]}
    made["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1"
    made["status"]["podIP"] = "1"
    return made


def test_a_heartbeat_is_no_change_and_a_pod_keeps_only_what_is_counted() -> None:
    assert trim.node(node("a", heartbeat="1")) == trim.node(node("a", heartbeat="2"))
    assert "images" not in trim.node(node("a"))["status"]
    kept = trim.pod(pod("p", "a"))
    assert kept["spec"]["containers"] == [{"resources": {"requests": {"cpu": "1000m", "nvidia.com/gpu": "2"}}}]
    assert kept["metadata"]["labels"] == of_replica_set("chat")["labels"]
    plain = trim.pod({"metadata": {"namespace": "x", "name": "y"}, "spec": {"containers": [{"name": "z", "env": ["…"] * 99}]}})
    assert len(json.dumps(plain)) < 200


def ledger() -> Ledger:
    found = Ledger()
    found.node_changed(("", "a"), None, trim.node(node("a")))
    return found


def free_and_booked(found: Ledger) -> tuple[int, int]:
    (pool,) = found.pools()
    return pool.free_gpus, pool.booked_gpus


def bind(found: Ledger, name: str, phase: str = "Running") -> None:
    found.pod_changed(("team", name), None, trim.pod(pod(name, "a", phase)))


def test_a_booking_turns_into_a_claim_pod_by_pod_and_nothing_is_counted_twice() -> None:
    found = ledger()
    found.reserve(KEY, Reservation(plan=PLAN, replicas=3))
    assert free_and_booked(found) == (2, 6)
    bind(found, "p1")
    assert free_and_booked(found) == (2, 4)
    bind(found, "p2")
    bind(found, "p3")
    assert free_and_booked(found) == (2, 0)
    found.pod_changed(("team", "p3"), trim.pod(pod("p3", "a")), None)
    assert free_and_booked(found) == (2, 2)
    found.reserve(KEY, None)
    assert free_and_booked(found) == (4, 0)


def test_a_finished_pod_holds_nothing_so_its_replica_is_booked_again() -> None:
    found = ledger()
    found.reserve(KEY, Reservation(plan=PLAN, replicas=1))
    bind(found, "p1", "Failed")
    assert (found.bound(KEY), free_and_booked(found)) == (0, (6, 2))


def test_no_more_is_booked_than_there_is() -> None:
    found = ledger()
    found.reserve(KEY, Reservation(plan=PLAN, replicas=100))
    found.reserve(("team", "other"), Reservation(plan=replace(PLAN, gpus_per_replica=8), replicas=1))
    assert free_and_booked(found) == (0, 8)


def test_a_deployment_sees_the_cluster_without_itself_and_leaves_it_as_it_was() -> None:
    found = ledger()
    found.reserve(KEY, Reservation(plan=PLAN, replicas=2))
    found.reserve(("team", "other"), Reservation(plan=PLAN, replicas=1))
    bind(found, "p1")
    before = found.pools()
    (alone,) = found.pools_without(KEY)
    assert (alone.free_gpus, alone.booked_gpus) == (6, 2)
    assert found.pools() == before


def recorder(kube: FakeKube) -> EventRecorder:
    return EventRecorder(kube, identity="test", now=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def say(events: EventRecorder, note: str) -> None:
    events.post(KEY, "uid", kind="Normal", reason="PlanApplied", action="Plan", note=note)


def test_an_event_is_posted_once_also_over_a_restart() -> None:
    kube = FakeKube()
    events = recorder(kube)
    for note in ("one", "one", "two"):
        say(events, note)
    say(recorder(kube), "two")
    assert sorted(row["note"] for row in kube.list_page(EVENTS).items) == ["one", "two"]


def test_what_is_said_to_users_is_a_line_of_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    events = recorder(FakeKube())
    for note in ("1 x NVIDIA-L4 per replica", "1 x NVIDIA-L4 per replica"):
        say(events, note)
    events.post(KEY, "uid", kind="Warning", reason="NameTaken", action="Apply", note="a name\nis taken")
    said = [(row.levelname, row.getMessage()) for row in caplog.records]
    assert said == [("INFO", "team/chat: PlanApplied: 1 x NVIDIA-L4 per replica"), ("WARNING", "team/chat: NameTaken: a name is taken")]


def test_a_refused_event_is_said_again_later_and_fails_nothing() -> None:
    kube = FakeKube()
    kube.fail_next("create", ApiFailure(403, "Forbidden", "no"))
    events = recorder(kube)
    say(events, "one")
    say(events, "one")
    assert len(kube.list_page(EVENTS).items) == 1


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/ready", 503, b"waiting for pods\n"),
        ("/live", 200, b"ok\n"),
        ("/metrics", 200, b"plimsoll_x 1\n"),
        ("/other", 404, b"not found\n"),
    ],
)
def test_ports_answer_probes_and_scrapes(path: str, status: int, body: bytes) -> None:
    routes = {"/ready": probe(lambda: "waiting for pods"), "/live": probe(str), "/metrics": exposition(lambda: b"plimsoll_x 1\n")}
    address = f"http://127.0.0.1:{serve(0, routes, host='127.0.0.1')}{path}"
    answered: urllib.error.HTTPError | HTTPResponse
    try:
        answered = urllib.request.urlopen(address, timeout=30)
    except urllib.error.HTTPError as error:
        answered = error
    with answered:
        assert (answered.status, answered.read()) == (status, body)


def importers(package: str) -> set[str]:
    found = set()
    for path in OPERATOR.rglob("*.py"):
        for statement in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
            if isinstance(statement, ast.ImportFrom) and statement.level == 0:
                names.append(statement.module or "")
            if any(name.split(".")[0] == package for name in names):
                found.add(str(path.relative_to(OPERATOR)))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("package", "modules"),
    [
        ("kubernetes", {"kube.py", "cli/live.py"}),
        ("kopf", {"controller/watching/watcher.py"}),
        ("prometheus_client", {"metrics.py"}),
    ],
    ids=[
        "one door to the API server, and the CLI that names its configuration error",
        "kopf only watches",
        "one place knows the metrics library",
    ],
)
def test_heavy_packages_stay_at_the_edge(package: str, modules: set[str]) -> None:
    assert importers(package) == modules
