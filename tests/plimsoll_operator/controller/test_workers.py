"""Several workers at once: requests overlap, decisions and bookings do not, and no key is ever worked on twice at a time."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.worker import WORKERS
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import Facts
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, NODES, Key, Manifest, Resource, key_of
from plimsoll_operator.verdict import Verdict

LONGEST_WAIT_S = 60


@dataclass(slots=True)
class MeetingKube(FakeKube):
    """Holds each Deployment's apply until `meet` of them are in it at once."""

    meet: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    inside: Counter[Key] = field(default_factory=Counter)
    most_for_one_key: int = 0

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        with self._counted(key_of(manifest)):
            if resource == DEPLOYMENTS:
                self.meet.wait(LONGEST_WAIT_S)
            return FakeKube.apply(self, resource, manifest, subresource=subresource)

    @contextmanager
    def _counted(self, key: Key) -> Iterator[None]:
        with self._lock:
            self.inside[key] += 1
            self.most_for_one_key = max(self.most_for_one_key, self.inside[key])
        try:
            yield
        finally:
            with self._lock:
                self.inside[key] -= 1


class SerialJudge:
    """The real decision; notes when it is asked by two threads at once."""

    def __init__(self) -> None:
        self._asked = threading.Lock()
        self.overlapped = False

    def __call__(self, facts: Facts) -> Verdict:
        if not self._asked.acquire(blocking=False):
            self.overlapped = True
            return decide(facts)
        try:
            return decide(facts)
        finally:
            self._asked.release()


@pytest.fixture
def kube() -> MeetingKube:
    found = MeetingKube()
    for index in range(4):
        found.create(NODES, gpu_node(f"n{index}", count=8))
    return found


def work_until_idle(controller: Controller) -> None:
    """Run the leader's workers until no key waits or is worked on."""
    stop, idle = threading.Event(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            key = controller.queue.take(0.05)
            if key is None:
                if controller.queue.idle():
                    idle.set()
            else:
                controller.worker.work_on(key)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    assert idle.wait(LONGEST_WAIT_S), "the workers did not finish"
    stop.set()
    for thread in threads:
        thread.join(LONGEST_WAIT_S)


def test_applies_overlap_while_decisions_and_keys_stay_serial(kube: MeetingKube) -> None:
    judge = SerialJudge()
    controller = Controller(kube, judge, identity="test")
    for informer in controller.informers:
        informer.relist()
    keys = [(NS, f"d{index}") for index in range(16)]
    for key in keys:
        spec = {"model": {"name": "Qwen/Qwen2.5-1.5B-Instruct"}, "engine": {"image": "vllm/vllm-openai:v0.19.0", "tensorParallelSize": 1}}
        kube.create(INFERENCE_DEPLOYMENTS, new_deployment(*key, spec))
        controller.queue.add(key)
        controller.queue.add(key)
    work_until_idle(controller)
    assert not kube.meet.broken, "no two Deployments were ever applied at the same time"
    assert kube.most_for_one_key == 1
    assert not judge.overlapped
    assert all(kube.get(DEPLOYMENTS, *key) is not None for key in keys)
