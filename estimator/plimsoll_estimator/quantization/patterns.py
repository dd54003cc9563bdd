"""Patterns of module names, matched without backtracking: all of a list in one pass over the name.

Called by `names`. A pattern is a few sequences of characters that occur once, at most once, or any number of times; `expressions`
reads regular expressions so, `glob` shell patterns. All sequences of a list run side by side as the bits of one whole number: a name
costs one pass over its characters, whatever the patterns are. Knows no checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

MOST_ITEMS: Final = 1 << 13
"""Characters of all sequences of one list. Published lists have a few hundred."""
_MOST_CHARACTERS: Final = 192
"""Different characters and sets of characters in one list, and characters of names that are remembered."""


class Unmatchable(ValueError):
    """A pattern that is not run: what it holds has no place in a sequence of characters, or there is too much of it."""


@dataclass(frozen=True, slots=True)
class Characters:
    """A set of characters: those listed, those in ranges, those of classes; or all others."""

    listed: frozenset[str] = frozenset()
    ranges: tuple[tuple[str, str], ...] = ()
    classes: frozenset[str] = frozenset()
    others: bool = False

    @property
    def several(self) -> bool:
        """More than one character, or one that has to be looked for."""
        return self.others or bool(self.ranges or self.classes) or len(self.listed) != 1

    def __contains__(self, char: str) -> bool:
        found = (
            char in self.listed
            or any(low <= char <= high for low, high in self.ranges)
            or any(CLASSES[name.lower()](char) is name.islower() for name in self.classes)
        )
        return found is not self.others


@lru_cache(maxsize=512)
def literal(char: str) -> Characters:
    """One character alone."""
    return Characters(frozenset(char))


CLASSES: Final[dict[str, Callable[[str], bool]]] = {
    "d": str.isdecimal,
    "s": str.isspace,
    "w": lambda char: char.isalnum() or char == "_",
}
ANY: Final = Characters(others=True)
DOT: Final = Characters(listed=frozenset("\n"), others=True)
Times = Literal["once", "maybe", "any"]
"""How often the characters of an item occur in a row: once, at most once, any number of times."""


class Item(NamedTuple):
    """Characters of one place of a sequence."""

    characters: Characters
    times: Times = "once"


class Alternative(NamedTuple):
    """One sequence, and whether the name must end with it."""

    items: tuple[Item, ...]
    ends: bool


def glob(text: str) -> Alternative:
    """A whole name in the shell's way (fnmatch): * any characters, ? one, [...] one of these, [!...] one of the others."""
    items: list[Item] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            if not items or items[-1] != (ANY, "any"):
                items.append(Item(ANY, "any"))
        elif char == "?":
            items.append(Item(ANY))
        elif char == "[" and (close := text.find("]", at + (text[at : at + 1] == "!") + 1)) >= 0:
            items.append(Item(_listed(text[at:close])))
            at = close + 1
        else:
            items.append(Item(literal(char)))
    if len(items) > MOST_ITEMS:
        raise Unmatchable("it is too long")
    return Alternative(tuple(items), ends=True)


def _listed(inner: str) -> Characters:
    """What stands between the brackets of a glob, where a hyphen between two characters makes a range."""
    others = inner.startswith("!")
    rest = inner[1:] if others else inner
    listed: set[str] = set()
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(rest):
        if rest[at + 1 : at + 2] == "-" and at + 2 < len(rest):
            ranges.append((rest[at], rest[at + 2]))
            at += 3
        else:
            listed.add(rest[at])
            at += 1
    return Characters(frozenset(listed), tuple(ranges), others=others)


class Machine:
    """All alternatives of a list at once, each place of each sequence a bit: set where the characters read so far lead up to it.

    A character moves the bits whose place takes it one place on, and keeps those whose place takes it any number of times; places
    that may be absent are then passed by a carry that runs through them. Shift-And with optional and repeatable characters: Navarro
    and Raffinot, Flexible Pattern Matching in Strings (2002), chapter 4.
    """

    __slots__ = ("_anywhere", "_at_end", "_optional", "_sets", "_start", "_tables", "size")

    def __init__(self, alternatives: Iterable[Alternative]) -> None:
        steps: dict[Characters, list[int]] = {}
        loops: dict[Characters, list[int]] = {}
        optional: list[int] = []
        starts: list[int] = []
        finals: tuple[list[int], list[int]] = ([], [])
        at = 0
        for items, ends in dict.fromkeys(alternatives):
            starts.append(at)
            for one, times in items:
                (loops if times == "any" else steps).setdefault(one, []).append(at)
                if times != "once":
                    optional.append(at)
                at += 1
            finals[ends].append(at)
            at += 1
        self.size = at
        self._optional = _bits(optional, at)
        self._anywhere, self._at_end = (_bits(places, at) for places in finals)
        characters = dict.fromkeys([*steps, *loops])
        if len(characters) > _MOST_CHARACTERS:
            raise Unmatchable("the patterns have too many different characters")
        masks = {one: (_bits(steps.get(one, []), at), _bits(loops.get(one, []), at)) for one in characters}
        self._tables: dict[str, tuple[int, int]] = {}
        self._sets = [(one, *found) for one, found in masks.items() if one.several]
        for one, found in masks.items():
            for char in () if one.several else one.listed:
                self._tables[char] = self._with_sets(char, found)
        self._start = self._passed(_bits(starts, at))

    def _passed(self, places: int) -> int:
        """With the places behind those that may be absent: adding a bit to a run of ones carries through to the run's end."""
        optional = self._optional
        return places | (((places & optional) + optional) ^ optional)

    def _with_sets(self, char: str, found: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Where a character steps and where it loops: at places of its own, and of the sets that it is in."""
        steps, loops = found
        for characters, stepping, looping in self._sets:
            if char in characters:
                steps |= stepping
                loops |= looping
        return steps, loops

    def _table(self, char: str) -> tuple[int, int]:
        found = self._tables.get(char)
        if found is None:
            found = self._with_sets(char)
            if len(self._tables) < 2 * _MOST_CHARACTERS:
                self._tables[char] = found
        return found

    def run(self, text: str, places: int | None = None) -> int:
        """The places reached from `places` (the start) by the characters of `text`; those of names that matched already stay."""
        here = self._start if places is None else places
        anywhere = self._anywhere
        for char in text:
            steps, loops = self._table(char)
            here = self._passed(((here & steps) << 1) | (here & loops) | (here & anywhere))
            if not here:
                break
        return here

    def accepts(self, places: int) -> bool:
        """Whether a name that ends here is matched."""
        return places & (self._anywhere | self._at_end) != 0


def _bits(places: list[int], size: int) -> int:
    """A whole number with these bits set, made in one go."""
    found = bytearray(size // 8 + 1)
    for place in places:
        found[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(found, "little")
