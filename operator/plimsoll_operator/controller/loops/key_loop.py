"""A loop over the keys of one queue: what is done with each, and how a refusal or a bug puts it back.

Used by what writes or reads one object at a time on a thread of its own: profiles' status, profiles that count again, engines' logs.
Knows no kind of object.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from plimsoll_operator.controller.loops.quarantine import Border, Bug, Unit, no_border
from plimsoll_operator.controller.loops.work_queue import WorkQueue
from plimsoll_operator.errors import ApiFailure

_log = logging.getLogger(__name__)
_K = TypeVar("_K", bound=Hashable)


class KeyLoop(Generic[_K]):
    """`act` does a key's work. It is through with it unless it calls `retry` for it.

    What the API server refuses is tried again with growing waits, and logged as `what` of the key's `name`; so is a bug, unless `on_bug`
    sees to it. `group`: keys that take turns with others. `clock` is monotonic seconds.
    """

    def __init__(
        self,
        act: Callable[[_K], None],
        *,
        clock: Callable[[], float],
        unit: Unit,
        what: str,
        name: Callable[[_K], str],
        group: Callable[[_K], Hashable],
        border: Border = no_border,
        on_bug: Callable[[_K, Bug], None] | None = None,
    ) -> None:
        self._act = act
        self._unit = unit
        self._what = what
        self._name = name
        self._border = border
        self._queue: WorkQueue[_K] = WorkQueue(clock, group=group)
        self._on_bug = on_bug
        self._put_back: set[_K] = set()  # of the keys at hand; nobody else is at one of them

    def add(self, key: _K) -> None:
        """The key is due now."""
        self._queue.add(key)

    def retry(self, key: _K, *, not_before: float | None = None) -> float:
        """Put the key back, as WorkQueue.retry does."""
        self._put_back.add(key)
        return self._queue.retry(key, not_before=not_before)

    def run(self, stop: threading.Event) -> None:
        """One key after the other, until stopped."""
        while not stop.is_set():
            self.run_once(1.0)

    def run_once(self, timeout_seconds: float) -> bool:
        """The next key; False when there was none within the time."""
        key = self._queue.take(timeout_seconds)
        if key is None:
            return False
        try:
            with self._border(self._unit, self._name(key)) as attempt:
                self._act(key)
                if key not in self._put_back:
                    self._queue.succeeded(key)
            if attempt.bug is not None:
                self._set_aside(key, attempt.bug)
        except ApiFailure as failure:
            delay = self._queue.retry(key, not_before=failure.retry_after_seconds)
            _log.warning("%s %s: %s; again in %.1f s", self._what, self._name(key), failure, delay)
        finally:
            self._put_back.discard(key)
            self._queue.done(key)
        return True

    def _set_aside(self, key: _K, bug: Bug) -> None:
        if self._on_bug is None:
            self._queue.retry(key)
        else:
            self._on_bug(key, bug)
