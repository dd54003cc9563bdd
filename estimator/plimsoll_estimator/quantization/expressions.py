"""Regular expressions of module names, read into the sequences that `patterns` runs. Python's syntax, as far as it can be run so.

Called by `names`. Names are matched from their start, as vLLM matches them. What sequences of characters cannot say (lookaround,
backreferences, repeated groups, word edges, flags) is refused by name, never approximated. Runs nothing itself.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from plimsoll_estimator.quantization.patterns import CLASSES, DOT, MOST_ITEMS, Alternative, Characters, Item, Unmatchable, literal

_MOST_WORK: Final = 16 * MOST_ITEMS
_DEEPEST: Final = 16
_QUANTIFIER: Final = re.compile(r"[*+?]|\{([0-9]+)\}|\{([0-9]*),([0-9]*)\}")
_MOST_DIGITS: Final = 9
_NAMED_GROUP: Final = re.compile(r"\?P<[A-Za-z_]\w{0,99}>")
_GROUP_KIND: Final = re.compile(r"\?(?:<[=!]|P=|.)")
_CONTROL: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Malformed(ValueError):
    """No regular expression at all: Python's `re`, which vLLM asks, refuses it too."""


class Anchor(NamedTuple):
    """`^` or `$`: no character, the place must be the start or the end."""

    start: bool


Sequence = list[Item | Anchor]


def expression(text: str) -> tuple[Alternative, ...]:
    """The alternatives of a regular expression that is matched from a name's start. Raises Unmatchable, Malformed."""
    parser = _Parser(text)
    found = parser.alternatives(0)
    if parser.at < len(text):
        raise Malformed("unbalanced parenthesis")
    return tuple(_settled(sequence) for sequence in found)


def _settled(sequence: Sequence) -> Alternative:
    """Without anchors, which may only stand where they change nothing but the end; and without a tail that may be absent."""
    items = list(sequence)
    while items and items[0] == Anchor(start=True):
        del items[0]
    ends = False
    while items and items[-1] == Anchor(start=False):
        ends = True
        del items[-1]
    kept = [item for item in items if isinstance(item, Item)]
    if len(kept) < len(items):
        raise Unmatchable("^ or $ stands inside it")
    while kept and not ends and kept[-1].times != "once":
        del kept[-1]
    return Alternative(tuple(kept), ends)


