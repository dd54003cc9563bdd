"""A fake cluster with one controller and the real decision, and hands for what Kubernetes would do; for the controller's tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment

from plimsoll_operator.controller.process import Controller
from plimsoll_operator.decision import decide
from plimsoll_operator.names import NAME_LABEL, PLAN_DIGEST_ANNOTATION
from plimsoll_operator.owner import HASH_LABEL
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, NODES, PODS, Manifest

NS = "team"


def gpu_node(name: str, gpus: int, product: str = "NVIDIA-L4", memory_mib: int = 23034, **labels_beside: str) -> Manifest:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": str(gpus), "nvidia.com/gpu.memory": str(memory_mib)}
    labels |= labels_beside
    allocatable = {"cpu": "640", "memory": "4Ti", "nvidia.com/gpu": str(gpus), "pods": "110"}
    status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def of_replica_set(deployment: str) -> Manifest:
    """What a pod of a deployment's child carries: the labels of its template, and the ReplicaSet that controls it."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{deployment}-5d4f", "uid": f"rs-{deployment}", "controller": True}
    return {"labels": {NAME_LABEL: deployment, HASH_LABEL: "5d4f"}, "ownerReferences": [owner]}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A fake cluster, one controller with the real decision, and hands for what Kubernetes would do."""

    def __init__(self, *gpus: int, kube: FakeKube | None = None) -> None:
        self.kube = kube or FakeKube()
        for index, count in enumerate(gpus):
            self.kube.create(NODES, gpu_node(f"n{index}", count))
        self.clock = Clock()
        self.controller = Controller(self.kube, decide, identity="test", clock=self.clock)
        self.hear()
        self.controller.recover()

    def hear(self) -> None:
        for informer in self.controller.informers:
            informer.relist()

    def work(self) -> None:
        for _ in range(4):
            self.hear()
            while (key := self.controller.queue.take(0)) is not None:
                self.controller.work_on(key)

    def wish(self, name: str, gpus: int, replicas: int = 1, **placement: Any) -> None:
        engine = {"image": "vllm/vllm-openai:v0.19.0", "tensorParallelSize": gpus, "maxModelLen": 4096}
        spec = {"model": {"name": "Qwen/Qwen2.5-1.5B-Instruct"}, "replicas": replicas, "engine": engine, "placement": placement}
        old = self.kube.get(INFERENCE_DEPLOYMENTS, NS, name)
        if old is None:
            self.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, name, spec))
        else:
            self.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "spec": spec})
        self.controller.queue.add((NS, name))

    def child(self, name: str) -> Manifest | None:
        return self.kube.get(DEPLOYMENTS, NS, name)

    def annotation(self, name: str, key: str) -> str:
        child = self.child(name)
        assert child is not None
        found: str = child["metadata"]["annotations"][key]
        return found

    def condition(self, name: str, kind: str = "CapacityAvailable") -> tuple[str, str]:
        status = (self.kube.get(INFERENCE_DEPLOYMENTS, NS, name) or {}).get("status") or {}
        return next(((row["status"], row["reason"]) for row in status.get("conditions", ()) if row["type"] == kind), ("", ""))

    def pod(self, name: str, gpus: int, node: str = "", suffix: str = "1", gates: tuple[str, ...] = ()) -> None:
        """What the ReplicaSet makes of the child, on a node or not."""
        container = {"name": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
        spec: Manifest = {"containers": [container], "schedulingGates": [{"name": gate} for gate in gates]}
        if node:
            spec["nodeName"] = node
        annotations = {PLAN_DIGEST_ANNOTATION: self.annotation(name, PLAN_DIGEST_ANNOTATION)}
        created = datetime(2026, 1, 1, 0, 0, int(suffix), tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {"namespace": NS, "name": f"{name}-{suffix}", "annotations": annotations, **of_replica_set(name)}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "creationTimestamp": created}, "spec": spec}
        self.kube.create(PODS, {**body, "status": {"phase": "Running" if node else "Pending"}})

    def bind(self, name: str, node: str, suffix: str = "1") -> None:
        found = self.kube.get(PODS, NS, f"{name}-{suffix}")
        assert found is not None
        assert not found["spec"].get("schedulingGates"), "the scheduler does not look at gated pods"
        found["spec"]["nodeName"] = node
        self.kube.replace(PODS, found)

    def gates(self, name: str, suffix: str = "1") -> list[str]:
        found = self.kube.get(PODS, NS, f"{name}-{suffix}")
        assert found is not None
        return [gate["name"] for gate in found["spec"].get("schedulingGates") or ()]

    def status(self, name: str) -> Manifest:
        found = self.kube.get(INFERENCE_DEPLOYMENTS, NS, name)
        assert found is not None
        status: Manifest = found["status"]
        return status

    def writes(self, work: Callable[[], None]) -> list[str]:
        """Kinds and subresources written while `work` runs."""
        before = len(self.kube.writes)
        work()
        return [f"{call.kind}/{call.subresource}" if call.subresource else call.kind for call in self.kube.writes[before:]]
