"""Long lists in which few objects stand often, as the layers of a model do: told apart by the object, not by comparing values.

Used by whoever goes through all layers (a config may have 2,048). Knows nothing of what the objects are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import is_
from typing import TypeVar

One = TypeVar("One")
Found = TypeVar("Found")


def uniform(things: Sequence[object]) -> bool:
    """Whether all are one object, as in most models; true of none."""
    return not things or all(map(is_, things, repeat(things[0])))


def by_object(things: Sequence[One]) -> dict[int, One]:
    """Every object once by its id, in order of appearance."""
    if uniform(things):
        return {id(thing): thing for thing in things[:1]}
    return {id(thing): thing for thing in things}


def numbered(things: Sequence[One]) -> tuple[tuple[One, ...], tuple[int, ...]]:
    """Every object once, in order of appearance, and for each of the things the number of its object among these."""
    if uniform(things):
        return tuple(things[:1]), (0,) * len(things)
    once: list[One] = []
    order: list[int] = []
    numbers: dict[int, int] = {}
    last, number = None, 0
    for thing in things:
        if thing is not last:
            last, number = thing, numbers.setdefault(id(thing), len(once))
            if number == len(once):
                once.append(thing)
        order.append(number)
    return tuple(once), tuple(order)


def for_each(things: Sequence[One], found: Mapping[int, Found]) -> tuple[Found, ...]:
    """What `found`, which has all their objects, has for each of the things by its id. One entry: all are that object."""
    if len(found) == 1:
        return tuple(found.values()) * len(things)
    return tuple([found[id(thing)] for thing in things])
