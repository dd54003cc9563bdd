"""Nothing that a manifest says vanishes: whatever is written in one is carried over or named. Held over the public manifests that are kept.

Two laws. A key that nobody knows, wherever it is put, is in what comes out. And whatever says otherwise comes out otherwise: so nothing is
read and then forgotten.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing import Choices, Outcome, import_objects
from plimsoll_operator.cli.importing.read import below, origin_of
from plimsoll_operator.cli.importing.same import SAME
from plimsoll_operator.cli.manifests import manifests

FOLDER = Path(__file__).resolve().parents[3] / "tests/data/imported"
FILES = [row["file"] for row in json.loads((FOLDER / "sources.json").read_text("utf-8"))]
Place = tuple[str | int, ...]
UNKNOWN = "zzUnknown"
OF_ALL_ARGUMENTS = (".args", ".command", ".vllmConfig", ".config", ".env")
"""Fields whose notes are about one word of them, and say nothing of the others."""
SAYS_NOTHING = {
    "apiVersion": "the object is read by its kind and group",
    "autoSelect": "of a runtime, what KServe matches it by",
    "supportedModelFormats": "of a runtime, what KServe matches it by",
    "v1": "the engine that every release here has",
}
"""Keys that may say otherwise, and the same comes out: last or last but one of a path."""


def outcomes(objects: list[Manifest]) -> list[Outcome]:
    return list(import_objects(objects, Choices()))


def what_comes_out(objects: list[Manifest]) -> str:
    """Manifests and notes of all objects, or the refusal."""
    found = outcomes(objects)
    return json.dumps([[str(o.refusal), o.origin, [[one.manifest, list(map(str, one.notes))] for one in o.imported]] for o in found])


def path_of(place: Place) -> list[str]:
    """The paths of a place and of all that it is in, as notes have them."""
    paths = [""]
    for key in place:
        paths.append(f"{paths[-1]}[{key}]" if isinstance(key, int) else below(paths[-1], key))
    return paths[1:]


def named(objects: list[Manifest], which: int, place: Place) -> bool:
    """Whether a note says of it, or of what it is in, that it is not carried over."""
    prefix = f"{origin_of(objects[which])}: "
    found = outcomes(objects)
    notes = [note for one in found for made in one.imported for note in made.lost]
    if place[-2:-1] == ("args",) and place[-1] and f"{at(objects[which], (*place[:-1], int(place[-1]) - 1))} is not" in str(notes):
        return True  # the value of an argument that is named
    fields = {note.field for note in notes}
    paths = [path for path in path_of(place) if not path.endswith(OF_ALL_ARGUMENTS)]
    return any(one.refusal for one in found) or any(path in fields or prefix + path in fields for path in paths)


def read(name: str) -> list[Manifest]:
    """The objects of a file that something comes of, alone or together with another."""
    objects = list(manifests(FOLDER / name))
    found = outcomes(objects)
    used = {name for one in found for name in one.used}
    return [obj for obj, one in zip(objects, found, strict=True) if one.imported or one.refusal or one.origin in used]


def mappings(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where an object is."""
    if isinstance(value, dict):
        yield place
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in rows:
        yield from mappings(inner, (*place, key))


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where something is said."""
    rows = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not rows:
        yield place
    for key, inner in rows:
        yield from leaves(inner, (*place, key))


def at(value: Any, place: Place) -> Any:
    """What is there."""
    for key in place:
        value = value[key]
    return value


def says_nothing(place: Place) -> bool:
    """Whether nothing follows from it: in a table, with why. The engine's container and its program have names of the plan's."""
    if place[-3:-1] == ("containers", 0) and place[-1] == "name":
        return True
    keys = [key for key in place if isinstance(key, str)]
    if len(SAME.get(keys[-1], ())) > 1:
        return True
    return place[-2:] == ("command", 0) or bool(SAYS_NOTHING.keys() & set(keys[-2:]))


@pytest.mark.thorough
@pytest.mark.parametrize("name", FILES)
def test_a_key_that_nobody_knows_is_in_what_comes_out_wherever_it_is_put(name: str) -> None:
    objects = read(name)
    lost = []
    for which, obj in enumerate(objects):
        for place in mappings(obj):
            altered = copy.deepcopy(objects)
            at(altered[which], place)[UNKNOWN] = "7"
            if UNKNOWN not in what_comes_out(altered) and not named(altered, which, (*place, UNKNOWN)):
                lost.append(place)
    assert not lost, "\n".join(map(str, lost))


def otherwise(value: Any) -> Any:
    """Something else of the same type."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}9" if isinstance(value, str) else {"a": "b"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", FILES)
def test_whatever_says_otherwise_comes_out_otherwise_or_is_named(name: str) -> None:
    objects = read(name)
    before = what_comes_out(objects)
    lost = []
    for which, obj in enumerate(objects):
        for place in leaves(obj):
            altered = copy.deepcopy(objects)
            at(altered[which], place[:-1])[place[-1]] = otherwise(at(obj, place))
            if what_comes_out(altered) == before and not named(objects, which, place) and not says_nothing(place):
                lost.append((*place, at(obj, place)))
    assert not lost, "\n".join(map(str, lost))
