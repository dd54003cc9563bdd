"""A manifest that somebody else's program understands, read without trust and kept account of: what was taken, and what nobody looked at.

Called by the translators. A `Part` is an object of the manifest, or one put together from several; whoever takes a field of it has the
`Ledger` write that down, and what is in the ledger of no one is found by `left` and told to the user. So a key that no translator knows
cannot vanish. What is carried over is judged afterwards, by the door of the API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_BRACKETS: Final = re.compile(r'[]["]')
_LONGEST_KEY: Final = 512
_DEEPEST: Final = 64
_MOST_VALUES: Final = 50_000
_MOST_CHARACTERS: Final = 3 << 19
"""etcd's largest request (1.5 MiB)."""
_SCALAR: Final = (str, int, float)


class Found(NamedTuple):
    """A value, and the path where it stands: as JSON has it, or parts that were put together."""

    value: Any
    path: str


def below(path: str, key: str) -> str:
    """The path of a field of the object at a path. Raises InvalidInput of a key that no object has."""
    if len(key) > _LONGEST_KEY:
        raise InvalidInput(path[:200] or "the file", len(key), f"characters of one key are more than {_LONGEST_KEY}")
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key) if _BRACKETS.search(key) else key}]"
    return f"{path}{key}" if not path or path.endswith(" ") else f"{path}.{key}"


@dataclass(slots=True)
class Ledger:
    """Which paths of a file's objects were taken, of the object that is imported and of those that belong to it."""

    taken: set[str] = field(default_factory=set)
    opened: dict[str, Manifest] = field(default_factory=dict)

    def open(self, document: Manifest) -> Part:
        """The object that is imported. Raises InvalidInput of one that is larger than any API server keeps."""
        _check_size(document)
        self.opened[""] = document
        return Part.of(document, "", self)

    def open_beside(self, document: Manifest) -> Part:
        """Another object of the file that belongs to it; its paths begin with kind and name. Raises InvalidInput as `open` does."""
        _check_size(document)
        path = f"{origin_of(document)}: "
        self.opened[path] = document
        return Part.of(document, path, self)

    def left(self) -> Iterator[str]:
        """Paths of what nobody took: where all of an object was passed over the object's, else those of its fields."""
        for path, document in self.opened.items():
            found, touched = self._left(document, path, 0)
            yield from found if touched else ()

    def _left(self, value: Any, path: str, depth: int) -> tuple[list[str], bool]:
        if path in self.taken or value is None:
            return [], path in self.taken
        rows: list[tuple[str, Any]] = []
        if depth < _DEEPEST and isinstance(value, Mapping):
            rows = [(below(path, str(key)), inner) for key, inner in value.items()]
        elif depth < _DEEPEST and isinstance(value, list):
            rows = [(f"{path}[{place}]", inner) for place, inner in enumerate(value)]
        found: list[str] = []
        touched = False
        for where, inner in rows:
            more, any_taken = self._left(inner, where, depth + 1)
            found += more
            touched = touched or any_taken
        return (found, True) if touched else ([path], False)


