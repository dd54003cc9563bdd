"""The controller with replicas over several nodes: LeaderWorkerSets applied, read back, booked, and taking over from Deployments."""

from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_operator.cluster import NAME, NS
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.plans import PLAN
from tests.plimsoll_operator.reconcile_world import World

from plimsoll_operator.controller import process
from plimsoll_operator.controller.booking.demand import BIND_SECONDS, GRACE_SECONDS
from plimsoll_operator.facts import Facts
from plimsoll_operator.group import GROUP_INDEX_LABEL, name_of
from plimsoll_operator.names import CAPACITY_GATE, NAME_LABEL, PLAN_DIGEST_ANNOTATION, WORKER_LABEL
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, LEADER_WORKER_SETS, PODS, SERVICES, Manifest
from plimsoll_operator.verdict import Admit, Reason, Reject, Verdict

GROUP = name_of(NAME)


class Spreader:
    """Plans replicas of as many nodes as placement allows, of four GPUs each; refuses contexts above 100 000 tokens."""

    surge = False

    def __init__(self) -> None:
        self.seen: list[Facts] = []

    def __call__(self, facts: Facts) -> Verdict:
        self.seen.append(facts)
        spec = facts.deployment.spec
        nodes = spec.placement.max_nodes_per_replica
        if (spec.engine.max_model_len or 0) > 100_000:
            return Reject(reason=Reason.INSUFFICIENT_KV_CACHE, message="Too long.", field="spec.engine.maxModelLen")
        if nodes > 1 and not facts.leader_worker_set:
            return Reject(reason=Reason.LEADER_WORKER_SET_MISSING, message="Install it.", field="spec.placement.maxNodesPerReplica")
        pools = tuple(sorted(pool.name for pool in facts.pools))
        spread = replace(PLAN, pools=pools, nodes_per_replica=nodes, gpus_per_replica=4 * nodes, pipeline_parallel_size=nodes)
        return Admit(plan=replace(spread, tensor_parallel_size=4, may_surge=self.surge, max_model_len=spec.engine.max_model_len or 8192))


