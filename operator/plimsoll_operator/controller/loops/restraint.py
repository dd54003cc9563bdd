"""How many of the leader's workers ask the API server at once: all of them, until it says that it has too much to do.

One restraint over all keys: an API server that refuses one request for load (429, or 503 with a time to come back) is not helped by seven
others that find out for themselves. Then nobody asks until that time, or a pause that doubles with each refusal in a row; after it one
worker does, and with each look that is answered one more, up to all. Asked by the workers around each key. Makes no request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from plimsoll_operator.errors import ApiFailure

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0
"""Of our own; the API server may ask for more, which is bounded where it is read."""


class Restraint:
    """Thread-safe. `clock` is monotonic seconds, `most` are the workers there are."""

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        self._clock = clock
        self._most = most
        self._condition = threading.Condition()
        self._allowed = most
        self._inside = 0
        self._until = 0.0
        self._pause = FIRST_SECONDS

    def enter(self, timeout_seconds: float) -> bool:
        """Wait for one's turn, at most so long. Whoever is let in calls leave afterwards, always."""
        deadline = self._clock() + timeout_seconds
        with self._condition:
            while (wait := self._wait()) > 0.0:
                left = deadline - self._clock()
                if left <= 0.0:
                    return False
                self._condition.wait(min(wait, left))
            self._inside += 1
            return True

    def leave(self) -> None:
        """The worker is done with what it was let in for."""
        with self._condition:
            self._inside -= 1
            self._condition.notify()

    def refused(self, failure: ApiFailure) -> None:
        """A request was refused. What is refused for load keeps everybody out for a while."""
        asked = failure.retry_after_seconds
        if failure.status != HTTPStatus.TOO_MANY_REQUESTS and not (failure.status == HTTPStatus.SERVICE_UNAVAILABLE and asked):
            return
        with self._condition:
            now = self._clock()
            if now >= self._until:  # and not one more of those that were under way
                self._until = now + max(self._pause, asked or 0.0)
                self._pause = min(LONGEST_SECONDS, 2 * self._pause)
            else:
                self._until = max(self._until, now + (asked or 0.0))
            self._allowed = 1

    def answered(self) -> None:
        """A request was answered: looks that ask nothing say nothing of the API server."""
        with self._condition:
            if self._clock() < self._until:
                return  # it began before the refusal
            self._pause = FIRST_SECONDS
            self._allowed = min(self._most, self._allowed + 1)
            self._condition.notify()

    def _wait(self) -> float:
        """Seconds that nobody more may come in; while others have to leave first, until then."""
        pause = self._until - self._clock()
        if pause > 0.0:
            return pause
        return LONGEST_SECONDS if self._inside >= self._allowed else 0.0
