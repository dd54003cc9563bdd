"""What comes of one request that was written for something else: an InferenceDeployment on its way, and what is to be said about it.

Filled by a translator, closed by `finish`, which hands the manifest to the API's own door. What the API does not take is left out and
said, with the API's sentence and the field it came from: so a field that the API gets is carried over from then on. Knows no format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import ApiError, Cause, Manifest, parse_inference_deployment
from plimsoll_operator.api.inference_deployment import NAME_PATTERN
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.text import one_line

_MOST_ROUNDS: Final = 200
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
    choices: Choices = field(default_factory=Choices)
    _values: dict[str, tuple[str, Any]] = field(default_factory=dict)
    _lists: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)
    _notes: list[Note] = field(default_factory=list)

    def put(self, target: str, value: Any, source: str) -> None:
        """Set one field; None sets nothing."""
        if value is not None:
            self._values[target] = (source, value)

    def put_last(self, target: str, value: Any, source: str) -> None:
        """Set a field that several parts of a file may name. Of two that differ the one that is set last counts, and that is said."""
        before, earlier = self._values.get(target, (source, value))
        if value is not None and earlier != value:
            self.lost(before, f"{target} {earlier} is not carried over: {source} names another, {value}, which counts")
        self.put(target, value, source)

    def add(self, target: str, value: Any, source: str) -> None:
        """Add one entry to a list. Of two with one name the later one counts, as it does in a pod."""
        rows = self._lists.setdefault(target, [])
        if isinstance(value, dict) and "name" in value:
            rows[:] = [row for row in rows if row[1].get("name") != value["name"]]
        rows.append((source, value))

    def get(self, target: str) -> Any:
        """What was set, or None."""
        return self._values.get(target, ("", None))[1]

    def lost(self, source: str, message: str) -> None:
        """Say what is not carried over, and what to do about it."""
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
        for _ in range(_MOST_ROUNDS):
            try:
                parse_inference_deployment(self._manifest())
                break
            except ApiError as error:
                if not self._leave_out(error.causes):
                    raise InvalidInput(self.origin, None, str(error.causes[0])) from error
        else:
            raise InvalidInput(self.origin, None, f"holds more than {_MOST_ROUNDS} times what the API does not take")
        return Imported(origin=self.origin, manifest=self._manifest(), notes=tuple(dict.fromkeys(self._notes)))

    def _manifest(self) -> Manifest:
        made: Manifest = {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {}, "spec": {"model": {}}}
        rows = [(target, value) for target, (_, value) in self._values.items()]
        rows += [(target, [value for _, value in found]) for target, found in self._lists.items() if found]
        for target, value in sorted(rows, key=_order):
            *parents, last = target.split(".")
            inner = made
            for key in parents:
                inner = inner.setdefault(key, {})
            inner[last] = value
        return made

    def _leave_out(self, causes: tuple[Cause, ...]) -> bool:
        """Take out what the causes speak of, once each; whether anything was found to take out."""
        gone: set[tuple[str, int | None]] = set()
        for cause in causes:
            place = self._place(cause.field)
            if place is None or place in gone:
                continue
            gone.add(place)
            source = self._values[place[0]][0] if place[1] is None else self._lists[place[0]][place[1]][0]
            self.lost(source, f"is not carried over, {_of_the_api(place, cause)}")
        for target, at in sorted(gone, key=lambda row: (row[0], -1 if row[1] is None else row[1]), reverse=True):
            if at is None:
                del self._values[target]
            else:
                del self._lists[target][at]
        return bool(gone)

    def _place(self, path: str) -> tuple[str, int | None] | None:
        """Which value or entry of a list a path of the API lies in; None of what an InferenceDeployment cannot be without."""
        for target, rows in self._lists.items():
            if rows and (path == target or path.startswith(f"{target}[")):
                entry = _ENTRY.match(path, len(target))
                return target, min(int(entry[1]), len(rows) - 1) if entry else len(rows) - 1
        found = [target for target in self._values if path == target or path.startswith((f"{target}.", f"{target}["))]
        target = max(found, key=len, default="")
        return None if target == "" or target in _NEEDED else (target, None)


_SOURCES: Final = tuple(f"spec.model.source.{kind}" for kind in ("persistentVolumeClaim", "image", "objectStorage"))
_NEEDED: Final = frozenset({"metadata.name", "spec.model.name", "spec.engine.image", *_SOURCES})
"""Without a name there is no deployment, and without its source the hub's model of the same name would be served in its place."""


def _order(row: tuple[str, Any]) -> int:
    """Parts of the spec in the order in which people write them; what is in one part stays as it was put."""
    return next((place for place, part in enumerate(_PARTS) if row[0].startswith(part)), len(_PARTS))


def _of_the_api(place: tuple[str, int | None], cause: Cause) -> str:
    """The API's own sentence. A value is not shown: whose it is, nobody has asked."""
    at = f"{place[0]}[{place[1]}]" if place[1] is not None else place[0]
    inside = cause.field.removeprefix(at).lstrip(".")
    return one_line(f"as {place[0]} does not take it: {inside + ' ' if inside else ''}{cause.message}", 400)
