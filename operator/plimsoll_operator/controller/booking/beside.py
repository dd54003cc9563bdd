"""What pods may take at any moment beside those that bookings wait for: strangers without a node, and a rollout's surplus.

Held by the ledger, under its lock. Only what some node offers counts: a pod that asks for what nobody has takes nothing from anybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from plimsoll_operator.capacity.labels import GPU_RESOURCE_PREFIXES
from plimsoll_operator.capacity.tally import bump
from plimsoll_operator.controller.booking.bookings import Bookings
from plimsoll_operator.controller.booking.demand import PodShape
from plimsoll_operator.controller.booking.seen_pods import Contenders
from plimsoll_operator.ports import Key, Manifest


class Beside:
    """See the module. Keeps the bookings' own count of it up to date."""

    def __init__(self, bookings: Bookings) -> None:
        self._bookings = bookings
        self._contending: dict[tuple[str, Key], Contenders] = {}
        self._asked: dict[tuple[str, Key], Contenders] = {}
        self._offers: dict[Key, frozenset[str]] = {}
        self._offered: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many take or may take something."""
        return len(self._contending.keys() | self._asked.keys())

    def node_changed(self, key: Key, node: Manifest | None) -> None:
        """Keep what kinds of GPU nodes offer; pods that wait for one that was offered by none are counted from now on."""
        offers = frozenset(
            name for name in (node or {}).get("status", {}).get("allocatable") or () if name.startswith(GPU_RESOURCE_PREFIXES)
        )
        had = self._offers.pop(key, frozenset())
        if offers:
            self._offers[key] = offers
        if offers == had:
            return
        before = set(self._offered)
        for by, names in ((1, offers), (-1, had)):
            for name in names:
                bump(self._offered, name, by)
        if before != set(self._offered):
            for whose, contenders in tuple(self._asked.items()):
                self.contend(whose, contenders)

    def contend(self, whose: tuple[str, Key], contenders: Contenders) -> None:
        """What this pod, or this deployment's pods beyond the missing ones, may take at any moment: of what some node offers."""
        for shape, pods in self._contending.pop(whose, ()):
            self._bookings.contend_beside(shape, -pods)
        self._asked.pop(whose, None)
        if contenders:
            self._asked[whose] = contenders
        contenders = tuple((self._bookings.few(shape), pods) for shape, pods in contenders if shape.resource in self._offered)
        if contenders:
            self._contending[whose] = contenders
        for shape, pods in contenders:
            self._bookings.contend_beside(shape, pods)


def summed(contenders: Iterable[Contenders]) -> Contenders:
    """All of these, each kind of pod once."""
    total: Counter[PodShape] = Counter()
    for rows in contenders:
        total.update(dict(rows))
    return tuple(total.items())
