"""Which namespaces have lately held GPUs for pods that did not come: they stand behind the others for a while.

Called by the bookings; time is handed in. Counted in seconds, so that many short ones weigh as much as a long one, and forgotten
some time after the last. So no namespace's requests keep a pool from the rest for longer than one of them fails. Bounded: a namespace
without debts is not remembered.
"""

from __future__ import annotations

from typing import Final

FORGET_SECONDS: Final = 600.0
# A debt below this is what a slow API server makes of an honest booking.
TOLERATED_SECONDS: Final = 5.0
_MOST_RANKS: Final = 100


class Debts:
    """Seconds of GPUs that were booked in vain, by namespace. Not thread-safe."""

    def __init__(self) -> None:
        self._owed: dict[str, tuple[float, float]] = {}

    def add(self, namespace: str, seconds: float, now: float) -> None:
        """GPUs were held for so long for pods that did not come."""
        if seconds > 0:
            owed, at = self._owed.get(namespace, (0.0, now))
            self._owed[namespace] = (owed if now - at < FORGET_SECONDS else 0.0) + seconds, now

    def rank(self, namespace: str, now: float) -> int:
        """0 for whose pods come; the more is owed the later is its turn."""
        owed, at = self._owed.get(namespace, (0.0, now))
        return 0 if now - at >= FORGET_SECONDS else min(_MOST_RANKS, int(owed // TOLERATED_SECONDS))

    def forget(self, now: float) -> None:
        """Drop what is old enough."""
        for namespace, (_, at) in tuple(self._owed.items()):
            if now - at >= FORGET_SECONDS:
                del self._owed[namespace]
