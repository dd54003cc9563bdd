"""For how many pods GPUs have lain idle for a while: free, and taken by nobody who could have.

Asked by the bookings for pods behind a gate. A visible pod that the scheduler never takes (a volume that does not bind, a node
selector that nobody has, a scheduler that nobody runs) makes every booking beside it uncertain; it must not keep the GPUs idle too.
Only pods on nodes count here, so nobody stretches the wait with pods that come and go. Time is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.controller.booking.demand import BIND_SECONDS, PodShape

# Longer than the scheduler ever has for what is booked.
IDLE_SECONDS: Final = BIND_SECONDS + 2.0


@dataclass(frozen=True, slots=True)
class _Low:
    """The least that was free in a window of time, and in the one before it."""

    since: float
    least: int
    before: int


class Idle:
    """The least number of pods that had room over the last one to two windows of IDLE_SECONDS, by shape."""

    def __init__(self) -> None:
        self._lows: dict[PodShape, _Low] = {}

    def look(self, shapes: Iterable[PodShape], room: Callable[[PodShape], int], now: float) -> None:
        """See how much room these shapes have now; others are forgotten."""
        self._lows = {shape: self._seen(shape, room(shape), now) for shape in shapes}

    def pods(self, shape: PodShape) -> int:
        """Pods of this shape for which GPUs have been free all the time."""
        low = self._lows.get(shape)
        return min(low.least, low.before) if low is not None else 0

    def _seen(self, shape: PodShape, room: int, now: float) -> _Low:
        low = self._lows.get(shape)
        if low is None:
            return _Low(now, room, 0)
        if now - low.since >= IDLE_SECONDS:
            return _Low(now, room, low.least)
        return _Low(low.since, min(low.least, room), low.before)
