"""Throughput of the controller's workers, and what a pod event costs while many deployments wait. Run: make bench

The API server here is the one in memory with a delay on every request, as a loaded one has; the floor is the same requests made
one after the other by hand.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.timing import FLOOR, Action, Row, hold, show, taken
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.controller.booking.bookings import Bookings
from plimsoll_operator.controller.booking.demand import PodDemand, PodShape, Standing
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.worker import WORKERS
from plimsoll_operator.decision import decide
from plimsoll_operator.pod import PodRequests
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, NODES, Manifest, Resource

REQUEST_S = 0.01
DEPLOYMENTS_AT_ONCE = 48
LEAST_GAIN = 2.0
MOST_FLOORS = {10: 4, 1000: 65}
"""By how many wait. Measured: 1.8 and 32.5."""


@dataclass(slots=True)
class DistantKube(FakeKube):
    """Every request takes REQUEST_S, without holding up the others."""

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        time.sleep(REQUEST_S)
        return FakeKube.get(self, resource, namespace, name)

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        time.sleep(REQUEST_S)
        return FakeKube.apply(self, resource, manifest, subresource=subresource)


def seconds(workers: int) -> float:
    """Until every deployment of a burst has its child, with so many workers."""
    kube = DistantKube()
    for index in range(DEPLOYMENTS_AT_ONCE):
        kube.create(NODES, gpu_node(f"n{index}", count=8))
    controller = Controller(kube, decide, identity="bench")
    for informer in controller.informers:
        informer.relist()
    engine = {"image": "vllm/vllm-openai:v0.19.0", "tensorParallelSize": 1, "maxModelLen": 4096}
    names = [f"d{index}" for index in range(DEPLOYMENTS_AT_ONCE)]
    for name in names:
        kube.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, name, {"model": {"name": "Qwen/Qwen2.5-1.5B-Instruct"}, "engine": engine}))
    start = time.perf_counter()
    for name in names:
        controller.queue.add((NS, name))

    def work() -> None:
        while (key := controller.queue.take(0)) is not None:
            controller.worker.work_on(key)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(FakeKube.get(kube, DEPLOYMENTS, NS, name) is not None for name in names)
    return time.perf_counter() - start


def test_workers_overlap_their_requests() -> None:
    one, many = seconds(1), seconds(WORKERS)
    # Reading the object and two children, writing two children and the status.
    floor = 6 * REQUEST_S * DEPLOYMENTS_AT_ONCE
    print(f"\n{DEPLOYMENTS_AT_ONCE} deployments, {REQUEST_S * 1000:.0f} ms a request; floor: one request after the other, {floor:.2f} s")
    for workers, took in ((1, one), (WORKERS, many)):
        rate = DEPLOYMENTS_AT_ONCE / took
        print(f"  {workers} at once: {took:6.2f} s, {rate:6.1f}/s, x{took / floor:.2f} of the floor")
    assert one / many > LEAST_GAIN


def settling(waiting: int) -> Action:
    """What one event costs while so many gated deployments wait for GPUs and one booking is on its way."""
    bookings = Bookings(time.monotonic)
    shape = {gpus: PodShape(pools=("a",), products=("NVIDIA-L4",), requests=PodRequests(gpus=gpus)) for gpus in (1, 2, 4, 8)}

    def free(asked: PodShape) -> Mapping[str, tuple[tuple[int, int], ...]]:
        return {"a": ((3, 1), (4, 1))}

    bookings.put((NS, "flies"), PodDemand(shape=shape[1], desired=1, bound=0, waiting=1, visible=1, child_pods=1, gated=False, decided="0"))
    for index in range(waiting):
        demand = PodDemand(
            shape=shape[(4, 8)[index % 2]], desired=1, bound=0, waiting=1, visible=0, child_pods=1, gated=True, decided=f"1-{index:06}"
        )
        bookings.put((NS, f"w{index}"), demand)
    bookings.settle(free)
    assert bookings.standing((NS, "flies")) is Standing.BOOKED
    return Action(run=lambda: [bookings.settle(free) for _ in range(5)], calls=5)


def test_an_event_is_cheap_while_many_wait() -> None:
    actions = {FLOOR: Action(run=lambda: sorted(range(1000), key=lambda number: -number))}
    times = taken(actions | {str(waiting): settling(waiting) for waiting in MOST_FLOORS}, 15)
    rows: list[Row] = [
        (f"{waiting} gated deployments wait", times[str(waiting)], most, times[FLOOR]) for waiting, most in MOST_FLOORS.items()
    ]
    show("settling bookings after one event; floor: sorting 1000 numbers", rows)
    hold(rows)
