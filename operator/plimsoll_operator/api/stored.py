"""What the API server keeps, read by processes that may be older than it: objects, or what can still be said of one that cannot be read.

Called for every object of a watch or list, by webhook, controller and CLI alike. A field that only a newer release knows is passed
over; where the rest cannot be read either, the object does not vanish: it stays as `Unreadable`, and who relied on it says no.
The door for what a user writes is `parse`, which refuses unknown fields. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from plimsoll_operator.api.base import ApiModel, camel_path
from plimsoll_operator.api.inference_deployment import InferenceDeployment
from plimsoll_operator.api.parse import ApiError, known_fields, parse_object, parse_part
from plimsoll_operator.api.selector import LabelSelector
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.text import one_line

_MAX_NAME: Final = 253
_MAX_GENERATION: Final = 1 << 62
_MAX_MODEL: Final = 200
_MAX_PROBLEM: Final = 512
_MAX_SHOWN: Final = 64
MAX_UNKNOWN: Final = 8
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An object that is there and that this release cannot read. `problem` is the first fault, without a full stop.

    `selector` is that of a FitPolicy, None where it cannot be read or is absent: it may then hold for any namespace. `nodes` are the
    labels of the nodes that a GPUPool corrects, empty where it corrects none, None where that cannot be read: it may then be any.
    `model` is the model that a profile speaks of, empty where that cannot be read.
    """

    kind: str
    namespace: str
    name: str
    generation: int
    problem: str
    selector: LabelSelector | None = None
    nodes: tuple[tuple[str, str], ...] | None = ()
    model: str = ""

    def __str__(self) -> str:
        """Kind and name, as in sentences."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def read_stored(kind: type[T], obj: Mapping[str, Any]) -> T | Unreadable:
    """The object as far as this release knows its fields. Raises nothing for any JSON value.

    Entries of a list carry neither apiVersion nor kind in some servers' answers: they are the list's. A status that cannot be read
    is taken for one that is not there: what was requested for counts without it.
    """
    whole = {"apiVersion": API_VERSION, "kind": kind.__name__} | dict(obj)
    try:
        return parse_object(kind, whole, newer=True)
    except ApiError as error:
        first = error
    try:
        return parse_object(kind, {key: value for key, value in whole.items() if key != "status"}, newer=True)
    except ApiError:
        return _unreadable(kind, whole, first)


def read_deployment(obj: Mapping[str, Any]) -> tuple[InferenceDeployment, tuple[str, ...]]:
    """An InferenceDeployment and the fields of its spec that this release does not know: a request is never half honoured.

    What runs of it already is counted and left alone all the same. Raises ApiError where the rest cannot be read either.
    """
    try:
        return parse_object(InferenceDeployment, obj, newer=True), tuple(unknown_fields(InferenceDeployment, obj))
    except ApiError:
        return parse_object(InferenceDeployment, obj), ()  # refused again, and this time with every fault


def _unreadable(kind: type[BaseModel], obj: Mapping[str, Any], error: ApiError) -> Unreadable:
    metadata, spec = _mapping(obj, "metadata"), _mapping(obj, "spec")
    generation = metadata.get("generation")
    return Unreadable(
        kind=kind.__name__,
        namespace=_text(metadata, "namespace", _MAX_NAME),
        name=_text(metadata, "name", _MAX_NAME),
        generation=generation if isinstance(generation, int) and 0 <= generation <= _MAX_GENERATION else 0,
        problem=one_line(str(error.causes[0]), _MAX_PROBLEM).rstrip("."),
        selector=_selector(spec),
        nodes=_nodes(spec),
        model=_text(spec, "model", _MAX_MODEL),
    )


def _selector(spec: Mapping[str, Any]) -> LabelSelector | None:
    """Only one that is understood to its last field says for certain which namespaces it leaves out."""
    given = spec.get("namespaceSelector")
    if not isinstance(given, Mapping):
        return None
    try:
        return parse_part(LabelSelector, given)
    except ApiError:
        return None


def _nodes(spec: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
    given = spec.get("selector")
    if given is None:
        return ()
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        return None
    return tuple(sorted(given.items()))


def unknown_fields(kind: type[ApiModel], obj: Mapping[str, Any]) -> list[str]:
    """Paths of the spec's fields that this release passes over, at most MAX_UNKNOWN of them."""
    found: list[str] = []
    pending: list[tuple[type[BaseModel], tuple[int | str, ...], Any]] = [(kind, (), {"spec": _mapping(obj, "spec")})]
    while pending and len(found) < MAX_UNKNOWN:
        model, path, value = pending.pop()
        if isinstance(value, list):
            pending += [(model, (*path, place), entry) for place, entry in enumerate(value)]
        elif isinstance(value, Mapping):
            fields = known_fields(model)
            unknown = islice((key for key in value if key not in fields), MAX_UNKNOWN)
            found += [camel_path((*path, one_line(str(key), _MAX_SHOWN))) for key in unknown]
            pending += [(inner, (*path, key), value[key]) for key, inner in fields.items() if inner is not None and key in value]
    return sorted(found)[:MAX_UNKNOWN]


def _mapping(obj: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = obj.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(obj: Mapping[str, Any], key: str, most: int) -> str:
    value = obj.get(key)
    return value if isinstance(value, str) and len(value) <= most else ""
