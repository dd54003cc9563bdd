"""How long a request of kopf's watcher waits before it is sent, so that an API server that goes wrong is not asked all day long.

kopf begins a watch anew at once when one has ended, and lists anew after a tenth of a second where the version was too old:
hundreds of requests a second where each watch ends at once. The watcher asks here before each request. Knows no HTTP.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from plimsoll_operator.backoff import FORGET_SECONDS, SHORTEST_WATCH_SECONDS, Backoff


class Pace:
    """Of one watcher. `clock` is monotonic seconds, `chance` spreads what many do at once."""

    def __init__(self, clock: Callable[[], float], *, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._chance = chance
        self._backoff = Backoff(clock, chance=chance)
        self._watch_at = self._list_at = float("-inf")

    def before(self, query: Mapping[str, str]) -> float:
        """Seconds to wait before the request with this query: a watch, a list's first page, or one that follows it."""
        now = self._clock()
        if "watch" in query:
            wait = max(0.0, self._watch_at + SHORTEST_WATCH_SECONDS * (1.0 + self._chance()) - now)
            self._watch_at = now + wait
            return wait
        if query.get("continue"):
            return 0.0
        # A list is asked for at the start, and again where the watch that follows it has failed.
        wait = self._backoff.pause() if now - self._list_at < FORGET_SECONDS else 0.0
        self._list_at = now + wait
        return wait
