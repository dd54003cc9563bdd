"""The API server in memory and one controller over it, turned by hand: what every test of the whole controller starts from.

The worlds of several kinds of tests add to it how they ask for models and what they play of Kubernetes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment

from plimsoll_operator.controller.cluster.informer import Informer
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import Facts
from plimsoll_operator.names import NAME_LABEL
from plimsoll_operator.owner import HASH_LABEL
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, NODES, Manifest, Resource
from plimsoll_operator.verdict import Verdict

NS: Final = "team"
NAME: Final = "chat"
IMAGE: Final = "vllm/vllm-openai:v0.19.0"
SMALL: Final = "Qwen/Qwen2.5-1.5B-Instruct"


class Clock:
    """Seconds that a test moves by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def of_replica_set(deployment: str) -> Manifest:
    """What a pod of a deployment's child carries: the labels of its template, and the ReplicaSet that controls it."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{deployment}-5d4f", "uid": f"rs-{deployment}", "controller": True}
    return {"labels": {NAME_LABEL: deployment, HASH_LABEL: "5d4f"}, "ownerReferences": [owner]}


class Cluster:
    """The API server in memory, nodes in it, and one controller. `settle` is what watches, workers and resolver threads do in time."""

    def __init__(self, *nodes: Manifest, kube: FakeKube | None = None, judge: Callable[[Facts], Verdict] = decide, **options: Any) -> None:
        self.kube = kube or FakeKube()
        for node in nodes:
            self.kube.create(NODES, node)
        self.stop = threading.Event()
        self.lead(judge, **options)

    def lead(self, judge: Callable[[Facts], Verdict] = decide, **options: Any) -> None:
        """Another leader over the same objects."""
        self.controller = Controller(self.kube, judge, identity="test", **options)
        self._heard: dict[Informer, tuple[int, bool]] = {}

    def hear(self) -> None:
        """What the watches bring: of each kind that was written to since the last of it."""
        for informer in self.controller.informers:
            newest = self.kube.newest(informer.resource)
            if self._heard.get(informer) != newest:
                self._heard[informer] = newest
                informer.relist()

    def drain(self) -> None:
        while (key := self.controller.queue.take(0)) is not None:
            self.controller.worker.work_on(key)

    def settle(self, rounds: int = 5, *, read: bool = True) -> None:
        for _ in range(rounds):
            self.hear()
            self.controller.pool_writer.write()
            for item in self.asked():
                self.controller.queue.add((item["metadata"]["namespace"], item["metadata"]["name"]))
            self.drain()
            while read and self.controller.resolver.work_once(self.stop, timeout_seconds=0):
                pass

    def put(self, spec: Manifest, name: str = NAME, namespace: str = NS) -> None:
        """Create the InferenceDeployment, or give it another spec."""
        old = self.kube.get(INFERENCE_DEPLOYMENTS, namespace, name)
        if old is None:
            self.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(namespace, name, spec))
        else:
            self.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "spec": spec})

    def asked(self) -> list[Manifest]:
        return list(self.kube.list_page(INFERENCE_DEPLOYMENTS, limit=5000).items)

    def one(self, resource: Resource, name: str = NAME, namespace: str = NS) -> Manifest:
        found = self.kube.get(resource, namespace, name)
        assert found is not None, f"there is no {resource.kind} {name}"
        return found

    def child(self, name: str = NAME, namespace: str = NS) -> Manifest | None:
        return self.kube.get(DEPLOYMENTS, namespace, name)

    def annotation(self, name: str, key: str) -> str:
        found: str = self.one(DEPLOYMENTS, name)["metadata"]["annotations"][key]
        return found

    def arguments(self, name: str = NAME) -> list[str]:
        found: list[str] = self.one(DEPLOYMENTS, name)["spec"]["template"]["spec"]["containers"][0]["args"]
        return found

    def status(self, name: str = NAME, namespace: str = NS) -> Manifest:
        found: Manifest = self.one(INFERENCE_DEPLOYMENTS, name, namespace)["status"]
        return found

    def said(self, kind: str, name: str = NAME, namespace: str = NS) -> tuple[str, str, str]:
        """A condition's status, reason and message; empty where it is not there."""
        status = self.one(INFERENCE_DEPLOYMENTS, name, namespace).get("status") or {}
        rows = ((row["status"], row["reason"], row["message"]) for row in status.get("conditions", ()) if row["type"] == kind)
        return next(rows, ("", "", ""))

    def condition(self, name: str = NAME, kind: str = "CapacityAvailable") -> tuple[str, str]:
        """A condition's status and reason."""
        return self.said(kind, name)[:2]

    def writes(self, work: Callable[[], None]) -> list[str]:
        """Kinds and subresources written while `work` runs."""
        before = len(self.kube.writes)
        work()
        return [f"{call.kind}/{call.subresource}" if call.subresource else call.kind for call in self.kube.writes[before:]]
