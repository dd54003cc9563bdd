"""A cluster of L4 nodes with the real decision, and hands for what Kubernetes would do: GPUs that are booked, held and taken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.plimsoll_operator.cluster import IMAGE, NS, SMALL, Clock, Cluster, of_replica_set
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod

from plimsoll_operator.names import PLAN_DIGEST_ANNOTATION
from plimsoll_operator.ports import PODS


class World(Cluster):
    """Nodes of so many GPUs each. `work` is what the watches bring and the workers do with it, and no look that nothing has caused."""

    def __init__(self, *gpus: int, kube: FakeKube | None = None) -> None:
        self.clock = Clock()
        super().__init__(*(gpu_node(f"n{index}", count=count) for index, count in enumerate(gpus)), kube=kube, clock=self.clock)
        self.hear()
        self.controller.relist.recover()

    def work(self) -> None:
        for _ in range(4):
            self.hear()
            self.drain()

    def wish(self, name: str, gpus: int, replicas: int = 1, **placement: Any) -> None:
        engine = {"image": IMAGE, "tensorParallelSize": gpus, "maxModelLen": 4096}
        self.put({"model": {"name": SMALL}, "replicas": replicas, "engine": engine, "placement": placement}, name)
        self.controller.queue.add((NS, name))

    def pod(self, name: str, gpus: int, node: str = "", suffix: str = "1", gates: tuple[str, ...] = ()) -> None:
        """What the ReplicaSet makes of the child, on a node or not."""
        annotations = {PLAN_DIGEST_ANNOTATION: self.annotation(name, PLAN_DIGEST_ANNOTATION)}
        created = datetime(2026, 1, 1, 0, 0, int(suffix), tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {"annotations": annotations, "creationTimestamp": created, **of_replica_set(name)}
        made = gpu_pod(f"{name}-{suffix}", node, gpus, gates=gates, **metadata)
        del made["metadata"]["uid"]
        self.kube.create(PODS, made)

    def bind(self, name: str, node: str, suffix: str = "1") -> None:
        found = self.one(PODS, f"{name}-{suffix}")
        assert not found["spec"].get("schedulingGates"), "the scheduler does not look at gated pods"
        found["spec"]["nodeName"] = node
        self.kube.replace(PODS, found)

    def gates(self, name: str, suffix: str = "1") -> list[str]:
        return [gate["name"] for gate in self.one(PODS, f"{name}-{suffix}")["spec"].get("schedulingGates") or ()]