class _Parser:
    """One regular expression in Python's syntax, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._items = 0
        self.at = 0

    def _peek(self) -> str:
        return self._text[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise Malformed("it ends too early")
        self.at += 1
        return char

    def alternatives(self, depth: int) -> list[Sequence]:
        """Up to the end of the pattern or of the group."""
        if depth > _DEEPEST:
            raise Unmatchable(f"groups are nested more than {_DEEPEST} deep")
        found = self._sequence(depth)
        while self._peek() == "|":
            self.at += 1
            found += self._sequence(depth)
        return found

    def _sequence(self, depth: int) -> list[Sequence]:
        found: list[Sequence] = [[]]
        while (char := self._peek()) and char not in "|)":
            found = self._joined(found, self._repeated(self._atom(depth)))
        return found

    def _joined(self, heads: list[Sequence], tails: list[Sequence]) -> list[Sequence]:
        """Each head with each tail: what they would take is known before it is made."""
        self._spend(len(heads) * sum(len(tail) + 1 for tail in tails))
        if len(tails) == 1:
            for head in heads:
                head += tails[0]
            return heads
        self._spend(len(tails) * sum(map(len, heads)))
        return [head + tail for head in heads for tail in tails]

    def _spend(self, items: int) -> None:
        self._items += items
        if self._items > _MOST_WORK:
            raise Unmatchable("it is too long, or has too many alternatives")

    def _atom(self, depth: int) -> list[Sequence]:
        char = self._take()
        if char == "(":
            return self._group(depth)
        if char in "*+?":
            raise Malformed("nothing to repeat")
        if char in "^$":
            return [[Anchor(start=char == "^")]]
        if char == "[":
            return [[Item(self._class())]]
        if char == ".":
            return [[Item(DOT)]]
        if char == "\\":
            return [[self._escape()]]
        return [[Item(literal(char))]]

    def _group(self, depth: int) -> list[Sequence]:
        if self._peek() == "?":
            named = _NAMED_GROUP.match(self._text, self.at)
            if self._text.startswith("?:", self.at):
                self.at += 2
            elif named is not None:
                self.at = named.end()
            else:
                kind = _GROUP_KIND.match(self._text, self.at)
                raise Unmatchable(f"({kind[0] if kind else '?'} is no plain group")
        found = self.alternatives(depth + 1)
        if self._peek() != ")":
            raise Malformed("missing ), unterminated group")
        self.at += 1
        return found

    def _escape(self) -> Item | Anchor:
        char = self._take()
        if char.lower() in CLASSES:
            return Item(Characters(classes=frozenset(char)))
        if char == "Z":
            return Anchor(start=False)
        if char == "A":
            return Anchor(start=True)
        return Item(literal(self._literal(char)))

    def _literal(self, char: str) -> str:
        if char in _CONTROL:
            return _CONTROL[char]
        if char.isascii() and char.isalnum():
            raise Unmatchable(f"\\{char} is no plain character")
        return char

    def _class(self) -> Characters:
        others = self._peek() == "^"
        self.at += others
        listed: set[str] = set()
        ranges: list[tuple[str, str]] = []
        classes: set[str] = set()
        first = True
        while (char := self._take()) != "]" or first:
            first = False
            low = self._member(char, classes)
            if self._peek() != "-" or self._text[self.at + 1 : self.at + 2] in ("]", ""):
                listed.update(low)
                continue
            self.at += 1
            high = self._member(self._take(), classes)
            if not low or not high or low > high:
                raise Malformed("bad character range")
            ranges.append((low, high))
        return Characters(frozenset(listed), tuple(ranges), frozenset(classes), others)

    def _member(self, char: str, classes: set[str]) -> str:
        """The character that is meant, or nothing where it is a class."""
        if char != "\\":
            return char
        escaped = self._take()
        if escaped.lower() in CLASSES:
            classes.add(escaped)
            return ""
        return self._literal(escaped)

    def _repeated(self, atoms: list[Sequence]) -> list[Sequence]:
        match = _QUANTIFIER.match(self._text, self.at)
        if match is None:
            return atoms
        self.at = match.end()
        least, most = _bounds(match)
        following = self._peek()
        if following == "?":
            self.at += 1  # lazy or greedy: whether it matches at all is the same
        elif following == "+":
            raise Unmatchable("a possessive repeat gives nothing back")
        if _QUANTIFIER.match(self._text, self.at) is not None:
            raise Malformed("multiple repeat")
        if most is not None and most < least:
            raise Malformed("min repeat greater than max repeat")
        if (least, most) == (0, 1):
            return [self._optional(atoms[0])] if len(atoms) == 1 and len(atoms[0]) == 1 else [*atoms, []]
        if (least, most) == (1, 1):
            return atoms
        characters = _single(atoms)
        count = least + (1 if most is None else most - least)
        self._spend(count)
        sequence: Sequence = [Item(characters)] * least
        sequence += [Item(characters, "any")] if most is None else [Item(characters, "maybe")] * (most - least)
        return [sequence]

    @staticmethod
    def _optional(sequence: Sequence) -> Sequence:
        item = sequence[0]
        if isinstance(item, Anchor):
            return []
        return [item if item.times == "any" else Item(item.characters, "maybe")]


def _bounds(match: re.Match[str]) -> tuple[int, int | None]:
    if len(match[0]) > 2 * _MOST_DIGITS:
        raise Unmatchable("it repeats too often")
    exactly, least, most = match.groups()
    if exactly is not None:
        return int(exactly), int(exactly)
    if least is not None:
        return int(least or 0), int(most) if most else None
    return {"*": (0, None), "+": (1, None), "?": (0, 1)}[match[0]]


def _single(atoms: list[Sequence]) -> Characters:
    """The characters of what is repeated: one place, in whichever alternative."""
    items = [sequence[0] for sequence in atoms if len(sequence) == 1]
    found = [item.characters for item in items if isinstance(item, Item) and item.times == "once"]
    if len(found) < len(atoms) or (len(found) > 1 and any(one.others for one in found)):
        raise Unmatchable("a group of several characters is repeated")
    if len(found) == 1:
        return found[0]
    return Characters(
        frozenset().union(*(one.listed for one in found)),
        tuple(pair for one in found for pair in one.ranges),
        frozenset().union(*(one.classes for one in found)),
    )