class Cluster(World):
    """A fake cluster of nodes of four GPUs with LeaderWorkerSet installed."""

    def __init__(self, nodes: int = 4, kube: FakeKube | None = None) -> None:
        super().__init__(kube, *(gpu_node(f"n{number}") for number in range(nodes)))
        self.kube.absent.discard(LEADER_WORKER_SETS)
        self.spreader = Spreader()
        self.restart()

    def restart(self) -> None:
        """Another leader over the same objects."""
        self.lead(self.spreader)

    def ask(self, nodes: int, *, replicas: int = 1, wait: bool = False, **engine: Any) -> None:
        """Create or change the deployment."""
        self.wish(replicas=replicas, **engine)
        raw = self.one(INFERENCE_DEPLOYMENTS)
        placement = {"maxNodesPerReplica": nodes, "waitForCapacity": wait}
        self.kube.replace(INFERENCE_DEPLOYMENTS, {**raw, "spec": {**raw["spec"], "placement": placement}})
        self.settle()

    def pod(self, group: int, worker: int, node: str, *, gated: bool = False) -> None:
        """One pod of a group on a node, as LeaderWorkerSet and the scheduler would make it; or behind its gate."""
        labels = {WORKER_LABEL if worker else NAME_LABEL: NAME, GROUP_INDEX_LABEL: str(group)}
        made_by = {"kind": "StatefulSet", "name": f"{GROUP}-{group}" if worker else GROUP, "uid": "sets", "controller": True}
        metadata = {"namespace": NS, "name": f"{GROUP}-{group}-{worker}", "labels": labels, "ownerReferences": [made_by]}
        spec = {"nodeName": node, "containers": [{"name": "vllm", "resources": {"limits": {"nvidia.com/gpu": "4"}}}]}
        if gated:
            digest = self.one(LEADER_WORKER_SETS, GROUP)["metadata"]["annotations"][PLAN_DIGEST_ANNOTATION]
            metadata["annotations"] = {PLAN_DIGEST_ANNOTATION: digest}
            spec = {**spec, "nodeName": "", "schedulingGates": [{"name": CAPACITY_GATE}]}
        phase = "Pending" if gated else "Running"
        self.kube.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}})

    def report(self, ready: int) -> None:
        """What LeaderWorkerSet's controller would write to status."""
        found = self.one(LEADER_WORKER_SETS, GROUP)
        generation, wanted = found["metadata"]["generation"], found["spec"]["replicas"]
        status = {"observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready}
        self.kube.apply(LEADER_WORKER_SETS, {**found, "status": status}, subresource="status")
        self.settle()

    def has(self, resource: Any, name: str) -> bool:
        return self.kube.get(resource, NS, name) is not None


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_plan_over_nodes_becomes_a_group_and_a_service(cluster: Cluster) -> None:
    cluster.ask(2)
    found = cluster.one(LEADER_WORKER_SETS, GROUP)
    assert (found["spec"]["replicas"], found["spec"]["leaderWorkerTemplate"]["size"]) == (1, 2)
    assert cluster.has(SERVICES, NAME)
    assert not cluster.has(DEPLOYMENTS, NAME)
    assert cluster.status()["plan"]["nodesPerReplica"] == 2
    cluster.spreader.seen.clear()
    assert cluster.writes(cluster.settle) == []
    assert cluster.spreader.seen == []


def test_readiness_is_read_back_from_the_group(cluster: Cluster) -> None:
    cluster.ask(2)
    assert cluster.condition(kind="Ready")[0] == "False"
    for worker in (0, 1):
        cluster.pod(0, worker, f"n{worker}")
    cluster.report(ready=1)
    assert cluster.condition(kind="Ready")[0] == "True"
    assert cluster.condition(kind="CapacityAvailable") == ("True", "Bound")
    assert (cluster.status()["ready"], cluster.status()["replicas"]) == ("1/1", 1)


def test_a_group_is_bound_when_all_of_its_pods_are(cluster: Cluster) -> None:
    cluster.ask(2, replicas=2)
    for group in (0, 1):
        cluster.pod(group, 0, f"n{group}")
    cluster.settle()
    assert cluster.controller.ledger.bound((NS, NAME)) == 2
    assert cluster.controller.ledger.bound_replicas((NS, NAME), 2) == 0
    cluster.pod(0, 1, "n2")
    cluster.settle()
    assert cluster.controller.ledger.bound_replicas((NS, NAME), 2) == 1


def test_missing_pods_of_groups_are_booked_each_with_its_nodes_share(cluster: Cluster) -> None:
    cluster.ask(2, replicas=2)
    assert sum(pool.booked_gpus for pool in cluster.controller.ledger.pools()) == 16
    cluster.pod(0, 0, "n0")
    cluster.settle()
    assert sum(pool.booked_gpus for pool in cluster.controller.ledger.pools()) == 12
    assert sum(pool.free_gpus for pool in cluster.controller.ledger.pools()) == 0


def test_gates_of_a_group_lift_together_or_not_at_all(cluster: Cluster) -> None:
    cluster.ask(2, replicas=3, wait=True)
    worker = cluster.one(LEADER_WORKER_SETS, GROUP)["spec"]["leaderWorkerTemplate"]["workerTemplate"]
    assert worker["spec"]["schedulingGates"] == [{"name": CAPACITY_GATE}]
    for worker_index in (0, 1):
        for group in (0, 1, 2):  # leaders first, as LeaderWorkerSet makes them
            cluster.pod(group, worker_index, "", gated=True)
        cluster.settle()
        if worker_index == 0:
            alone = [pod["spec"].get("schedulingGates") for pod in cluster.kube.list_page(PODS).items]
            assert all(alone), "leaders wait for their workers: alone they would hold GPUs and start nothing"
    pods = {pod["metadata"]["name"]: pod["spec"].get("schedulingGates") for pod in cluster.kube.list_page(PODS).items}
    lifted = sorted(name for name, gates in pods.items() if not gates)
    assert lifted == [f"{GROUP}-{group}-{index}" for group in (0, 1) for index in (0, 1)], "four nodes hold two groups of three"
    assert cluster.condition(kind="CapacityAvailable") == ("False", "WaitingForGpus")


def test_bookings_of_groups_survive_a_new_leader(cluster: Cluster) -> None:
    cluster.ask(2, replicas=2)
    cluster.restart()
    for informer in cluster.controller.informers:
        informer.relist()
    cluster.controller.relist.recover()
    assert sum(pool.booked_gpus for pool in cluster.controller.ledger.pools()) == 16


def test_scaling_changes_the_groups_replicas_and_nothing_else(cluster: Cluster) -> None:
    cluster.ask(2)
    before = cluster.one(LEADER_WORKER_SETS, GROUP)
    cluster.ask(2, replicas=2)
    after = cluster.one(LEADER_WORKER_SETS, GROUP)
    assert (before["spec"]["replicas"], after["spec"]["replicas"]) == (1, 2)
    assert before["spec"]["leaderWorkerTemplate"] == after["spec"]["leaderWorkerTemplate"]


def test_a_new_plan_over_nodes_takes_over_from_the_deployment_at_once_where_gpus_are_short(cluster: Cluster) -> None:
    cluster.ask(1)
    assert cluster.has(DEPLOYMENTS, NAME)
    cluster.ask(2, maxModelLen=16384)
    assert (cluster.has(DEPLOYMENTS, NAME), cluster.has(LEADER_WORKER_SETS, GROUP)) == (False, True)
    assert cluster.status()["plan"]["nodesPerReplica"] == 2


def test_where_gpus_are_free_the_old_child_serves_until_the_new_one_is_ready(cluster: Cluster) -> None:
    cluster.spreader.surge = True
    cluster.ask(1)
    cluster.ask(2, maxModelLen=16384)
    assert (cluster.has(DEPLOYMENTS, NAME), cluster.has(LEADER_WORKER_SETS, GROUP)) == (True, True)
    cluster.report(ready=1)
    assert (cluster.has(DEPLOYMENTS, NAME), cluster.has(LEADER_WORKER_SETS, GROUP)) == (False, True)


def test_a_crash_between_two_children_leaves_the_later_plan(cluster: Cluster) -> None:
    cluster.spreader.surge = True
    cluster.ask(1)
    cluster.ask(2, maxModelLen=16384)
    cluster.restart()
    cluster.settle()
    assert cluster.status()["plan"]["nodesPerReplica"] == 2
    cluster.report(ready=1)
    assert not cluster.has(DEPLOYMENTS, NAME)


def test_the_way_back_to_one_node_takes_the_group_away(cluster: Cluster) -> None:
    cluster.ask(2)
    cluster.ask(1, maxModelLen=16384)
    assert (cluster.has(DEPLOYMENTS, NAME), cluster.has(LEADER_WORKER_SETS, GROUP)) == (True, False)


def test_a_refused_new_spec_keeps_the_group_and_may_still_ask_for_fewer(cluster: Cluster) -> None:
    cluster.ask(2, replicas=2)
    cluster.ask(2, replicas=1, maxModelLen=200_000)
    found = cluster.one(LEADER_WORKER_SETS, GROUP)
    assert found["spec"]["replicas"] == 1
    assert cluster.condition(kind="Feasible")[0] == "False"


def test_a_deleted_group_comes_back_with_the_same_plan(cluster: Cluster) -> None:
    cluster.ask(2)
    before = cluster.one(LEADER_WORKER_SETS, GROUP)
    cluster.kube.delete(LEADER_WORKER_SETS, NS, GROUP)
    cluster.settle()
    assert cluster.one(LEADER_WORKER_SETS, GROUP)["spec"] == before["spec"]


TAKEN: list[tuple[str, Any, Manifest]] = [
    ("a LeaderWorkerSet of somebody else", LEADER_WORKER_SETS, {}),
    ("the name of the Service that the group would need", SERVICES, {"selector": {"app": "other"}}),
]


@pytest.mark.parametrize(("why", "resource", "spec"), TAKEN, ids=[row[0] for row in TAKEN])
def test_names_of_somebody_else_are_never_taken_over(cluster: Cluster, why: str, resource: Any, spec: Manifest) -> None:
    foreign = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"namespace": NS, "name": GROUP}, "spec": spec}
    cluster.kube.create(resource, foreign)
    cluster.ask(2)
    assert cluster.one(resource, GROUP)["spec"] == spec
    assert cluster.condition(kind="Stalled") == ("True", "NameTaken")


