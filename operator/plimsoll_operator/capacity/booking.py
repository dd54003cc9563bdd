"""GPUs promised to pods that are not on a node yet, taken off a pool's nodes by free GPUs.

Called by the index for every pool it hands out, and by the controller's serial booking step. Pure; knows neither pods nor plans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """`pods` pods of `gpus` GPUs each that still look for a node of the pool."""

    gpus: int
    pods: int


def book(histogram: Iterable[tuple[int, int]], bookings: Iterable[Booking]) -> tuple[tuple[tuple[int, int], ...], int]:
    """Nodes by free GPUs after the bookings, and the GPUs that found a place; the largest bookings first.

    Each pod is taken from the node with the most free GPUs, as kube-scheduler's default LeastAllocated scoring spreads:
    of all placements it leaves the fewest whole nodes, so what is called available afterwards is available in every order.
    """
    free = Counter(dict(histogram))
    booked = 0
    for booking in sorted(bookings, key=lambda row: (-row.gpus, row.pods)):
        pods = booking.pods if booking.gpus > 0 else 0
        while pods > 0:
            most = max((gpus for gpus, nodes in free.items() if nodes > 0), default=0)
            if most < booking.gpus:
                break
            taken = min(pods, free[most])  # nodes with the most free GPUs are all taken once before any is again
            free[most] -= taken
            free[most - booking.gpus] += taken
            booked += booking.gpus * taken
            pods -= taken
    return tuple(sorted((gpus, nodes) for gpus, nodes in free.items() if nodes > 0)), booked


def fits_now(histogram: Iterable[tuple[int, int]], gpus: int, pods: int) -> bool:
    """Whether `pods` pods of `gpus` GPUs each find nodes at this moment, wherever the scheduler puts the earlier of them."""
    return book(histogram, (Booking(gpus=gpus, pods=pods),))[1] == gpus * pods
