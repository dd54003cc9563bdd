"""A work queue of keys: each waits at most once, is never handed to two workers, and is retried with growing delays.

The watchers add, the workers take; the resolver queues what it reads in one of its own. The semantics are client-go's
workqueue (util/workqueue): a key that is added while it is being worked on is handed out again afterwards, so no change is
ever lost. Knows no Kubernetes.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

_FIRST_DELAY_SECONDS: Final = 0.05
_LONGEST_DELAY_SECONDS: Final = 60.0
_K = TypeVar("_K", bound=Hashable)


class WorkQueue(Generic[_K]):
    """Thread-safe. `clock` is monotonic seconds. Takers serve the groups of keys in turn, so that a group's thousands delay nobody else."""

    def __init__(self, clock: Callable[[], float], group: Callable[[_K], Hashable] = lambda _key: None) -> None:
        self._clock = clock
        self._group = group
        self._condition = threading.Condition()
        self._waiting: OrderedDict[Hashable, OrderedDict[_K, None]] = OrderedDict()
        self._working: set[_K] = set()
        self._again: set[_K] = set()
        self._delayed: list[tuple[float, int, _K]] = []
        self._order = itertools.count()
        self._due: dict[_K, float] = {}
        self._failures: dict[_K, int] = {}
        self._closed = False

    def add(self, key: _K) -> None:
        """Make the key ready now."""
        with self._condition:
            self._add(key)

    def add_after(self, key: _K, seconds: float) -> None:
        """Make the key ready later; an earlier due time of the same key wins."""
        with self._condition:
            due = self._clock() + seconds
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                heapq.heappush(self._delayed, (due, next(self._order), key))
                self._condition.notify()

    def retry(self, key: _K, *, not_before: float | None = None) -> float:
        """Make the key ready after a delay that doubles with each failure in a row. Returns the delay in seconds.

        `not_before`: seconds that the other side asks to be left alone, bounded by whoever read them.
        """
        with self._condition:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
        delay = max(min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * (1 << min(failures, 20))), not_before or 0.0)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: _K) -> None:
        """Forget the key's failures."""
        with self._condition:
            self._failures.pop(key, None)

    def take(self, timeout_seconds: float | None = None) -> _K | None:
        """The next key, waiting for one; None when closed or out of time. Call done(key) afterwards, always."""
        with self._condition:
            end = None if timeout_seconds is None else self._clock() + timeout_seconds
            while not self._closed:
                self._release_due()
                if self._waiting:
                    key = self._next()
                    self._working.add(key)
                    return key
                wait = self._delayed[0][0] - self._clock() if self._delayed else None
                if end is not None:
                    left = end - self._clock()
                    if left <= 0:
                        return None
                    wait = left if wait is None else min(wait, left)
                self._condition.wait(wait)
            return None

    def done(self, key: _K) -> None:
        """The worker has finished with the key; hands it out again if it was added meanwhile."""
        with self._condition:
            self._working.discard(key)
            if key in self._again:
                self._again.discard(key)
                self._add(key)

    def depth(self) -> int:
        """Keys that are ready or being retried soon."""
        with self._condition:
            return sum(map(len, self._waiting.values())) + len(self._due)

    def idle(self) -> bool:
        """Whether nothing waits, is worked on, or will be retried."""
        with self._condition:
            return not (self._waiting or self._working or self._due)

    def close(self) -> None:
        """Wake every taker with None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _add(self, key: _K) -> None:
        if key in self._working:
            self._again.add(key)
            return
        self._waiting.setdefault(self._group(key), OrderedDict()).setdefault(key)
        self._condition.notify()

    def _next(self) -> _K:
        """The oldest key of the group that was served longest ago; new groups come last."""
        group, keys = self._waiting.popitem(last=False)
        key, _ = keys.popitem(last=False)
        if keys:
            self._waiting[group] = keys
        return key

    def _release_due(self) -> None:
        while self._delayed and self._delayed[0][0] <= self._clock():
            due, _, key = heapq.heappop(self._delayed)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key)
