"""Which profiles of a namespace count: as many as its share holds, the oldest first. One rule, so that webhook and controller agree.

Both apply it to what they have heard of a namespace; it needs no order of arrival and no clock. What is over the share is there for
nobody until older ones go, and says so. Pure; knows no other namespace.
"""

from __future__ import annotations

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
