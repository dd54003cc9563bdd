"""Reads profiles again that count again: they were over their namespace's share, and nothing but their names was kept.

Fed by the informer's callback, on a thread of every replica, so that a standby's caches are whole too. Namespaces take turns: one that
moves its share's end to and fro waits for its own. Knows no share's rule.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.cluster.store import Parsed
from plimsoll_operator.controller.quarantine import Border, Unit, no_border
from plimsoll_operator.controller.work_queue import WorkQueue
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import Key, Kube, Resource

_log = logging.getLogger(__name__)


class ReadAgain:
    """Of one kind. `told` hears of each object that has been read."""

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        parsed: Parsed[Any],
        told: Callable[[Key], None],
        *,
        clock: Callable[[], float],
        border: Border = no_border,
    ) -> None:
        self._kube = kube
        self._resource = resource
        self._parsed = parsed
        self._told = told
        self._border = border
        self._queue: WorkQueue[Key] = WorkQueue(clock, group=lambda key: key[0])

    def add(self, keys: Iterable[Key]) -> None:
        """These count again."""
        for key in keys:
            self._queue.add(key)

    def run(self, stop: threading.Event) -> None:
        """Read what counts again until stopped; what the API server refuses is tried again with growing waits."""
        while not stop.is_set():
            self.read_next(1.0)

    def read_next(self, timeout_seconds: float) -> bool:
        """Read the next one; False when there was none within the time."""
        key = self._queue.take(timeout_seconds)
        if key is None:
            return False
        try:
            with self._border(Unit.PROFILE, f"{key[0]}/{key[1]}") as attempt:
                self._read(key)
                self._queue.succeeded(key)
            if attempt.bug is not None:
                self._queue.retry(key)
        except ApiFailure as failure:
            delay = self._queue.retry(key, not_before=failure.retry_after_seconds)
            _log.warning("%s %s/%s is not read again yet: %s; again in %.1f s", self._resource.kind, *key, failure, delay)
        finally:
            self._queue.done(key)
        return True

    def _read(self, key: Key) -> None:
        awaited = self._parsed.awaited(key)
        if awaited is None:
            return  # over the share again, gone, or told of anew
        found = self._kube.get(self._resource, *key)
        # One that is gone says so itself.
        if found is not None and self._parsed.read_again(key, awaited, trim.shape(found)):
            self._told(key)
