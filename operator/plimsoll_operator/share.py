"""Which profiles of a namespace count: as many as its share holds, the oldest first. One rule, so that webhook and controller agree.

Both apply it to what they have heard of a namespace; it needs no order of arrival and no clock. What is over the share is there for
nobody until older ones go, and says so. Pure; knows no other namespace.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from plimsoll_operator.api import ModelProfile, Unreadable

MOST_PROFILES: Final = 256
MOST_BYTES: Final = 2 << 20
"""Of the configs' texts: what one namespace may have every process keep."""
_UNREADABLE_BYTES: Final = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class OverShare(Unreadable):
    """A profile that is over its namespace's share: known by name and age, its config not kept."""

    created: str
    size_bytes: int


Row = ModelProfile | Unreadable


def over_share(rows: Mapping[str, Row]) -> frozenset[str]:
    """Names of one namespace's profiles that do not count: all from the first one, in the order of age and name, that does not fit."""
    if len(rows) <= MOST_PROFILES and sum(map(_size, rows.values())) <= MOST_BYTES:
        return frozenset()
    held, left = set(), MOST_BYTES
    for name in nsmallest(MOST_PROFILES, rows, key=lambda name: (_created(rows[name]), name)):
        left -= _size(rows[name])
        if left < 0:
            break
        held.add(name)
    return frozenset(rows.keys() - held)


class Share:
    """The same rule kept up one change at a time: which of one namespace's profiles count, for whoever keeps no text of the others.

    A change looks at those that count, at most MOST_PROFILES, however many the namespace has; one that is younger than all of them
    and comes to a full share looks at none. Not thread-safe.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._ages: dict[str, str] = {}
        self._order: list[tuple[str, str]] = []
        self._counted: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether the namespace has any."""
        return bool(self._order)

    def counts(self, name: str) -> bool:
        """Whether it is within the share."""
        return name in self._counted

    def put(self, name: str, row: Row) -> tuple[frozenset[str], frozenset[str]]:
        """Take one in as it is now. Returns the names that counted and do no more, and those that count and did not."""
        was = self._forget(name)
        self._ages[name], self.sizes[name] = _created(row), _size(row)
        insort(self._order, (self._ages[name], name))
        return self._settle(name, min(was, self._place(name)))

    def drop(self, name: str) -> tuple[frozenset[str], frozenset[str]]:
        """One is gone. Returns as `put` does; the name itself counts no more."""
        return self._settle(name, self._forget(name))

    def _place(self, name: str) -> int:
        return bisect_left(self._order, (self._ages[name], name))

    def _forget(self, name: str) -> int:
        """Returns where it stood; behind all others where it did not."""
        if name not in self._ages:
            return len(self._order)
        place = self._place(name)
        del self._order[place], self._ages[name], self.sizes[name]
        return place

    def _settle(self, changed: str, place: int) -> tuple[frozenset[str], frozenset[str]]:
        """The share ends before the first that does not fit: what changes behind that one changes nothing."""
        before = self._counted
        if changed not in before and place > len(before):
            return frozenset(), frozenset()
        held, left = set(), MOST_BYTES
        for _, name in self._order[:MOST_PROFILES]:
            left -= self.sizes[name]
            if left < 0:
                break
            held.add(name)
        self._counted = frozenset(held)
        return before - self._counted, self._counted - before


def left_out(name: str, row: Row) -> OverShare:
    """What stays of a profile that is over the share."""
    if isinstance(row, OverShare):
        return row
    share = f"the namespace's share of {MOST_PROFILES} profiles and {MOST_BYTES >> 20} MiB of configs"
    problem = f"it is over {share}, in which the oldest go first: delete some that are not used"
    if isinstance(row, Unreadable):
        namespace, generation, model = row.namespace, row.generation, row.model
    else:
        namespace, generation, model = row.metadata.namespace, row.metadata.generation, row.spec.model
    return OverShare(
        kind="ModelProfile",
        namespace=namespace,
        name=name,
        generation=generation,
        problem=problem,
        model=model,
        created=_created(row),
        size_bytes=_size(row),
    )


def settled(rows: Mapping[str, Row]) -> tuple[dict[str, Row], Iterable[str]]:
    """The namespace's profiles with what is over the share left out, and the names of those that count again and are to be read anew."""
    over = over_share(rows)
    found = {name: left_out(name, row) if name in over else row for name, row in rows.items()}
    return found, [name for name, row in rows.items() if name not in over and isinstance(row, OverShare)]


def _created(row: Row) -> str:
    """When the API server says it was made; what cannot be read is as young as can be."""
    if isinstance(row, OverShare):
        return row.created
    return "~" if isinstance(row, Unreadable) else row.metadata.creation_timestamp or ""


def _size(row: Row) -> int:
    """Bytes that the config's text may take: one character beyond ASCII makes all of them as wide as the widest there are."""
    if isinstance(row, OverShare):
        return row.size_bytes
    if isinstance(row, Unreadable):
        return _UNREADABLE_BYTES
    return len(row.spec.config) * (1 if row.spec.config.isascii() else 4)