@dataclass(frozen=True, slots=True)
class Part:
    """An object, with the path of every field: the fields of one put together have those that they came from."""

    path: str
    ledger: Ledger
    fields: Mapping[str, Found]

    @staticmethod
    def of(value: Mapping[str, Any], path: str, ledger: Ledger) -> Part:
        """An object of the file."""
        return Part(path, ledger, {str(key): Found(inner, below(path, str(key))) for key, inner in value.items() if inner is not None})

    def with_fields(self, fields: Mapping[str, Found | None], path: str | None = None) -> Part:
        """The same with other fields; None leaves one out, which nobody has taken for that."""
        kept = {key: found for key, found in {**self.fields, **fields}.items() if found is not None}
        return replace(self, fields=kept, path=self.path if path is None else path)

    def at(self, key: str) -> str:
        """Where a field stands, or would."""
        return self.fields[key].path if key in self.fields else below(self.path, key)

    def has(self, key: str) -> bool:
        """Whether it has the field, which is not taken by that."""
        return key in self.fields

    def peek(self, key: str) -> Any:
        """The value as JSON has it, which is not taken by that; None of what is not there."""
        return _raw(self.fields[key].value, take=None) if key in self.fields else None

    def take(self, key: str) -> Any:
        """The value as JSON has it, with all that is in it."""
        if key not in self.fields:
            return None
        self.ledger.taken.add(self.fields[key].path)
        return _raw(self.fields[key].value, take=self.ledger)

    def take_all(self) -> Manifest:
        """All fields."""
        return {key: self.take(key) for key in self.fields}

    def part(self, *keys: str) -> Part:
        """The object below these keys, or an empty one. What is no object stays where it is."""
        made = self
        for key in keys:
            value = made.fields[key].value if key in made.fields else None
            if isinstance(value, Part):
                made = value
                continue
            if isinstance(value, Mapping) and not value:
                made.take(key)
            made = Part.of(value if isinstance(value, Mapping) else {}, made.at(key), self.ledger)
        return made

    def entries(self, key: str) -> list[Part]:
        """The objects of a list. What else is in it stays where it is."""
        found = self.fields.get(key)
        if found is None or not isinstance(found.value, list):
            return []
        if not found.value:
            self.take(key)
        return [
            one if isinstance(one, Part) else Part.of(one, f"{found.path}[{place}]", self.ledger)
            for place, one in enumerate(found.value)
            if isinstance(one, Part | Mapping)
        ]

    def text(self, key: str) -> str | None:
        """Text that says something, or None; a number is taken as it would be written. What is neither stays where it is."""
        found = text_of(self.peek(key))
        if found is not None or self.peek(key) == "":
            self.take(key)
        return found

    def whole(self, key: str) -> int | None:
        """A whole number, also where it is written as text. What is none stays where it is."""
        value = self.peek(key)
        if isinstance(value, bool) or not isinstance(value, int | str):
            return None
        written = str(value) if isinstance(value, str) or abs(value) < 1 << 31 else ""
        if not written.isdecimal() or len(written) > 9:
            return None
        self.take(key)
        return int(written)

    def truth(self, key: str) -> bool:
        """Whether a switch is on."""
        value = self.peek(key)
        if isinstance(value, bool):
            self.take(key)
        return value is True

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts, as `command` and `args` are. What is no text stays where it is."""
        found = self.fields.get(key)
        if found is None or not isinstance(found.value, list):
            return ()
        good = [isinstance(item, _SCALAR) and not isinstance(item, bool) for item in found.value]
        if all(good):
            self.take(key)
        for place, known in enumerate(good):
            if known:
                self.ledger.taken.add(f"{found.path}[{place}]")
        return tuple(str(item) for item, known in zip(found.value, good, strict=True) if known)

    def texts(self, key: str) -> dict[str, tuple[str, str]]:
        """A mapping of texts, as labels are: each with its path. What is no text stays where it is."""
        inner = self.part(key)
        return {name: (value, inner.at(name)) for name in inner.fields if (value := _label(inner, name)) is not None}


def _check_size(document: Manifest) -> None:
    values = characters = 0
    pending: list[Any] = [document]
    while pending:
        value = pending.pop()
        values += 1
        if isinstance(value, Mapping):
            characters += sum(len(str(key)) for key in value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        else:
            characters += len(value) if isinstance(value, str) else 8
        if values + len(pending) > _MOST_VALUES or characters > _MOST_CHARACTERS:
            limit = f"is more than {_MOST_VALUES} values, or {_MOST_CHARACTERS} characters, which no API server keeps in one object"
            raise InvalidInput(origin_of(document), None, limit)


def text_of(value: Any) -> str | None:
    """A text that says something, or a number as it would be written; None of anything else."""
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, _SCALAR) and value != "" else None


def mapping(value: Any, *keys: str) -> Manifest:
    """The object below these keys of what nobody accounts for, or an empty one."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def _label(part: Part, name: str) -> str | None:
    value = part.peek(name)
    if isinstance(value, bool) or not isinstance(value, _SCALAR):
        return None
    part.take(name)
    return str(value)


def _raw(value: Any, *, take: Ledger | None) -> Any:
    if isinstance(value, Part):
        return value.take_all() if take is not None else {key: value.peek(key) for key in value.fields}
    if isinstance(value, list) and any(isinstance(one, Part) for one in value):
        return [_raw(one, take=take) for one in value]
    return value


def origin_of(obj: Manifest) -> str:
    """An object by kind and name, for sentences."""
    return (
        " ".join(part for part in (text_of(obj.get("kind")), text_of(mapping(obj, "metadata").get("name"))) if part) or "a file of values"
    )


@dataclass(frozen=True, slots=True)
class Others:
    """The other objects of a file, by kind and name: a ConfigMap or a runtime may belong to the one that is imported."""

    by_name: Mapping[tuple[str, str], Manifest]

    @staticmethod
    def of(objects: Iterable[Manifest]) -> Others:
        """All of a file's; of two with one name the first."""
        found: dict[tuple[str, str], Manifest] = {}
        for obj in objects:
            name = text_of(mapping(obj, "metadata").get("name"))
            if name is not None and isinstance(obj.get("kind"), str):
                found.setdefault((obj["kind"], name), obj)
        return Others(found)

    def find(self, kinds: Iterable[str], name: object) -> Manifest | None:
        """The one of this name that is of one of the kinds, or None."""
        rows = (self.by_name.get((kind, str(name))) for kind in kinds) if isinstance(name, str) else ()
        return next((row for row in rows if row is not None), None)
