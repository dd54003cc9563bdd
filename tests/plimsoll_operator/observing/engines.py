"""One deployment whose engines come to serve and log of their start, under a controller. Called by the tests of what is observed."""

from dataclasses import dataclass, field
from typing import Any

from tests.plimsoll_operator.cluster import IMAGE, NS, SMALL, of_replica_set
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_pod
from tests.plimsoll_operator.observing.logs import log_of

from plimsoll_operator.api import Plan
from plimsoll_operator.names import PLAN_ANNOTATION, PLAN_DIGEST_ANNOTATION
from plimsoll_operator.ports import PODS


@dataclass(slots=True)
class ReadKube(FakeKube):
    """Counts which logs were asked for."""

    read: list[str] = field(default_factory=list)

    def pod_log(self, namespace: str, name: str, **asked: Any) -> bytes:
        self.read.append(name)
        return FakeKube.pod_log(self, namespace, name, **asked)


class Engines(World):
    """One deployment on two nodes of eight GPUs, and engines of it that come to serve."""

    def __init__(self, replicas: int = 1, **spec: Any) -> None:
        self.reads = ReadKube()
        super().__init__(8, 8, kube=self.reads)
        engine = {"image": IMAGE, "tensorParallelSize": 1, "maxModelLen": 4096}
        self.put({"model": {"name": SMALL}, "replicas": replicas, "engine": engine, **spec}, "chat")
        self.controller.queue.add((NS, "chat"))
        self.work()

    @property
    def plan(self) -> Plan:
        return Plan.from_json(self.annotation("chat", PLAN_ANNOTATION))

    def serves(self, suffix: str = "1", *, restarts: int = 0, ready: bool = True, log: str | None = None, digest: str = "") -> None:
        """The pod is there, its engine runs for the so manieth time, and says so."""
        name = f"chat-{suffix}"
        self.reads.logs[(NS, name)] = (log_of(self.plan) if log is None else log).encode()
        before = self.kube.get(PODS, NS, name)
        if before is None:
            metadata = {"annotations": {PLAN_DIGEST_ANNOTATION: digest or self.plan.digest}, **of_replica_set("chat")}
            made = gpu_pod(name, f"n{int(suffix) % 2}", 1, **metadata)
            del made["metadata"]["uid"]
            before = self.kube.create(PODS, made)
        row = {"name": "vllm", "ready": ready, "restartCount": restarts, "state": {"running": {"startedAt": "2026-11-30T10:00:00Z"}}}
        self.kube.replace(PODS, {**before, "status": {"phase": "Running", "containerStatuses": [row]}})
        self.work()

    def read(self) -> None:
        """What the reading threads do, and what the workers do about it."""
        while self.controller.engine_starts.work_once(0):
            pass
        self.work()

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status("chat").get("observed", {})
        return found
