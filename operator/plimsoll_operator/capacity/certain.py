"""Which pods find GPUs for certain: whichever of them comes first, and wherever the scheduler puts each.

kube-scheduler binds one pod at a time, in an order nobody promises, to any node with room; its scores prefer nodes by CPU
and memory and so scatter small pods over whole nodes. What is said to be available must hold in every one of those courses.
Called by the controller's bookings. Pure; knows neither pods nor plans.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from plimsoll_operator.capacity.booking import Booking
from plimsoll_operator.pod import PodRequests


def placeable(histogram: Iterable[tuple[int, int]], booking: Booking) -> Booking:
    """The booking with no more pods than would find room if they were alone. `histogram` is what nodes have free for such pods."""
    gpus = booking.each.gpus
    return replace(booking, pods=min(booking.pods, _room(histogram, gpus)) if gpus > 0 else 0)


def certain_pods(histogram: Iterable[tuple[int, int]], others: Iterable[Booking], pod: PodRequests) -> int:
    """How many such pods find nodes whatever the `others` do first. `histogram` is (GPUs free for such pods, nodes), as of `gpus_for`.

    A lower bound. Let s be another pod's share of a node, in GPUs: its own, or those that go with as much of the host as it takes,
    at our pods' rate. With s >= our GPUs it takes the place of at most ceil(s / ours) of ours. Smaller ones take the place of at most
    one of ours each, and together of no more than their shares can break when every GPU of them is spent where it hurts most.
    """
    free = [(size, nodes) for size, nodes in histogram if size > 0 and nodes > 0]
    if pod.gpus <= 0 or not free:
        return 0
    lost = small_pods = small_gpus = 0
    for other in others:
        share = _share(other.each, pod)
        if share >= pod.gpus:
            lost += other.pods * -(-share // pod.gpus)
        else:
            small_pods += other.pods
            small_gpus += other.pods * share
    lost += min(small_pods, _most_broken(free, pod.gpus, small_gpus))
    return max(0, _room(free, pod.gpus) - lost)


def _share(other: PodRequests, pod: PodRequests) -> int:
    """GPUs of a node that the other pod takes from ours: those it asks for, or more where it takes more of the host."""
    sides = (
        (other.host_memory_bytes, pod.host_memory_bytes),
        (other.host_cpu_millis, pod.host_cpu_millis),
        (other.ephemeral_storage_bytes, pod.ephemeral_storage_bytes),
    )
    return max(other.gpus, *(-(-pod.gpus * takes // needs) if needs > 0 else 0 for takes, needs in sides))


def possible_pods(histogram: Iterable[tuple[int, int]], others: Iterable[Booking], gpus: int) -> int:
    """How many pods of `gpus` GPUs could find nodes after the `others`, if each of those went where it hurts least: an upper bound."""
    free = [(size, nodes) for size, nodes in histogram if size > 0 and nodes > 0]
    if gpus <= 0 or not free:
        return 0
    placed = [(other.each.gpus, min(other.pods, _room(free, other.each.gpus))) for other in others if other.each.gpus > 0]
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
