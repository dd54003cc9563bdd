"""What comes of one request that was written for something else: an InferenceDeployment on its way, and what is to be said about it.

Filled by a translator, closed by `finish`, which hands the manifest to the API's own door. What the API does not take is left out and
said, with the API's sentence and the field it came from: so a field that the API gets is carried over from then on. Lists end where the
API's do, so that what is judged stays small whatever was read. Knows no format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import ApiError, Cause, Manifest, TemplateSpec, parse_inference_deployment
from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.inference_deployment import NAME_PATTERN, PlacementSpec
from plimsoll_operator.cli.importing.read import Ledger
from plimsoll_operator.cli.importing.secret_looks import secret_in, texts_in, without_secrets
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.text import one_line

_MOST_ROUNDS: Final = 200
_MOST_SECRETS: Final = 1000
_LONGEST_NAME: Final = 63
_PARTS: Final = ("metadata", "spec.model", "spec.replicas", "spec.engine.image", "spec.engine.version", "spec.engine", "spec.placement")
_ENTRY: Final = re.compile(r"\[([0-9]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing to know: the field it is about, as the file that was read has it, and a sentence that says what to do.

    `assumed`: something was put in that the file does not say; else something was not carried over.
    """

    field: str
    message: str
    assumed: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """An InferenceDeployment that the API takes, from what it was made, and what differs."""

    origin: str
    manifest: Manifest
    notes: tuple[Note, ...]

    @property
    def lost(self) -> tuple[Note, ...]:
        """What was not carried over."""
        return tuple(note for note in self.notes if not note.assumed)

    @property
    def assumed(self) -> tuple[Note, ...]:
        """What the file does not say."""
        return tuple(note for note in self.notes if note.assumed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user says beside the file: the image, where none is in it, and the release of vLLM, where no tag tells it."""

    image: str | None = None
    version: str | None = None


@dataclass(slots=True, kw_only=True)
class Draft:
    """One InferenceDeployment while it is put together. Values go in by the path of the API's field, with the path they came from."""

    origin: str
    ledger: Ledger
    root: str = ""
    """The part of the file that is this deployment's own, where others come of the same file."""
    choices: Choices = field(default_factory=Choices)
    secrets: set[str] = field(default_factory=set)
    """Values that were found to be secrets, and are copied from nowhere."""
    _values: dict[str, tuple[str, Any]] = field(default_factory=dict)
    _lists: dict[str, dict[object, tuple[str, Any]]] = field(default_factory=dict)
    _notes: list[Note] = field(default_factory=list)

    def put(self, target: str, value: Any, source: str) -> None:
        """Set one field; None sets nothing. Of two that differ the one that is set last counts, and that is said."""
        if value is None:
            return
        before, earlier = self._values.get(target, (source, value))
        if earlier != value:
            which = f"{target} {_brief(earlier)}"
            self.lost(before, f"{which} is not carried over: {source} names another, {_brief(value)}, which counts")
        self._values[target] = (source, value)

    def merge(self, target: str, key: str, value: Any, source: str) -> None:
        """Set one key of a field that is a mapping. Of two that differ the one that is set last counts, and that is said."""
        _, earlier = self._values.setdefault(target, (source, {}))
        if key in earlier and earlier[key] != value:
            self.lost(source, f"is not carried over before this one: {target} has one {key}, and the last counts")
        earlier[key] = value

    def add(self, target: str, value: Any, source: str) -> None:
        """Add one entry to a list. Of two with one name the later one counts, as in a pod; what the list is too short for is said."""
        rows = self._lists.setdefault(target, {})
        key = value["name"] if isinstance(value, dict) and isinstance(value.get("name"), str) else len(rows)
        before = rows.pop(key, None)
        if before is not None and before[1] != value:
            self.lost(before[0], f"is not carried over: {source} has the same name, and counts")
        if len(rows) >= _most_of(target):
            self.lost(source, f"is not carried over: {target} takes at most {_most_of(target)}")
            return
        rows[key] = (source, value)

    def entries(self, target: str) -> list[Any]:
        """What a list has so far."""
        return [value for _, value in self._lists.get(target, {}).values()]

    def secret(self, value: str) -> None:
        """Remember a value that was found to be one; of very many the first."""
        if len(self.secrets) < _MOST_SECRETS:
            self.secrets.add(value)

    def get(self, target: str) -> Any:
        """What was set, or None."""
        return self._values.get(target, ("", None))[1]

    def lost(self, source: str, message: str) -> None:
        """Say what is not carried over, and what to do about it."""
        self.ledger.taken.add(source)
        self._notes.append(Note(field=source, message=message))

    def lost_in(self, source: str, message: str) -> None:
        """The same of one thing among others that stand there, as an argument does: of the others nothing is said by that."""
        self._notes.append(Note(field=source, message=message))

    def assume(self, source: str, message: str) -> None:
        """Say what was put in that the file does not say."""
        self._notes.append(Note(field=source, message=message, assumed=True))

    def name(self, wanted: str, namespace: str | None, source: str) -> None:
        """The object's name, made into one that a Service can carry."""
        made = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")
        made = made if made[:1].isalpha() else f"vllm-{made}"
        made = made[:_LONGEST_NAME].rstrip("-")
        if made != wanted or not re.fullmatch(NAME_PATTERN, wanted):
            self.assume(source, f"the name is {made}: that of a Service, which the InferenceDeployment gets, has no other letters")
        self.put("metadata.name", made, source)
        self.put("metadata.namespace", namespace, source)

    def finish(self) -> Imported:
        """Judge what was put together. Raises InvalidInput where what is left makes no InferenceDeployment."""
        self._leave_out_what_must_not_be_copied()
        for _ in range(_MOST_ROUNDS):
            self._leave_out_dangling()
            try:
                parse_inference_deployment(self._manifest())
                break
            except ApiError as error:
                if not self._leave_out(error.causes):
                    raise InvalidInput(self.origin, None, str(error.causes[0])) from error
        else:
            raise InvalidInput(self.origin, None, f"holds more than {_MOST_ROUNDS} times what the API does not take")
        notes = (replace(note, message=without_secrets(note.message, self.secrets)) for note in self._notes)
        return Imported(origin=self.origin, manifest=self._manifest(), notes=tuple(dict.fromkeys(notes)))

    def _manifest(self) -> Manifest:
        made: Manifest = {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {}, "spec": {"model": {}}}
        rows = [(target, value) for target, (_, value) in self._values.items()]
        rows += [(target, [value for _, value in found.values()]) for target, found in self._lists.items() if found]
        for target, value in sorted(rows, key=_order):
            *parents, last = target.split(".")
            inner = made
            for key in parents:
                inner = inner.setdefault(key, {})
            inner[last] = value
        return made

    def _leave_out(self, causes: tuple[Cause, ...]) -> bool:
        """Take out what the causes speak of, once each; whether anything was found to take out."""
        places = {place: cause for cause in reversed(causes) if (place := self._place(cause.field)) is not None}
        for place, cause in places.items():
            self._drop(place, _of_the_api(self._shown(place), cause))
        return bool(places)

    def _leave_out_what_must_not_be_copied(self) -> None:
        """Whatever the text stands in: what shows a secret, or has the value of one, is not copied; nor is what no process can be given."""
        for place, value in self._all():
            said = list(texts_in(value))
            if any("\0" in one for one in said):
                self._drop(place, "a NUL character is in it, which no argument, variable or path can have")
                continue
            if any(secret_in(one) for one in said) or any(one in text for text in said for one in self.secrets if len(one) >= _SHORTEST):
                self._drop(place, "a secret stands in it, and none is copied: put it into a Secret and name that")

    def _leave_out_dangling(self) -> None:
        """Containers beside the engine that mount what is not there: the API takes them, and no pod would start."""
        there = {row.get("name") for row in self.entries(VOLUMES)}
        for target in ("spec.template.sidecars", "spec.template.initContainers"):
            for key, (_, row) in list(self._lists.get(target, {}).items()):
                missing = [one.get("name") for one in row.get("volumeMounts", ()) if one.get("name") not in there]
                if missing:
                    self._drop((target, key), f"it mounts {one_line(str(missing[0]), 63)}, which {VOLUMES} has not: give it another volume")

    def _all(self) -> list[tuple[_Place, Any]]:
        values: list[tuple[_Place, Any]] = [((target, None), value) for target, (_, value) in self._values.items()]
        return values + [((target, key), value) for target, rows in self._lists.items() for key, (_, value) in rows.items()]

    def _drop(self, place: _Place, why: str) -> None:
        target, key = place
        source, _ = self._values.pop(target) if key is None else self._lists[target].pop(key)
        if target in NEEDED:
            raise InvalidInput(source, None, f"cannot be left out, and {why}")
        self.lost(source, f"is not carried over, {why}")

    def _shown(self, place: _Place) -> tuple[str, int | None]:
        target, key = place
        return target, None if key is None else list(self._lists[target]).index(key)

    def _place(self, path: str) -> _Place | None:
        """Which value or entry of a list a path of the API lies in; None of what an InferenceDeployment cannot be without."""
        for target, rows in self._lists.items():
            if rows and (path == target or path.startswith(f"{target}[")):
                entry = _ENTRY.match(path, len(target))
                keys = list(rows)
                return target, keys[min(int(entry[1]), len(keys) - 1) if entry else len(keys) - 1]
        found = [target for target in self._values if path == target or path.startswith((f"{target}.", f"{target}["))]
        target = max(found, key=len, default="")
        return None if target == "" or target in NEEDED else (target, None)


_Place = tuple[str, object]
"""A value by its target, or an entry of a list by its key in it."""
VOLUMES: Final = "spec.template.volumes"
_SHORTEST: Final = 6
"""Shorter values of secrets stand in many a text that is none."""


def _brief(value: Any) -> str:
    return one_line(str(value), 80) if isinstance(value, str | int | float) else "with other values"


@cache
def _limits() -> Mapping[str, int]:
    kinds: dict[str, type[ApiModel]] = {"spec.template": TemplateSpec, "spec.placement": PlacementSpec}
    rows = {f"{path}.{field.alias or name}": field for path, kind in kinds.items() for name, field in kind.model_fields.items()}
    return {path: most for path, field in rows.items() for one in field.metadata if (most := getattr(one, "max_length", None)) is not None}


def _most_of(target: str) -> int:
    """How many entries the API takes in a list."""
    return _limits()[target]


_SOURCES: Final = tuple(f"spec.model.source.{kind}" for kind in ("persistentVolumeClaim", "image", "objectStorage"))
NEEDED: Final = frozenset({"metadata.name", "spec.model.name", "spec.engine.image", *_SOURCES})
"""Without a name there is no deployment, and without its source the hub's model of the same name would be served in its place."""


def _order(row: tuple[str, Any]) -> int:
    """Parts of the spec in the order in which people write them; what is in one part stays as it was put."""
    return next((place for place, part in enumerate(_PARTS) if row[0].startswith(part)), len(_PARTS))


def _of_the_api(place: tuple[str, int | None], cause: Cause) -> str:
    """The API's own sentence. A value is not shown: whose it is, nobody has asked."""
    at = f"{place[0]}[{place[1]}]" if place[1] is not None else place[0]
    inside = cause.field.removeprefix(at).lstrip(".")
    return one_line(f"as {place[0]} does not take it: {inside + ' ' if inside else ''}{cause.message}", 400)
