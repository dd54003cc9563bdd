"""Which pods find GPUs for certain: whichever of them comes first, and wherever the scheduler puts each.

kube-scheduler binds one pod at a time, in an order nobody promises, to any node with room; its scores prefer nodes by CPU
and memory and so scatter small pods over whole nodes. What is said to be available must hold in every one of those courses.
Called by the controller's bookings. Pure; knows neither pods nor plans.
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll_operator.capacity.booking import Booking


def certain_pods(histogram: Iterable[tuple[int, int]], others: Iterable[Booking], gpus: int) -> int:
    """How many pods of `gpus` GPUs find nodes whatever the `others` do first. `histogram` is (free GPUs, nodes).

    A lower bound. Let s be the size of another pod. With s >= gpus it takes the place of at most ceil(s / gpus) of ours. Smaller
    ones take the place of at most one of ours each, and together of no more than their GPUs can break when every GPU is
    spent where it hurts most. No more of the others count than would find room if they were alone.
    """
    free = [(size, nodes) for size, nodes in histogram if size > 0 and nodes > 0]
    if gpus <= 0 or not free:
        return 0
    lost = small_pods = small_gpus = 0
    for other in others:
        if other.gpus <= 0:
            continue
        pods = min(other.pods, _room(free, other.gpus))
        if other.gpus >= gpus:
            lost += pods * -(-other.gpus // gpus)
        else:
            small_pods += pods
            small_gpus += pods * other.gpus
    lost += min(small_pods, _most_broken(free, gpus, small_gpus))
    return max(0, _room(free, gpus) - lost)


def possible_pods(histogram: Iterable[tuple[int, int]], others: Iterable[Booking], gpus: int) -> int:
    """How many pods of `gpus` GPUs could find nodes after the `others`, if each of those went where it hurts least: an upper bound."""
    free = [(size, nodes) for size, nodes in histogram if size > 0 and nodes > 0]
    if gpus <= 0 or not free:
        return 0
    placed = [(other.gpus, min(other.pods, _room(free, other.gpus))) for other in others if other.gpus > 0]
    places = _room(free, gpus) - sum(pods * (size // gpus) for size, pods in placed)
    left = sum(size * nodes for size, nodes in free) - sum(size * pods for size, pods in placed)
    return max(0, min(places, left // gpus))


def _room(free: Iterable[tuple[int, int]], gpus: int) -> int:
    return sum(nodes * (size // gpus) for size, nodes in free)


def _most_broken(free: Iterable[tuple[int, int]], gpus: int, spent: int) -> int:
    """Most places of `gpus` GPUs that `spent` single GPUs can take: a node's first costs its remainder and one, each further one `gpus`."""
    costs: dict[int, int] = {}
    for size, nodes in free:
        if size >= gpus:
            first = size % gpus + 1
            costs[first] = costs.get(first, 0) + nodes
            costs[gpus] = costs.get(gpus, 0) + nodes * (size // gpus - 1)
    broken = 0
    for cost, places in sorted(costs.items()):
        taken = min(places, spent // cost)
        broken += taken
        spent -= taken * cost
        if taken < places:
            break
    return broken
