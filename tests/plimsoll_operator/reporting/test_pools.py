"""GPUPool objects as the controller keeps them: one per derived pool, a status for users' own, conditions whose times stay."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.capacity import pool_facts
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.reporting.pool_writer import PoolWriter
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import GPU_POOLS, NODES, PODS, Manifest
from plimsoll_operator.verdict import Reason, Undecided

START = datetime(2026, 1, 1, tzinfo=UTC)


def node(name: str, gpus: int = 4, allocatable: int | None = None, **labels: str) -> Manifest:
    return gpu_node(name, count=gpus, units=allocatable, host="180Gi", cpu="47", disk="400Gi", labels=labels)


class Cluster:
    """The controller's pool side over an API server in memory, with a clock that is set by hand."""

    def __init__(self, *nodes: Manifest, pod_namespaces: tuple[str, ...] = ()) -> None:
        self.kube = FakeKube()
        self.now = START
        for item in nodes:
            self.kube.create(NODES, item)
        undecided = Undecided(reason=Reason.UNKNOWN_MODEL, message="", next_step="")
        self.controller = Controller(self.kube, lambda facts: undecided, identity="test", pod_namespaces=pod_namespaces)
        self.controller.pool_writer = self.writer()

    def writer(self) -> PoolWriter:
        return PoolWriter(self.kube, self.controller.ledger, self.controller.objects, lambda: None, lambda: self.now)

    def pass_(self) -> dict[str, Manifest]:
        """Everybody hears what happened, pools are written, and their news is heard: GPUPools by name."""
        self.listen()
        self.controller.pool_writer.write()
        self.listen()
        return {row["metadata"]["name"]: row for row in self.kube.list_page(GPU_POOLS).items}

    def listen(self) -> None:
        for informer in self.controller.informers:
            if informer.resource in (NODES, PODS, GPU_POOLS):
                informer.relist()

    def mine(self, **spec: object) -> None:
        self.kube.create(GPU_POOLS, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "mine"}, "spec": spec})

    def mine_declared(self) -> None:
        metadata = {"name": "mine-declared"}
        self.kube.create(GPU_POOLS, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": metadata, "spec": DECLARED})

    def change(self, name: str, **parts: object) -> None:
        found = self.kube.get(GPU_POOLS, "", name)
        assert found is not None
        self.kube.replace(GPU_POOLS, found | parts)


def condition(pool: Manifest, kind: str = "Trusted") -> Manifest:
    found: Manifest
    (found,) = [row for row in pool["status"]["conditions"] if row["type"] == kind]
    return found


def test_a_doubt_is_a_condition_with_its_name_and_its_sentence() -> None:
    pools = Cluster(node("a"), node("odd", allocatable=6)).pass_()
    told = {condition(pool)["reason"]: condition(pool) for pool in pools.values()}
    assert told["NoDoubts"]["status"] == "True"
    assert told["MixedProducts"]["status"] == "False"
    assert "several products on one node" in told["MixedProducts"]["message"]
    assert "(1 of 1 node)" in told["MixedProducts"]["message"]


def test_the_time_of_a_condition_moves_only_with_its_status_also_over_a_restart() -> None:
    cluster = Cluster(node("a"), node("b"))
    (name,) = cluster.pass_()
    cluster.now += timedelta(hours=1)
    unready = cluster.kube.get(NODES, "", "b")
    assert unready is not None
    unready["spec"] = {"unschedulable": True}
    cluster.kube.replace(NODES, unready)
    cluster.controller.pool_writer = cluster.writer()
    pool = cluster.pass_()[name]
    assert (pool["status"]["freeGpus"], condition(pool)["reason"]) == (4, "Cordoned")
    assert condition(pool)["lastTransitionTime"] == "2026-01-01T00:00:00Z"


DECLARED = {"declared": True, "product": "NVIDIA-H200", "gpusPerNode": 8, "maxNodes": 2}


@pytest.mark.parametrize(
    ("why", "spec", "trusted", "reason", "says", "columns"),
    [
        ("declared: its nodes may come", DECLARED, "True", "Declared", "up to maxNodes", ("NVIDIA-H200", 0)),
        ("declared with a selector", DECLARED | {"selector": {"rack": "z"}}, "True", "Declared", "up to maxNodes", ("NVIDIA-H200", 0)),
        (
            "a product and nothing that names nodes",
            {"product": "NVIDIA-L4"},
            "False",
            "NoNodes",
            "give it a spec.selector",
            ("NVIDIA-L4", 0),
        ),
        ("a selector that no node has", {"selector": {"rack": "z"}}, "False", "NoNodes", "correct spec.selector", (None, 0)),
    ],
)
def test_a_pool_of_which_there_is_no_node_says_so_and_what_to_do_and_is_decided_on_as_before(
    why: str, spec: Manifest, trusted: str, reason: str, says: str, columns: tuple[str | None, int]
) -> None:
    cluster = Cluster(node("a"))
    cluster.mine(**spec)
    cluster.listen()
    before = cluster.kube.get(GPU_POOLS, "", "mine")
    told = cluster.pass_()["mine"]
    found = condition(told)
    assert (found["status"], found["reason"]) == (trusted, reason), why
    assert says in found["message"], why
    assert (told["status"].get("product"), told["status"]["nodes"]) == columns, why
    assert before is not None
    first, then = (replace(pool_facts(parse_object(GPUPool, pool)), problems=()) for pool in (before, told))
    assert first == then, "what the controller writes changes no decision"
    writes = len(cluster.kube.writes)
    cluster.pass_()
    assert len(cluster.kube.writes) == writes, "and it is written once"


def test_a_pool_of_a_user_s_own_is_told_what_its_selector_selects_and_then_no_more() -> None:
    cluster = Cluster(node("a", rack="a"), node("b", allocatable=6, rack="a"))
    cluster.mine(selector={"rack": "a"}, product="NVIDIA-L4", usableMemoryBytes="21Gi")
    pools = cluster.pass_()
    status = pools["mine"]["status"]
    assert (status["nodes"], status["totalGpus"], status["freeGpus"], condition(pools["mine"])["reason"]) == (2, 8, 8, "SourcesDisagree")
    derived = next(pool for name, pool in pools.items() if name != "mine")
    assert (derived["status"]["correctedBy"], derived["status"]["usableMemoryBytes"]) == ("mine", 21 << 30)
    assert pools["mine"]["spec"] == {"selector": {"rack": "a"}, "product": "NVIDIA-L4", "usableMemoryBytes": "21Gi"}
    cluster.change("mine", spec={"product": "NVIDIA-L4"})
    cluster.controller.pool_writer = cluster.writer()
    pools = cluster.pass_()
    assert (pools["mine"]["status"]["nodes"], condition(pools["mine"])["reason"]) == (0, "NoNodes")
    assert all("correctedBy" not in pool["status"] for name, pool in pools.items() if name != "mine")


def test_a_pool_without_nodes_is_told_as_soon_as_it_is_written_and_what_is_told_wakes_nobody() -> None:
    cluster = Cluster(node("a"))
    cluster.pass_()
    cluster.controller.ledger.changed.clear()
    cluster.mine(**DECLARED)
    cluster.listen()
    assert cluster.controller.ledger.changed.is_set(), "no node tells of it"
    cluster.pass_()
    cluster.controller.ledger.changed.clear()
    cluster.listen()
    assert not cluster.controller.ledger.changed.is_set()


def test_nothing_is_written_twice_and_no_pool_of_a_user_s_is_deleted() -> None:
    cluster = Cluster(node("a", rack="a"))
    cluster.mine(selector={"rack": "a"}, cost=3)
    cluster.pass_()
    before = len(cluster.kube.writes)
    pools = cluster.pass_()
    assert len(cluster.kube.writes) == before
    assert next(pool for name, pool in pools.items() if name != "mine")["status"]["cost"] == 3
    cluster.kube.delete(NODES, "", "a")
    pools = cluster.pass_()
    assert list(pools) == ["mine"]
    assert pools["mine"]["status"]["nodes"] == 0


@pytest.mark.parametrize(
    ("why", "meddled", "writes"),
    [
        ("as the one before has left them", {}, []),
        ("one whose status somebody has written", {"status": {"nodes": 7}}, ["GPUPool", "GPUPool"]),
        ("one whose annotations somebody has taken", {"annotations": None}, ["GPUPool", "GPUPool"]),
    ],
)
def test_a_new_leader_writes_no_pool_that_says_what_it_would_say(why: str, meddled: dict[str, Any], writes: list[str]) -> None:
    cluster = Cluster(node("a", rack="a"), node("b"))
    cluster.mine(selector={"rack": "a"}, cost=3)
    cluster.mine_declared()
    told = cluster.pass_()
    name = next(name for name in told if "mine" not in name)
    if "status" in meddled:
        cluster.change(name, status=told[name]["status"] | meddled["status"])
    if "annotations" in meddled:
        metadata = {key: value for key, value in told[name]["metadata"].items() if key != "annotations"}
        cluster.change(name, metadata=metadata)
    before = len(cluster.kube.writes)
    cluster.now += timedelta(hours=1)
    cluster.controller.pool_writer = cluster.writer()
    again = cluster.pass_()
    assert [call.kind for call in cluster.kube.writes[before:]] == writes, why
    assert {pool: row["status"] for pool, row in again.items()} == {pool: row["status"] for pool, row in told.items()}


@pytest.mark.parametrize("count", [1, 40])
def test_a_storm_of_pods_is_one_write_of_the_pool(count: int) -> None:
    cluster = Cluster(node("a", gpus=64))
    cluster.pass_()
    before = len(cluster.kube.writes)
    for number in range(count):
        container = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        cluster.kube.create(PODS, {"metadata": {"namespace": "x", "name": f"p{number}"},
                                   "spec": {"nodeName": "a", "containers": [container]},
                                   "status": {"phase": "Running"}})  # fmt: skip
    (pool,) = cluster.pass_().values()
    assert pool["status"]["freeGpus"] == 64 - count
    assert len([call for call in cluster.kube.writes[before:] if call.kind == "GPUPool"]) == 1


def test_without_the_right_to_see_all_pods_nothing_is_called_free_and_it_is_said() -> None:
    cluster = Cluster(node("a"), pod_namespaces=("team-a", "team-b"))
    for namespace in ("team-a", "elsewhere"):
        cluster.kube.create(PODS, {"metadata": {"namespace": namespace, "name": "p"}, "spec": {"nodeName": "a", "containers": [
            {"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}, "status": {"phase": "Running"}})  # fmt: skip
    (pool,) = cluster.pass_().values()
    status = pool["status"]
    assert (status["totalGpus"], status["freeIsKnown"]) == (4, False)
    assert {"freeGpus", "nodesByFreeGpus"}.isdisjoint(status)
    assert (condition(pool, "FreeKnown")["status"], condition(pool, "FreeKnown")["reason"]) == ("False", "ForeignPodsHidden")
    assert condition(pool)["status"] == "True"
    # Only the namespaces it may list are asked for, and each is asked for.
    seen = [row["metadata"]["namespace"] for informer in cluster.controller.informers if informer.resource == PODS
            for row in informer.values()]  # fmt: skip
    assert seen == ["team-a"]
    assert "free" not in {state for series in cluster.controller.series.pools() for state, _ in series.gpus}
