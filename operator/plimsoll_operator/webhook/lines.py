"""Who waits for a turn to be judged: a line for each namespace, and who is turned away where there is no place.

Kept by the workers. A namespace has a share of the places and of the bytes, and a full house is evened out: whoever comes from a
namespace that has less in it takes the place of the last one of the namespace that has most. Knows no threads, no time, no reviews.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias


class Busy(Exception):
    """So many reviews wait that this one would not have its turn in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBounds:
    """How many may wait, and how many bytes of bodies they may hold: all together, and those of one namespace."""

    most: int = 256
    most_bytes: int = 16 << 20
    of_one: int = 64
    of_one_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One that waits, or has its turn: `size` is that of its body in bytes."""

    namespace: str
    size: int


_Line: TypeAlias = Sequence[Place]
_Measure: TypeAlias = Callable[[_Line], int]


def _bytes(line: _Line) -> int:
    return sum(place.size for place in line)


_MEASURES: Final[tuple[_Measure, _Measure]] = (len, _bytes)


class Lines:
    """The lines in the order of their namespaces' turns: the one that has had a turn goes to the end."""

    def __init__(self, bounds: LineBounds) -> None:
        self._bounds = bounds
        self._lines: OrderedDict[str, list[Place]] = OrderedDict()

    def of(self, namespace: str) -> int:
        """How many of this namespace wait."""
        return len(self._lines.get(namespace, ()))

    def join(self, place: Place) -> tuple[Place, ...]:
        """Wait. Who had to make room for it waits no more and is returned; raises Busy where it has no place itself."""
        out = _pushed_out(place, self._lines, self._bounds)
        for one in out:
            self.leave(one)
        self._lines.setdefault(place.namespace, []).append(place)
        return out

    def leave(self, place: Place) -> None:
        """Wait no more."""
        line = self._lines[place.namespace]
        line.remove(place)
        if not line:
            del self._lines[place.namespace]

    def next(self, has_room: Callable[[Place], bool]) -> Place | None:
        """Who has the next turn among the first of each line, and waits no more; None where there is room for none."""
        found = next((line[0] for line in self._lines.values() if has_room(line[0])), None)
        if found is not None:
            self._lines.move_to_end(found.namespace)
            self.leave(found)
        return found


def _pushed_out(place: Place, lines: Mapping[str, _Line], bounds: LineBounds) -> tuple[Place, ...]:
    """Who makes room: always the last of the line that has most of what is short, if that leaves it no less than the newcomer's."""
    own = [*lines.get(place.namespace, ()), place]
    if len(own) > bounds.of_one or (len(own) > 1 and _bytes(own) > bounds.of_one_bytes):
        raise Busy
    rest = {name: list(line) for name, line in lines.items() if name != place.namespace}
    out: list[Place] = []
    for measure, most in zip(_MEASURES, (bounds.most, bounds.most_bytes), strict=True):
        while rest and measure(own) + sum(map(measure, rest.values())) > most:
            longest = max(reversed(rest.values()), key=measure)
            if measure(longest) <= measure(own):
                raise Busy
            out.append(longest.pop())
            if not longest:
                rest = {name: line for name, line in rest.items() if line}
    if len(own) > bounds.most:
        raise Busy
    return tuple(out)
