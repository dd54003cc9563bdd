"""How a frozen dataclass of ours is recorded: shown in status, read back from it and digested, as its own fields say.

A field says its type, bounds, default and meaning where it is declared. One that is added later says nothing else: it has a default,
and a record without the field (an annotation or a status that an earlier release wrote) means that default, so status shows the field
and the digest counts it only where it says something else. Whatever is recorded otherwise says so with `Recorded` or `As`. The plan is
recorded so (`api.plan`). Knows no field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, create_model

from plimsoll_operator.api.base import StatusModel

S = TypeVar("S", bound=StatusModel)
M = TypeVar("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What is special about a field, in its `Annotated`.

    `name` is that of status where it differs. `required`: every status has it. `absent`: the default in the schema of status; None where
    it has none. `always`: status shows it though it says no more than its default. `in_digest`: True always, False never, None where it
    says something else than its default, and always without one.
    """

    name: str = ""
    required: bool = False
    absent: object = None
    always: bool = False
    in_digest: bool | None = None


@dataclass(frozen=True, slots=True)
class As:
    """The type in which status shows values of this type, and how the one becomes the other; the same type where this is missing."""

    kind: Any
    show: Callable[[Any], Any] = lambda value: value
    read: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One field as it is recorded."""

    name: str
    default: Any
    kind: Any
    to: As
    said: Recorded

    @property
    def shown_name(self) -> str:
        return self.said.name or self.name

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING

    def says_something(self, value: object) -> bool:
        return not self.has_default or value != self.default

    def counts(self, value: object) -> bool:
        return self.says_something(value) if self.said.in_digest is None else self.said.in_digest

    def declared(self, description: str) -> tuple[Any, Any]:
        """The field of status, as pydantic takes it."""
        if self.said.required:
            return self.kind, Field(description=description)
        if self.said.absent is not None:
            return self.kind, Field(default=self.said.absent, description=description)
        return self.kind | None, Field(default=None, description=description)


def status_of(kind: Any) -> Callable[[type[S]], type[S]]:
    """Decorator: the class with a field for each of the dataclass `kind`, before its own. Docstrings of fields become descriptions."""
    described = adapter(kind).json_schema()["properties"]
    declared: dict[str, Any] = {row.shown_name: row.declared(described[row.name]["description"]) for row in _rows(kind)}
    made: type[Any] = create_model(f"{kind.__name__}Fields", __base__=StatusModel, **declared)

    def decorate(own: type[S]) -> type[S]:
        return create_model(own.__name__, __base__=(own, made), __doc__=own.__doc__, __module__=own.__module__)

    return decorate


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Reads a dataclass from JSON, and knows its schema. Made once of each: it takes milliseconds."""
    return TypeAdapter(kind)


def shown(value: Any) -> dict[str, Any]:
    """Fields of status, by name, from those of a dataclass."""
    values = ((row, getattr(value, row.name)) for row in _rows(value.__class__))
    return {row.shown_name: row.to.show(held) for row, held in values if row.said.always or row.says_something(held)}


def read_back(kind: Any, status: StatusModel) -> dict[str, Any]:
    """What a status shows of a `kind`, by field, in JSON's types. One that it lacks is left out where `kind` has a default, else None."""
    values = ((row, getattr(status, row.shown_name)) for row in _rows(kind))
    return {row.name: None if held is None else row.to.read(held) for row, held in values if held is not None or not row.has_default}


def digested(value: Any) -> dict[str, Any]:
    """What of a dataclass its digest is made of, by field."""
    held = ((row, getattr(value, row.name)) for row in _rows(value.__class__))
    return {
        row.name: asdict(found) if is_dataclass(found) and not isinstance(found, type) else found
        for row, found in held
        if row.counts(found)
    }


def marked(hint: object, kind: type[M]) -> tuple[M, ...]:
    """What an annotation says beside its type, of one kind."""
    return tuple(mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, kind))


@cache
def _rows(kind: type[Any]) -> tuple[_Row, ...]:
    hints: Mapping[str, Any] = get_type_hints(kind, include_extras=True)
    return tuple(_row(field.name, hints[field.name], field.default) for field in fields(kind))


def _row(name: str, hint: Any, default: object) -> _Row:
    (to,) = marked(hint, As) or (As(hint),)
    (said,) = marked(hint, Recorded) or (Recorded(),)
    return _Row(name=name, default=default, kind=to.kind, to=to, said=said)
