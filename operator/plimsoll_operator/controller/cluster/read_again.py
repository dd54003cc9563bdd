"""Reads profiles again that count again: they were over their namespace's share, and nothing but their names was kept.

Fed by the informer's callback, on a thread of every replica, so that a standby's caches are whole too. Namespaces take turns: one that
moves its share's end to and fro waits for its own. Knows no share's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.cluster.store import Parsed
from plimsoll_operator.controller.loops.key_loop import KeyLoop
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.ports import Key, Kube, Resource


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
        what = f"reading the {resource.kind} again"
        self.loop: KeyLoop[Key] = KeyLoop(
            self._read, clock=clock, unit=Unit.PROFILE, what=what, name="/".join, group=itemgetter(0), border=border
        )

    def add(self, keys: Iterable[Key]) -> None:
        """These count again."""
        for key in keys:
            self.loop.add(key)

    def _read(self, key: Key) -> None:
        awaited = self._parsed.awaited(key)
        if awaited is None:
            return  # over the share again, gone, or told of anew
        found = self._kube.get(self._resource, *key)
        # One that is gone says so itself.
        if found is not None and self._parsed.read_again(key, awaited, trim.shape(found)):
            self._told(key)
