"""Whose reading is next: one namespace after the other, and of one namespace no more than LANES at a time.

Used by the resolver. A namespace that waits for many models, or for slow ones, holds up its own readings and nobody else's. What
several namespaces wait for stands in the lane of each and is handed out once. Knows no sources and no failures.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Final

from plimsoll_operator.controller.loops.work_queue import WorkQueue
from plimsoll_operator.read_request import ReadRequest

LANES: Final = 2
Lane = tuple[str, int]


class Turns:
    """Thread-safe. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._lanes: WorkQueue[Lane] = WorkQueue(clock)
        self._due: dict[Lane, dict[ReadRequest, float]] = {}
        self._taken: dict[ReadRequest, Lane] = {}

    def add(self, namespace: str, request: ReadRequest, after_seconds: float = 0.0) -> None:
        """Read this for that namespace; an earlier time of the same reading wins."""
        lane = (namespace, zlib.crc32(repr(request).encode()) % LANES)
        with self._lock:
            due = self._due.setdefault(lane, {})
            due[request] = min(due.get(request, float("inf")), self._clock() + after_seconds)
            self._line_up(lane)

    def take(self, timeout_seconds: float) -> tuple[Lane, ReadRequest | None] | None:
        """The next lane and what is to be read in it, if anything is; None when out of time. Call done(lane) afterwards, always."""
        lane = self._lanes.take(timeout_seconds)
        if lane is None:
            return None
        with self._lock:
            now, due = self._clock(), self._due.get(lane, {})
            ready = next((request for request, at in due.items() if at <= now), None)
            if ready is not None:
                del due[ready]
                if ready in self._taken:
                    return lane, None  # it is being read in another namespace's lane, and wakes all who wait for it
                self._taken[ready] = lane
            return lane, ready

    def done(self, lane: Lane) -> None:
        """The lane may go on with its next reading when its turn comes."""
        with self._lock:
            for request in [request for request, taker in self._taken.items() if taker == lane]:
                del self._taken[request]
            if self._due.get(lane):
                self._line_up(lane)
            else:
                self._due.pop(lane, None)
        self._lanes.done(lane)

    def _line_up(self, lane: Lane) -> None:
        wait = min(self._due[lane].values()) - self._clock()
        if wait <= 0:
            self._lanes.add(lane)
        else:
            self._lanes.add_after(lane, wait)
