"""Pods that were told to end and answer what they have begun: whose GPUs they hold meanwhile, and what the pod that follows gets."""

from typing import Any

from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World

from plimsoll_operator.names import CAPACITY_GATE
from plimsoll_operator.ports import PODS


def leave(world: World, name: str) -> None:
    found = world.one(PODS, name)
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.kube.replace(PODS, found)


def running(*gpus: int, **placement: Any) -> World:
    """A deployment whose one pod is on the first node."""
    world = World(*gpus)
    world.wish("chat", 4, **placement)
    world.work()
    world.pod("chat", 4, "n0", "1")
    world.work()
    assert world.condition("chat", "CapacityAvailable") == ("True", "Bound")
    return world


def test_the_pod_that_follows_gets_free_gpus_at_once_and_not_when_the_last_request_is_answered() -> None:
    world = running(4, 4, waitForCapacity=True)
    leave(world, "chat-1")
    world.pod("chat", 4, "", "2", gates=(CAPACITY_GATE,))
    world.work()
    assert world.gates("chat", "2") == []
    assert world.condition("chat", "CapacityAvailable") == ("True", "Booked")
    world.bind("chat", "n1", "2")
    world.work()
    assert world.condition("chat", "CapacityAvailable") == ("True", "Bound")


def test_where_no_others_are_free_it_waits_for_them_and_nobody_later_is_before_it() -> None:
    world = running(4, waitForCapacity=True)
    world.wish("later", 4, waitForCapacity=True)
    world.work()
    world.pod("later", 4, "", "1", gates=(CAPACITY_GATE,))
    leave(world, "chat-1")
    world.pod("chat", 4, "", "2", gates=(CAPACITY_GATE,))
    world.work()
    assert world.condition("chat", "CapacityAvailable") == ("False", "WaitingForGpus")
    world.kube.delete(PODS, NS, "chat-1")
    world.work()
    assert (world.gates("chat", "2"), world.gates("later", "1")) == ([], [CAPACITY_GATE])
    assert world.condition("chat", "CapacityAvailable") == ("True", "Booked")
