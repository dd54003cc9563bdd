"""What running engines logged of their start: each start is read once, from the beginning of its log, by threads of its own.

The reconciler says which starts there are and gets what is known of them at once: from the object's own status, which another leader has
written, and from what was read since. What is missing is read behind a queue that serves namespaces in turn; a log that is slow or refused
waits longer each time and keeps nobody. Knows no decision and writes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from plimsoll_estimator import read_engine_log
from plimsoll_operator.api import ENGINE_CONTAINER, MAX_STARTS, ObservedStatus, Plan, StartStatus
from plimsoll_operator.controller.booking.engine_start import EngineStart
from plimsoll_operator.controller.loops.key_loop import KeyLoop
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.controller.reporting.last_words import NO_LOG
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.observation import start_of
from plimsoll_operator.ports import Key, Kube

WORKERS: Final = 2
LIMIT_BYTES: Final = 512 << 10
"""vLLM has begun to serve within some hundred KiB, with progress bars and eight ranks."""
_FIRST_SECONDS: Final = 5.0
_LONGEST_SECONDS: Final = 1800.0
_LONGEST_REST_SECONDS: Final = 10.0


class _Awaited(NamedTuple):
    """One start whose log is to be read: of which deployment, and which pod's."""

    key: Key
    pod: str
    uid: str
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The starts of a plan that are known, and why one of the others could not be read; empty where none has failed."""

    starts: tuple[StartStatus, ...] = ()
    unread: str = ""


@dataclass(slots=True)
class _Of:
    """One deployment: the plan, the starts of it that wait, those that were read, and by start how often reading failed, and how."""

    plan: Plan
    waiting: set[_Awaited] = field(default_factory=set)
    read: dict[_Awaited, StartStatus] = field(default_factory=dict)
    failed: dict[_Awaited, tuple[int, str]] = field(default_factory=dict)


class EngineStarts:
    """Thread-safe. `wake` is called with a deployment of which something new is known, `clock` is monotonic seconds."""

    def __init__(self, kube: Kube, wake: Callable[[Iterable[Key]], None], clock: Callable[[], float], border: Border = no_border) -> None:
        self._kube = kube
        self._wake = wake
        self._clock = clock
        self._loop: KeyLoop[_Awaited] = KeyLoop(
            self._read,
            clock=clock,
            unit=Unit.ENGINE_LOG,
            what="engine's log of",
            name=lambda awaited: f"{awaited.key[0]}/{awaited.pod}",
            group=lambda awaited: awaited.key[0],
            border=border,
            on_bug=lambda awaited, bug: self._fails(awaited, f"the log of pod {awaited.pod} cannot be read by this release: {bug.digest}"),
        )
        self._lock = threading.Lock()
        self._of: dict[Key, _Of] = {}

    def look(self, key: Key, plan: Plan | None, running: Sequence[EngineStart], before: ObservedStatus | None) -> Seen:
        """What is known of the plan's starts; whatever else of them serves is read soon. `before` is what the status says.

        What was seen of a plan none of whose known starts runs any more stays until another start of it was read.
        """
        if plan is None:
            self.forget(key)
            return Seen()
        told = before.starts if before is not None and before.plan_digest == plan.digest else ()
        with self._lock:
            mine = self._of.get(key)
            if mine is None or mine.plan.digest != plan.digest:
                mine = self._of[key] = _Of(plan)
            written = {_Awaited(key, start.pod, start.uid, start.restarts): start for start in told}
            known = written | mine.read
            rows = {_Awaited(key, one.pod, one.uid, one.restarts): one.ready for one in running if one.plan_digest == plan.digest}
            kept = tuple(known[one] for one in sorted(rows) if one in known)[:MAX_STARTS]
            missing = [one for one in sorted(rows) if one not in known and rows[one]][: MAX_STARTS - len(kept)]
            new = [one for one in missing if one not in mine.waiting]
            mine.waiting = set(missing)
            mine.read = {one: start for one, start in mine.read.items() if one in rows and one not in written}
            mine.failed = {one: row for one, row in mine.failed.items() if one in mine.waiting}
            unread = next((mine.failed[one][1] for one in missing if one in mine.failed), "")
            if not (mine.waiting or mine.read):
                del self._of[key]  # all that is known is in the status
        for awaited in new:
            self._loop.add(awaited)
        return Seen(starts=kept or tuple(told), unread=unread)

    def forget(self, key: Key) -> None:
        """The object, or its plan, is gone."""
        with self._lock:
            self._of.pop(key, None)

    def work(self, stop: threading.Event) -> None:
        """One of WORKERS threads. After each log it rests as long as that took: parsing is Python, and the others wait for it."""
        while not stop.is_set():
            began = self._clock()
            if self.work_once(1.0):
                stop.wait(min(self._clock() - began, _LONGEST_REST_SECONDS))

    def work_once(self, timeout_seconds: float) -> bool:
        """Read one log, if one is wanted within so many seconds. Returns whether there was one."""
        return self._loop.run_once(timeout_seconds)

    def _read(self, awaited: _Awaited) -> None:
        plan = self._plan_of(awaited)
        if plan is None:
            return  # how often it failed is of no use any more
        try:
            log = self._kube.pod_log(awaited.key[0], awaited.pod, container=ENGINE_CONTAINER, limit_bytes=LIMIT_BYTES)
        except ApiFailure as failure:
            self._fails(awaited, f"the log of pod {awaited.pod} is not given out: {_answer(failure)}", failure.retry_after_seconds)
            return
        text = log.decode(errors="replace")
        if text.startswith(NO_LOG):
            self._fails(awaited, f"the log of pod {awaited.pod} is gone from its node")
            return
        start = start_of(read_engine_log(text), plan, pod=awaited.pod, uid=awaited.uid, restarts=awaited.restarts)
        with self._lock:
            mine = self._of.get(awaited.key)
            if mine is None or awaited not in mine.waiting:
                return
            mine.waiting.discard(awaited)
            mine.failed.pop(awaited, None)
            mine.read[awaited] = start
        self._wake([awaited.key])

    def _plan_of(self, awaited: _Awaited) -> Plan | None:
        """None where nobody waits for it any more."""
        with self._lock:
            mine = self._of.get(awaited.key)
            return mine.plan if mine is not None and awaited in mine.waiting else None

    def _fails(self, awaited: _Awaited, why: str, asks_seconds: float | None = None) -> None:
        """Try again later, and later each time; tell when it is said otherwise than before."""
        with self._lock:
            mine = self._of.get(awaited.key)
            if mine is None or awaited not in mine.waiting:
                return
            times, said = mine.failed.get(awaited, (0, ""))
            mine.failed[awaited] = (times + 1, why)
        wait = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(times, 20))
        self._loop.retry(awaited, not_before=max(wait, asks_seconds or 0.0))
        if said != why:
            self._wake([awaited.key])


def _answer(failure: ApiFailure) -> str:
    """The same words at each try, whatever else the API server says of its way to the node."""
    return f"the API server answers {failure.status} {failure.reason}" if failure.status else "the API server does not answer"
