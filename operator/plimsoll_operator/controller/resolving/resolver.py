"""Reads what deployments wait for: each reading once for all of them, on a few threads, with its failures remembered.

The reconciler says what a deployment wants and is answered at once from memory; the leader's resolver threads read, store
the profile and wake who waits, one namespace after the other. Bounded: a full memory, or a namespace that waits for too many models,
is refused further readings by name, and a failure that nobody waits for is forgotten when it is due. Knows no hub and no verdict.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.controller.resolving.fetcher import Fetched, Fetcher, FetchFailure
from plimsoll_operator.controller.resolving.turns import Turns
from plimsoll_operator.ports import Key
from plimsoll_operator.read_request import ReadRequest
from plimsoll_operator.reasons import NoShape

_log = logging.getLogger(__name__)
WORKERS: Final = 4
MAX_READINGS: Final = 4096
MAX_OF_A_NAMESPACE: Final = 64
"""Models that one namespace may wait for at a time."""
MAX_MESSAGE: Final = 1024
STORED_SECONDS: Final = 15.0
"""How long a stored profile may take to come back through the watch before it is read again."""
EAGER_SECONDS: Final = 10.0
"""How long after a failure a new spec or the replan annotation asks again: at once where it is older, else as soon as it is so old."""
# First and longest wait after a failure: what a person must change is asked for less often than what passes by itself.
_WAITS: Final = {NoShape.RESOLVING: (2.0, 30.0), NoShape.UNREACHABLE: (5.0, 300.0)}
_OTHER_WAITS: Final = (60.0, 3600.0)
_CHEAP_FIRST_SECONDS: Final = 2.0
"""Where asking costs one request: what is applied in one go (a ConfigMap after the deployment that names it) is found at once."""


class Resolving:
    """The answer while a reading is under way."""


RESOLVING: Final = Resolving()
Answer: TypeAlias = Resolving | FetchFailure


class Keeper(Protocol):
    """Stores profiles. `store.ProfileKeeper` does it through the API server."""

    def keep(self, request: ReadRequest, fetched: Fetched) -> FetchFailure | None:
        """Make the profile; a failure says why it could not be."""
        ...


@dataclass(slots=True)
class _Reading:
    """One shape to be read: who waits for it, who began it, and how reading it went. Times are of the resolver's clock."""

    began: str
    waiters: set[Key] = field(default_factory=set)
    failure: FetchFailure | None = None
    failures: int = 0
    reads: bool = False
    asked_meanwhile: bool = False
    due: float = 0.0
    ended: float = 0.0
    stored: bool = False

    @property
    def reader(self) -> str:
        """The namespace in whose turn it is read again: who began it, as long as it waits."""
        waiting = {key[0] for key in self.waiters}
        return self.began if self.began in waiting or not waiting else min(waiting)


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
        self._turns = Turns(clock)
        self._readings: dict[ReadRequest, _Reading] = {}
        self._asked: dict[Key, tuple[ReadRequest, str]] = {}
        self._open: dict[str, Counter[ReadRequest]] = {}
        self._turned_away: dict[str, dict[Key, None]] = {}

    def answers(self, request: ReadRequest) -> bool:
        """Whether any source reads this."""
        return any(fetcher.answers(request) for fetcher in self._fetchers)

    def answer(self, key: Key, request: ReadRequest, effort: str) -> Answer:
        """What is known about this reading now; begins it where needed and wakes `key` when it ends. Makes no request.

        Another `effort` of the same deployment (a new spec, the replan annotation) asks again where the last answer was a failure, or where
        the reading that is under way, which may have begun before it, ends with one.
        """
        with self._lock:
            before = self._asked.get(key)
            if before is not None and before[0] != request:
                self._leave(key)
            full = self._is_full(key, request)
            if full is not None:
                self._turned_away.setdefault(key[0], {})[key] = None
                return full
            reading = self._readings.setdefault(request, _Reading(began=key[0]))
            if key not in self._asked:
                self._open.setdefault(key[0], Counter())[request] += 1
                if reading.failure is None and not reading.stored:
                    self._turns.add(key[0], request)
            self._turned_away.get(key[0], {}).pop(key, None)
            self._asked[key] = (request, effort)
            reading.waiters.add(key)
            now = self._clock()
            if reading.stored and now >= reading.due:  # lost
                reading.stored, reading.due = False, now
                self._turns.add(key[0], request)
            elif before is not None and before != (request, effort):
                reading.asked_meanwhile |= reading.reads
                if reading.failure is not None and not reading.reads:
                    reading.due = min(reading.due, max(now, reading.ended + EAGER_SECONDS))
                    self._turns.add(key[0], request, max(0.0, reading.due - now))
            return reading.failure or RESOLVING

    def _is_full(self, key: Key, request: ReadRequest) -> FetchFailure | None:
        """Why one more reading cannot be begun for this deployment now."""
        mine = self._open.get(key[0], Counter())
        if request not in mine and len(mine) >= MAX_OF_A_NAMESPACE:
            message = f"{MAX_OF_A_NAMESPACE} other models of namespace {key[0]} are being read or waited for"
            return FetchFailure(reason=NoShape.UNREACHABLE, message=message)
        if request not in self._readings and len(self._readings) >= MAX_READINGS and not self._make_room():
            return FetchFailure(reason=NoShape.UNREACHABLE, message=f"{MAX_READINGS} other models are being read or waited for")
        return None

    def forget(self, key: Key) -> None:
        """The deployment is gone, or its model is known."""
        with self._lock:
            self._leave(key)

    def look_again(self, namespace: str, chosen: Callable[[ReadRequest], bool]) -> None:
        """Something that a reading in this namespace waits for has happened: look at the chosen ones now rather than when they are due."""
        with self._lock:
            for request, reading in self._readings.items():
                waits = reading.failure is not None and reading.failure.reason is NoShape.RESOLVING
                if waits and request.namespace == namespace and chosen(request):
                    reading.due = self._clock()
                    self._turns.add(namespace, request)

    def work(self, stop: threading.Event) -> None:
        """One thread's work: read what is due, until stopped."""
        while not stop.is_set():
            self.work_once(stop, timeout_seconds=1.0)

    def work_once(self, stop: threading.Event, *, timeout_seconds: float) -> bool:
        """Read the next that is due; False when nothing was within the time."""
        turn = self._turns.take(timeout_seconds)
        if turn is None:
            return False
        lane, request = turn
        try:
            if request is None:
                return True
            with self._border(Unit.READING, f"{request.namespace}/{request.model}") as attempt:
                if self._is_due(request):
                    outcome = self._read(request, stop)
                    if not stop.is_set():
                        self._settle(request, outcome)
            if attempt.bug is not None:
                self._settle(request, FetchFailure(reason=NoShape.UNREACHABLE, message=str(attempt.bug)))
        finally:
            self._turns.done(lane)
        return True

    def _is_due(self, request: ReadRequest) -> bool:
        with self._lock:
            reading = self._readings.get(request)
            if reading is None or reading.stored or reading.due > self._clock():
                return False
            if not reading.waiters:
                del self._readings[request]
                return False
            reading.reads = True
            return True

    def _read(self, request: ReadRequest, stop: threading.Event) -> FetchFailure | None:
        fetcher = next((row for row in self._fetchers if row.answers(request)), None)
        if fetcher is None:
            return FetchFailure(reason=NoShape.UNSUPPORTED, message="nothing here reads this kind of source")
        found = fetcher.fetch(request, stop)
        if isinstance(found, FetchFailure):
            return found
        if stop.is_set():
            return FetchFailure(reason=NoShape.UNREACHABLE, message="stopped; whoever leads next reads it")
        return _forged(request, found) or self._keeper.keep(request, found)

    def _settle(self, request: ReadRequest, failure: FetchFailure | None) -> None:
        with self._lock:
            reading = self._readings.get(request)
            if reading is None:
                return
            reading.ended = now = self._clock()
            reading.failure = failure
            asked_meanwhile, reading.reads, reading.asked_meanwhile = reading.asked_meanwhile, False, False
            if failure is None:
                # Where the profile does not come back, or does not answer, the hub is not asked in a tight circle.
                reading.due = now + STORED_SECONDS * 2.0 ** min(reading.failures, 8)
                reading.failures += 1
                reading.stored = True
            else:
                _log.info("%s at %s: %s: %s", request.model, request.revision, failure.reason, failure.message)
                delay = _wait_after(failure, reading.failures)
                delay = min(delay, EAGER_SECONDS) if asked_meanwhile else delay
                reading.failures += 1
                reading.due = now + delay
                if math.isfinite(delay):
                    self._turns.add(reading.reader, request, delay)
            waiting = tuple(reading.waiters)
            if failure is None and not waiting:
                del self._readings[request]
        self._wake(waiting)

    def _leave(self, key: Key) -> None:
        self._turned_away.get(key[0], {}).pop(key, None)
        asked = self._asked.pop(key, None)
        if asked is None:
            return
        self._close(key[0], asked[0])
        reading = self._readings.get(asked[0])
        if reading is None:
            return
        reading.waiters.discard(key)
        if not reading.waiters and reading.stored:
            del self._readings[asked[0]]

    def _close(self, namespace: str, request: ReadRequest) -> None:
        """One of the namespace's deployments waits for this no more; one that was turned away may ask again."""
        mine = self._open[namespace]
        mine[request] -= 1
        if mine[request]:
            return
        del mine[request]
        if not mine:
            del self._open[namespace]
        away = self._turned_away.get(namespace)
        if away:
            self._wake((next(iter(away)),))
        elif away is not None:
            del self._turned_away[namespace]

    def _make_room(self) -> bool:
        """Forget a failure that nobody waits for: of the namespace that has left most of them, the one that ended longest ago."""
        idle = [(request, reading) for request, reading in self._readings.items() if not reading.waiters and reading.failure is not None]
        if not idle:
            return False
        left = Counter(reading.began for _, reading in idle)
        del self._readings[min(idle, key=lambda row: (-left[row[1].began], row[1].ended))[0]]
        return True


def _wait_after(failure: FetchFailure, failures: int) -> float:
    first, longest = _WAITS.get(failure.reason, _OTHER_WAITS)
    if math.isfinite(failure.retry_within_seconds):
        first, longest = _CHEAP_FIRST_SECONDS, failure.retry_within_seconds
    own = min(longest, first * 2.0 ** min(failures, 20))
    return max(own, failure.retry_after_seconds or 0.0)


def _forged(request: ReadRequest, fetched: Fetched) -> FetchFailure | None:
    """A result that would speak of another model, or for other namespaces than the reading may."""
    if fetched.spec.model != request.model:
        return FetchFailure(reason=NoShape.INVALID, message=f"what was read describes {fetched.spec.model}, not {request.model}")
    if fetched.cluster != (request.namespace == ""):
        return FetchFailure(reason=NoShape.INVALID, message="what was read claims to be valid for other namespaces than it may")
    return None
