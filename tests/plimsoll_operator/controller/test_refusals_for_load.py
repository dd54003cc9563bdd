"""An API server that refuses everything for load is asked little by all workers together, and nothing is lost when it answers again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.worker import WORKERS
from plimsoll_operator.decision import decide
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, NODES, SERVICES, Manifest, Resource

COUNT = 100
STORM_SECONDS = 3.0
MOST_REQUESTS = 3 * WORKERS
"""Those under way when it begins, and one after each pause, which doubles."""


@dataclass(slots=True)
class BusyKube(FakeKube):
    """Answers 429 while `busy` is set, and counts how often it had to."""

    busy: threading.Event = field(default_factory=threading.Event)
    refused: Counter[str] = field(default_factory=Counter)

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        self._may("get")
        return FakeKube.get(self, resource, namespace, name)

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        self._may("apply")
        return FakeKube.apply(self, resource, manifest, subresource=subresource)

    def _may(self, verb: str) -> None:
        if self.busy.is_set():
            self.refused[verb] += 1
            raise ApiFailure(429, "TooManyRequests", "slow down")


@pytest.mark.thorough
def test_a_storm_of_refusals_costs_few_requests_and_loses_nothing() -> None:
    kube = BusyKube()
    for number in range(COUNT // 8 + 1):
        kube.create(NODES, gpu_node(f"n{number}", count=8))
    controller = Controller(kube, decide, identity="busy")
    for informer in controller.informers:
        informer.relist()
    names = [f"d{number}" for number in range(COUNT)]
    for name in names:
        spec = {"model": {"name": "Qwen/Qwen2.5-1.5B-Instruct"}, "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 4096}}
        kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, name, spec))
    kube.busy.set()
    stop = threading.Event()
    workers = [threading.Thread(target=controller.worker.work, args=(stop,), daemon=True) for _ in range(WORKERS)]
    for name in names:
        controller.queue.add((NS, name))
    for worker in workers:
        worker.start()
    time.sleep(STORM_SECONDS)
    kube.busy.clear()
    asked = kube.refused.total()
    limit = time.monotonic() + 60
    while len(kube.list_page(DEPLOYMENTS).items) < COUNT and time.monotonic() < limit:
        time.sleep(0.05)
    stop.set()
    for worker in workers:
        worker.join(30)
    assert 0 < asked <= MOST_REQUESTS, f"{asked} requests refused in {STORM_SECONDS:g} s"
    for resource in (DEPLOYMENTS, SERVICES):
        assert sorted(one["metadata"]["name"] for one in kube.list_page(resource).items) == sorted(names)
