"""Reads what deployments wait for: each reading once for all of them, on a few threads, with its failures remembered.

The reconciler says what a deployment wants and is answered at once from memory; the leader's resolver threads read, store
the profile and wake who waits. Bounded: a full memory refuses further readings by name, and a failure that nobody waits for
is forgotten when it is due. Knows no hub and no verdict.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from plimsoll_operator.controller.quarantine import Border, Unit, no_border
from plimsoll_operator.controller.resolving.fetcher import Fetched, Fetcher, FetchFailure
from plimsoll_operator.controller.work_queue import WorkQueue
from plimsoll_operator.ports import Key
from plimsoll_operator.wanted import Wanted

_log = logging.getLogger(__name__)
WORKERS: Final = 4
MAX_READINGS: Final = 4096
MAX_MESSAGE: Final = 1024
STORED_SECONDS: Final = 15.0
"""How long a stored profile may take to come back through the watch before it is read again."""
EAGER_SECONDS: Final = 10.0
"""How old a failure must be for a new spec or the replan annotation to ask again at once."""
# First and longest wait after a failure: what a person must change is asked for less often than what passes by itself.
_WAITS: Final = {"Resolving": (2.0, 30.0), "Unreachable": (5.0, 300.0)}
_OTHER_WAITS: Final = (60.0, 3600.0)
_CHEAP_FIRST_SECONDS: Final = 2.0
"""Where asking costs one request: what is applied in one go (a ConfigMap after the deployment that names it) is found at once."""


class Resolving:
    """The answer while a reading is under way."""


RESOLVING: Final = Resolving()
Answer: TypeAlias = Resolving | FetchFailure


class Keeper(Protocol):
    """Stores profiles. `store.ProfileKeeper` does it through the API server."""

    def keep(self, wanted: Wanted, fetched: Fetched) -> FetchFailure | None:
        """Make the profile; a failure says why it could not be."""
        ...


@dataclass(slots=True)
class _Reading:
    """One wanted shape: who waits for it and how reading it went. Times are of the resolver's clock."""

    waiters: set[Key] = field(default_factory=set)
    failure: FetchFailure | None = None
    failures: int = 0
    due: float = 0.0
    ended: float = 0.0
    stored: bool = False


