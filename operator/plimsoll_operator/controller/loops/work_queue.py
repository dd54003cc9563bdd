"""A work queue of keys: each waits at most once, is never handed to two workers, and is retried with growing delays.

The watchers add, the workers take; the resolver queues what it reads in one of its own. The semantics are client-go's
workqueue (util/workqueue): a key that is added while it is being worked on is handed out again afterwards, so no change is
ever lost. What is looked at again without having changed itself comes after what has, as in controller-runtime's priority queue:
a policy's edit wakes thousands, and somebody's new object does not wait for them. Knows no Kubernetes.
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
# Of so many keys that are handed out, one is of those looked at again, however many others come.
_TURNS: Final = 4
_K = TypeVar("_K", bound=Hashable)


class _Lane(Generic[_K]):
    """Keys that wait, by group; groups are served in turn, each in its own order."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, OrderedDict[_K, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def add(self, group: Hashable, key: _K) -> None:
        """Append the key to its group, once."""
        self._groups.setdefault(group, OrderedDict()).setdefault(key)

    def to_front(self, group: Hashable, key: _K) -> None:
        """The key that waits here is the next of its group."""
        self._groups[group].move_to_end(key, last=False)

    def holds(self, group: Hashable, key: _K) -> bool:
        """Whether the key waits here."""
        return key in self._groups.get(group, ())

    def drop(self, group: Hashable, key: _K) -> None:
        """Take the key out, if it is here."""
        keys = self._groups.get(group)
        if keys is not None and key in keys:
            del keys[key]
            if not keys:
                del self._groups[group]

    def next(self) -> _K:
        """The oldest key of the group that was served longest ago; new groups come last."""
        group, keys = self._groups.popitem(last=False)
        key, _ = keys.popitem(last=False)
        if keys:
            self._groups[group] = keys
        return key


class WorkQueue(Generic[_K]):
    """Thread-safe. `clock` is monotonic seconds. Takers serve the groups of keys in turn, so that a group's thousands delay nobody else."""

    def __init__(self, clock: Callable[[], float], group: Callable[[_K], Hashable] = lambda _key: None) -> None:
        self._clock = clock
        self._group = group
        self._condition = threading.Condition()
        self._changed: _Lane[_K] = _Lane()
        self._unchanged: _Lane[_K] = _Lane()
        self._turn = 0
        # Keys that are worked on, and those of them that come again; whether they are only looked at again.
        self._working: dict[_K, bool] = {}
        self._again: dict[_K, bool] = {}
        self._first: set[_K] = set()
        self._delayed: list[tuple[float, int, _K]] = []
        self._order = itertools.count()
        self._due: dict[_K, tuple[float, bool]] = {}
        self._failures: dict[_K, int] = {}
        self._closed = False

    def add(self, key: _K, *, unchanged: bool = False) -> None:
        """Make the key ready now. `unchanged`: it is looked at again because of something else, after the keys that have changed."""
        with self._condition:
            self._add(key, unchanged)

    def add_first(self, key: _K) -> None:
        """Make the key ready now, before all others of its group: what it waits for does not last."""
        with self._condition:
            self._first.add(key)
            self._add(key, False)

    def add_after(self, key: _K, seconds: float, *, unchanged: bool = False) -> None:
        """Make the key ready later, `unchanged` as in add; an earlier due time of the same key wins."""
        with self._condition:
            self._add_after(key, seconds, unchanged=unchanged)

    def retry(self, key: _K, *, not_before: float | None = None) -> float:
        """Make the key ready after a delay that doubles with each failure in a row. Returns the delay in seconds.

        `not_before`: seconds that the other side asks to be left alone, bounded by whoever read them.
        """
        with self._condition:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            delay = max(min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * (1 << min(failures, 20))), not_before or 0.0)
            self._add_after(key, delay, unchanged=self._working.get(key, False))
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
                if self._changed or self._unchanged:
                    return self._next()
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
            self._working.pop(key, None)
            if key in self._again:
                self._add(key, self._again.pop(key))

    def depth(self) -> int:
        """Keys that are ready or being retried soon."""
        with self._condition:
            return len(self._changed) + len(self._unchanged) + len(self._due)

    def idle(self) -> bool:
        """Whether nothing waits, is worked on, or will be retried."""
        with self._condition:
            return not (self._changed or self._unchanged or self._working or self._due)

    def close(self) -> None:
        """Wake every taker with None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _add(self, key: _K, unchanged: bool) -> None:
        if key in self._working:
            self._again[key] = unchanged and self._again.get(key, True)
            return
        group = self._group(key)
        if not unchanged:
            self._unchanged.drop(group, key)
            self._changed.add(group, key)
            if key in self._first:
                self._changed.to_front(group, key)
        elif not self._changed.holds(group, key):
            self._unchanged.add(group, key)
        self._condition.notify()

    def _add_after(self, key: _K, seconds: float, *, unchanged: bool) -> None:
        due = self._clock() + seconds
        before, only_again = self._due.get(key, (float("inf"), True))
        # It is the sooner of the two, and a change where one of them is.
        self._due[key] = min(due, before), unchanged and only_again
        if due < before:
            heapq.heappush(self._delayed, (due, next(self._order), key))
            self._condition.notify()

    def _next(self) -> _K:
        self._turn = (self._turn + 1) % _TURNS
        unchanged = bool(self._unchanged) and (self._turn == 0 or not self._changed)
        key = (self._unchanged if unchanged else self._changed).next()
        self._working[key] = unchanged
        self._first.discard(key)
        return key

    def _release_due(self) -> None:
        while self._delayed and self._delayed[0][0] <= self._clock():
            due, _, key = heapq.heappop(self._delayed)
            if key in self._due and self._due[key][0] == due:
                self._add(key, self._due.pop(key)[1])
