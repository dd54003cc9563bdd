"""How long to wait before the API server is asked again: the back-off of client-go's reflector, and what Retry-After asks for.

Used by `reflector` for both list-and-watch caches, the webhook's and the controller's, and by the webhook for what it reads again.
Knows no HTTP client, makes no request and never sleeps: its callers do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 0.8
"""As in client-go: 800 ms, doubled with each failure, and up to as much again by chance so that not all come back at once."""
LONGEST_SECONDS: Final = 10.0
"""client-go waits up to 30 s. Here gated pods wait for news, and a dozen watches a process are no load: up to 10 s, 20 s by chance."""
FORGET_SECONDS: Final = 120.0
"""Two minutes without a failure forget those before, as in client-go."""
SHORTEST_WATCH_SECONDS: Final = 1.0
"""A watch is asked to last minutes. One that ends sooner than this without an event has failed, whatever its status said."""
LONGEST_ASKED_SECONDS: Final = 60.0
"""No answer keeps a cache from asking for longer than this."""
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class Backoff:
    """The pauses of one cache. Not thread-safe: a cache has one loop."""

    def __init__(self, clock: Callable[[], float], *, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._chance = chance
        self._next = FIRST_SECONDS
        self._failed_at: float | None = None

    def pause(self, asked_seconds: float | None = None) -> float:
        """Seconds to wait after a failure (410 too); never less than the server asked for, as far as that is bounded."""
        now = self._clock()
        if self._failed_at is not None and now - self._failed_at > FORGET_SECONDS:
            self._next = FIRST_SECONDS
        own = self._next * (1.0 + self._chance())
        self._next = min(LONGEST_SECONDS, 2 * self._next)
        wait = max(own, min(LONGEST_ASKED_SECONDS, asked_seconds or 0.0))
        self._failed_at = now + wait
        return wait

    def after_watch(self, *, lasted_seconds: float, events: int) -> float:
        """Seconds to wait before the watch after one that ended well: a server that ends each at once is not asked all day long."""
        if lasted_seconds >= SHORTEST_WATCH_SECONDS:
            return 0.0
        return SHORTEST_WATCH_SECONDS - max(0.0, lasted_seconds) if events else self.pause()


def retry_after_seconds(text: str | None) -> float | None:
    """What a Retry-After header asks for, in seconds: the API server's form. None where it says nothing, or a date."""
    return float(text) if text is not None and _SECONDS.fullmatch(text.strip()) else None