class Resolver:
    """Thread-safe. `wake` makes deployments ready to be reconciled; `clock` is monotonic seconds."""

    def __init__(
        self,
        fetchers: Sequence[Fetcher],
        keeper: Keeper,
        *,
        wake: Callable[[Iterable[Key]], None],
        clock: Callable[[], float],
        border: Border = no_border,
    ) -> None:
        self._border = border
        self._fetchers = tuple(fetchers)
        self._keeper = keeper
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: WorkQueue[Wanted] = WorkQueue(clock)
        self._readings: dict[Wanted, _Reading] = {}
        self._wishes: dict[Key, tuple[Wanted, str]] = {}

    def answers(self, wanted: Wanted) -> bool:
        """Whether any source reads this."""
        return any(fetcher.answers(wanted) for fetcher in self._fetchers)

    def want(self, key: Key, wanted: Wanted, effort: str) -> Answer:
        """What is known about this reading now; begins it where needed and wakes `key` when it ends. Makes no request.

        Another `effort` of the same deployment (a new spec, the replan annotation) asks again where the last answer was a failure.
        """
        with self._lock:
            before = self._wishes.get(key)
            if before is not None and before[0] != wanted:
                self._leave(key)
            reading = self._readings.get(wanted)
            if reading is None:
                if len(self._readings) >= MAX_READINGS and not self._make_room():
                    return FetchFailure(reason="Unreachable", message=f"{MAX_READINGS} other models are being read or waited for")
                reading = self._readings[wanted] = _Reading()
                self._queue.add(wanted)
            self._wishes[key] = (wanted, effort)
            reading.waiters.add(key)
            now = self._clock()
            asked_again = before is not None and before != (wanted, effort) and now - reading.ended >= EAGER_SECONDS
            lost = reading.stored and now >= reading.due
            if lost or (reading.failure is not None and asked_again):
                reading.stored, reading.due = False, now
                self._queue.add(wanted)
            return reading.failure or RESOLVING

    def forget(self, key: Key) -> None:
        """The deployment is gone, or its model is known."""
        with self._lock:
            self._leave(key)

    def look_again(self, namespace: str, chosen: Callable[[Wanted], bool]) -> None:
        """Something that a reading in this namespace waits for has happened: look at the chosen ones now rather than when they are due."""
        with self._lock:
            for wanted, reading in self._readings.items():
                waits = reading.failure is not None and reading.failure.reason == "Resolving"
                if waits and wanted.namespace == namespace and chosen(wanted):
                    reading.due = self._clock()
                    self._queue.add(wanted)

    def work(self, stop: threading.Event) -> None:
        """One thread's work: read what is due, until stopped."""
        while not stop.is_set():
            self.work_once(stop, timeout_seconds=1.0)

    def work_once(self, stop: threading.Event, *, timeout_seconds: float) -> bool:
        """Read the next that is due; False when nothing was within the time."""
        wanted = self._queue.take(timeout_seconds)
        if wanted is None:
            return False
        try:
            with self._border(Unit.READING, f"{wanted.namespace}/{wanted.model}") as attempt:
                if self._is_due(wanted):
                    outcome = self._read(wanted, stop)
                    if not stop.is_set():
                        self._settle(wanted, outcome)
            if attempt.bug is not None:
                self._settle(wanted, FetchFailure(reason="Unreachable", message=str(attempt.bug)))
        finally:
            self._queue.done(wanted)
        return True

    def _is_due(self, wanted: Wanted) -> bool:
        with self._lock:
            reading = self._readings.get(wanted)
            if reading is None or reading.stored or reading.due > self._clock():
                return False
            if not reading.waiters:
                del self._readings[wanted]
                return False
            return True

    def _read(self, wanted: Wanted, stop: threading.Event) -> FetchFailure | None:
        fetcher = next((row for row in self._fetchers if row.answers(wanted)), None)
        if fetcher is None:
            return FetchFailure(reason="Unsupported", message="nothing here reads this kind of source")
        found = fetcher.fetch(wanted, stop)
        if isinstance(found, FetchFailure):
            return found
        if stop.is_set():
            return FetchFailure(reason="Unreachable", message="stopped; whoever leads next reads it")
        return _forged(wanted, found) or self._keeper.keep(wanted, found)

    def _settle(self, wanted: Wanted, failure: FetchFailure | None) -> None:
        with self._lock:
            reading = self._readings.get(wanted)
            if reading is None:
                return
            reading.ended = now = self._clock()
            reading.failure = failure
            if failure is None:
                # Where the profile does not come back, or does not answer, the hub is not asked in a tight circle.
                reading.due = now + STORED_SECONDS * 2.0 ** min(reading.failures, 8)
                reading.failures += 1
                reading.stored = True
            else:
                _log.info("%s at %s: %s: %s", wanted.model, wanted.revision, failure.reason, failure.message)
                delay = _wait_after(failure, reading.failures)
                reading.failures += 1
                reading.due = now + delay
                if math.isfinite(delay):
                    self._queue.add_after(wanted, delay)
            waiting = tuple(reading.waiters)
            if failure is None and not waiting:
                del self._readings[wanted]
        self._wake(waiting)

    def _leave(self, key: Key) -> None:
        wish = self._wishes.pop(key, None)
        if wish is None:
            return
        reading = self._readings.get(wish[0])
        if reading is None:
            return
        reading.waiters.discard(key)
        if not reading.waiters and reading.stored:
            del self._readings[wish[0]]

    def _make_room(self) -> bool:
        """Forget the failure that ended longest ago among those nobody waits for."""
        idle = [
            (reading.ended, wanted) for wanted, reading in self._readings.items() if not reading.waiters and reading.failure is not None
        ]
        if not idle:
            return False
        del self._readings[min(idle, key=lambda row: row[0])[1]]
        return True


def _wait_after(failure: FetchFailure, failures: int) -> float:
    first, longest = _WAITS.get(failure.reason, _OTHER_WAITS)
    if math.isfinite(failure.retry_within_seconds):
        first, longest = _CHEAP_FIRST_SECONDS, failure.retry_within_seconds
    own = min(longest, first * 2.0 ** min(failures, 20))
    return max(own, failure.retry_after_seconds or 0.0)


def _forged(wanted: Wanted, fetched: Fetched) -> FetchFailure | None:
    """A result that would speak of another model, or for other namespaces than the reading may."""
    if fetched.spec.model != wanted.model:
        return FetchFailure(reason="Invalid", message=f"what was read describes {fetched.spec.model}, not {wanted.model}")
    if fetched.cluster != (wanted.namespace == ""):
        return FetchFailure(reason="Invalid", message="what was read claims to be valid for other namespaces than it may")
    return None
