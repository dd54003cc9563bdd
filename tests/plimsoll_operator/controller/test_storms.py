"""A change of many nodes wakes every deployment again and again, and costs the API server next to nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.ports import NODES, Manifest, Resource

NODES_THERE = 16
DEPLOYMENTS = 12


@dataclass(slots=True)
class CountingKube(FakeKube):
    """Counts reads of single objects."""

    reads: Counter[str] = field(default_factory=Counter)

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        self.reads[resource.kind] += 1
        return FakeKube.get(self, resource, namespace, name)


@pytest.fixture
def world() -> World:
    found = World(*[8] * NODES_THERE, kube=CountingKube())
    for number in range(DEPLOYMENTS):
        found.wish(f"d{number}", gpus=1)
    found.work()
    for number in range(DEPLOYMENTS):
        found.pod(f"d{number}", gpus=1)
        found.work()
        found.bind(f"d{number}", node=f"n{number}")
    settle(found)
    return found


def settle(world: World) -> None:
    """What watches, pool writer and workers do until nothing is left to do."""
    for _ in range(3):
        world.hear()
        world.controller.pool_writer.write()
        world.work()
        for item in world.asked():
            world.controller.heard((NS, item["metadata"]["name"]), item["metadata"], gone=False)
        world.drain()


@pytest.mark.thorough
def test_the_memory_of_all_nodes_changes_one_after_the_other(world: World) -> None:
    kube = world.kube
    assert isinstance(kube, CountingKube)
    kube.reads.clear()
    before = len(kube.writes)
    for number in range(NODES_THERE):
        node = world.one(NODES, f"n{number}", namespace="")
        node["metadata"]["labels"]["nvidia.com/gpu.memory"] = "20000"
        kube.replace(NODES, node)
        if number % 4 == 3:
            settle(world)
    kinds = Counter(call.kind for call in kube.writes[before:])
    reads = kube.reads["InferenceDeployment"] + kube.reads["Deployment"] + kube.reads["Service"]
    assert kinds["Deployment"] == kinds["Service"] == 0, "plans are sticky: pods that run go on"
    assert world.condition("d0", "Feasible") == ("False", "NoMatchingPool"), "no GPU has the memory any more that the plan was made for"
    assert reads + kinds["InferenceDeployment"] + kinds["Event"] <= 3 * DEPLOYMENTS, (reads, kinds)