def test_the_headless_service_that_the_group_has_made_is_no_strangers(cluster: Cluster) -> None:
    cluster.ask(2)
    owner = {"apiVersion": LEADER_WORKER_SETS.api_version, "kind": "LeaderWorkerSet", "name": GROUP, "uid": "x", "controller": True}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NS, "name": GROUP, "ownerReferences": [owner]}, "spec": {}}
    cluster.kube.create(SERVICES, service)
    cluster.ask(2, maxModelLen=16384)
    assert cluster.condition(kind="Stalled")[0] == "False"


def test_installing_the_api_lifts_the_refusal() -> None:
    cluster = Cluster()
    cluster.kube.absent.add(LEADER_WORKER_SETS)
    cluster.ask(2)
    assert cluster.condition(kind="Feasible") == ("False", "LeaderWorkerSetMissing")
    assert cluster.controller.unready() == ""
    cluster.kube.absent.discard(LEADER_WORKER_SETS)
    cluster.settle()
    assert cluster.condition(kind="Feasible")[0] == "True"
    assert cluster.has(LEADER_WORKER_SETS, GROUP)


def test_a_group_whose_pods_do_not_come_is_said_to_lack_them_and_no_longer_than_that(cluster: Cluster) -> None:
    now = [0.0]
    cluster.controller = process.Controller(cluster.kube, cluster.spreader, identity="test", clock=lambda: now[0])
    cluster.ask(2)
    assert cluster.condition(kind="Stalled") == ("False", "NotStalled"), "it takes a moment"
    now[0] += GRACE_SECONDS + BIND_SECONDS + 1
    cluster.controller.ledger.expire()
    cluster.settle()
    assert cluster.condition(kind="Stalled") == ("False", "PodsAbsent")
    assert cluster.condition(kind="Progressing") == ("True", "PodsAbsent")
    assert "StatefulSets of the LeaderWorkerSet" in str(cluster.status()["conditions"])
    for worker in (0, 1):
        cluster.pod(0, worker, f"n{worker}")
    cluster.settle()
    assert cluster.condition(kind="Stalled") == ("False", "NotStalled")
