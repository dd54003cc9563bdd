"""A controller over the API server in memory, turned by hand, with one plan for whatever is asked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.plimsoll_operator.controller_world import of_replica_set
from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.controller.process import Controller
from plimsoll_operator.facts import Facts, ModelUnknown
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    INFERENCE_DEPLOYMENTS,
    NODES,
    PODS,
    Manifest,
    Resource,
)
from plimsoll_operator.verdict import Admit, Offer, Reason, Reject, Undecided, Verdict

NS, NAME = "team", "chat"


L4 = "NVIDIA-L4"


class Judge:
    """Admits on the pool with the most free GPUs; refuses contexts above 100 000 tokens; knows no unknown model."""

    def __init__(self) -> None:
        self.seen: list[Facts] = []

    def __call__(self, facts: Facts) -> Verdict:
        self.seen.append(facts)
        engine = facts.deployment.spec.engine
        if isinstance(facts.model, ModelUnknown):
            return Undecided(reason=Reason.UNKNOWN_MODEL, message="Not known.", next_step="Create a ModelProfile.")
        if (engine.max_model_len or 0) > 100_000:
            offers = (Offer(summary="With engine.maxModelLen 8192.", patch_json='{"spec":{"engine":{"maxModelLen":8192}}}'),)
            return Reject(reason=Reason.INSUFFICIENT_KV_CACHE, message="Too long.", field="spec.engine.maxModelLen", offers=offers)
        best = max(facts.pools, key=lambda pool: (sum(free * nodes for free, nodes in pool.nodes_by_free_gpus), pool.name), default=None)
        if best is None:
            return Undecided(reason=Reason.NO_CAPACITY_KNOWN, message="No pool.", next_step="Add nodes.")
        context = engine.max_model_len or 8192
        return Admit(plan=replace(PLAN, product=best.product, gpu_products=(best.product,), pools=(best.name,), max_model_len=context))


def gpu_node(name: str, product: str = L4, gpus: int = 4) -> Manifest:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": str(gpus), "nvidia.com/gpu.memory": "23034"}
    labels |= {"nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "9", "nvidia.com/gpu.replicas": "1"}
    allocatable = {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": str(gpus), "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": allocatable, "capacity": allocatable, "conditions": [{"type": "Ready", "status": "True"}]},
    }


class World:
    """A fake cluster with one controller; `settle` does what the watches and the worker would."""

    def __init__(self, kube: FakeKube | None = None, *nodes: Manifest) -> None:
        self.kube = kube or FakeKube()
        for node in nodes:
            self.kube.create(NODES, node)
        self.judge = Judge()
        self.controller = Controller(self.kube, self.judge, identity="test")

    def settle(self) -> None:
        for _ in range(5):
            for informer in self.controller.informers:
                informer.relist()
            self.controller.pool_writer.write()
            listed = self.kube.list_page(INFERENCE_DEPLOYMENTS).items
            for item in listed:
                self.controller.queue.add((item["metadata"]["namespace"], item["metadata"]["name"]))
            self.drain()

    def drain(self) -> None:
        while (key := self.controller.queue.take(0)) is not None:
            self.controller.work_on(key)

    def wish(self, name: str = NAME, model: str = "Qwen/Qwen2.5-1.5B-Instruct", replicas: int = 1, **engine: Any) -> None:
        spec = {"model": {"name": model}, "replicas": replicas, "engine": {"image": "vllm/vllm-openai:v0.19.0", **engine}}
        old = self.kube.get(INFERENCE_DEPLOYMENTS, NS, name)
        if old is None:
            self.kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, name, spec))
        else:
            self.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "spec": spec})

    def one(self, resource: Resource, name: str = NAME) -> Manifest:
        found = self.kube.get(resource, NS, name)
        assert found is not None, f"there is no {resource.kind} {name}"
        return found

    def status(self, name: str = NAME) -> Manifest:
        found: Manifest = self.one(INFERENCE_DEPLOYMENTS, name)["status"]
        return found

    def condition(self, kind: str, name: str = NAME) -> tuple[str, str]:
        (row,) = [row for row in self.status(name)["conditions"] if row["type"] == kind]
        return row["status"], row["reason"]

    def arguments(self) -> list[str]:
        found: list[str] = self.one(DEPLOYMENTS)["spec"]["template"]["spec"]["containers"][0]["args"]
        return found

    def bind(self, name: str, node: str, pod: str) -> None:
        """What scheduler and kubelet would do: one pod of the deployment on a node."""
        container = {"name": "vllm", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        spec = {"nodeName": node, "containers": [container]}
        metadata = {"namespace": NS, "name": pod, **of_replica_set(name)}
        self.kube.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}})

    def writes(self, work: Callable[[], None]) -> list[str]:
        """Kinds and subresources written while `work` runs."""
        before = len(self.kube.writes)
        work()
        return [f"{call.kind}/{call.subresource}" if call.subresource else call.kind for call in self.kube.writes[before:]]
