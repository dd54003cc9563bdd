"""GPUs booked for pods that are not on a node yet, taken off a pool's nodes by what is free on them.

Called by the index for every pool it hands out, by the controller's serial booking step and by the decision. Pure; knows neither
pods nor plans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from plimsoll_operator.facts import FreeNodes
from plimsoll_operator.pod import PodRequests


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """`pods` pods that still look for a node of the pool, and what each of them asks for."""

    pods: int
    each: PodRequests


def book_nodes(rows: Iterable[FreeNodes], bookings: Iterable[Booking]) -> tuple[tuple[FreeNodes, ...], int]:
    """Free nodes after the bookings, and the GPUs that found a place; the largest bookings first.

    Each pod is taken from the node with the most free GPUs of those whose host has room, as kube-scheduler's default LeastAllocated
    scoring spreads. Of pods of one size every placement leaves room for as many more of that size. Of pods of several sizes this is the
    likely one and no bound: on nodes with 7 and 8 free GPUs, pods of 6, 5 and 2 leave 2 or, placed otherwise, 1 and 1.
    """
    free: Counter[FreeNodes] = Counter()
    for row in rows:
        free[replace(row, nodes=1)] += row.nodes
    booked = 0
    for booking in sorted(bookings, key=_place):
        pods = booking.pods if booking.each.gpus > 0 else 0
        while pods > 0:
            most = max((row for row, nodes in free.items() if nodes > 0 and _holds(row, booking.each)), key=_roominess, default=None)
            if most is None:
                break
            taken = min(pods, free[most])  # nodes with the most room are all taken once before any is again
            free[most] -= taken
            free[_less(most, booking.each)] += taken
            booked += booking.each.gpus * taken
            pods -= taken
    return tuple(sorted((replace(row, nodes=nodes) for row, nodes in free.items() if nodes > 0), key=_roominess)), booked


def fits_now(histogram: Iterable[tuple[int, int]], gpus: int, pods: int) -> bool:
    """Whether `pods` pods of `gpus` GPUs each find nodes at this moment, wherever the scheduler puts the earlier of them.

    Pods of one size fill every node as far as they go in any order, so what `book` would place is counted without placing it.
    """
    return sum(nodes * (free // gpus) for free, nodes in histogram) >= pods


def gpus_for(rows: Iterable[FreeNodes], pod: PodRequests) -> tuple[tuple[int, int], ...]:
    """Nodes by the free GPUs that such pods can take: where a host has room for fewer of them than its GPUs, only for so many.

    With it every reckoning by GPUs alone also holds for the host.
    """
    nodes: Counter[int] = Counter()
    for row in rows:
        needs = (
            (row.host_memory_bytes, pod.host_memory_bytes),
            (row.host_cpu_millis, pod.host_cpu_millis),
            (row.ephemeral_storage_bytes, pod.ephemeral_storage_bytes),
        )
        pods = min((free // need for free, need in needs if free is not None and need > 0), default=row.gpus)
        nodes[min(row.gpus, pods * pod.gpus)] += row.nodes
    return tuple(sorted(nodes.items()))


def by_gpus(rows: Iterable[FreeNodes]) -> tuple[tuple[int, int], ...]:
    """Nodes by free GPUs alone."""
    nodes: Counter[int] = Counter()
    for row in rows:
        nodes[row.gpus] += row.nodes
    return tuple(sorted(nodes.items()))


def _holds(row: FreeNodes, pod: PodRequests) -> bool:
    return (
        row.gpus >= pod.gpus
        and (row.host_memory_bytes is None or row.host_memory_bytes >= pod.host_memory_bytes)
        and (row.host_cpu_millis is None or row.host_cpu_millis >= pod.host_cpu_millis)
        and (row.ephemeral_storage_bytes is None or row.ephemeral_storage_bytes >= pod.ephemeral_storage_bytes)
    )


def _less(row: FreeNodes, pod: PodRequests) -> FreeNodes:
    return FreeNodes(
        gpus=row.gpus - pod.gpus,
        nodes=1,
        host_memory_bytes=_minus(row.host_memory_bytes, pod.host_memory_bytes),
        host_cpu_millis=_minus(row.host_cpu_millis, pod.host_cpu_millis),
        ephemeral_storage_bytes=_minus(row.ephemeral_storage_bytes, pod.ephemeral_storage_bytes),
    )


def _place(booking: Booking) -> tuple[int, int, int, int, int]:
    each = booking.each
    return -each.gpus, booking.pods, each.host_memory_bytes, each.host_cpu_millis, each.ephemeral_storage_bytes


def _minus(free: int | None, taken: int) -> int | None:
    return None if free is None else free - taken


def _roominess(row: FreeNodes) -> tuple[int, int, int, int]:
    host = (row.host_memory_bytes, row.host_cpu_millis, row.ephemeral_storage_bytes)
    memory, cpu, storage = (1 << 62 if value is None else value for value in host)
    return row.gpus, memory, cpu, storage
