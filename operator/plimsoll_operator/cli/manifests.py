"""Objects out of YAML and JSON files, within bounds of size, number and depth. Called by `load`; knows no kind of object."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import yaml

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.files import at_most
from plimsoll_operator.text import one_line

_MAX_FILE_BYTES: Final = 64 << 20
_MAX_OBJECTS: Final = 200_000
_MAX_DEPTH: Final = 200
_MOST_FILES: Final = 1000
_MOST_ENTRIES: Final = 100_000
_MOST_SPELLED_OUT: Final = 1_000_000
_MOST_KEYS_MERGED: Final = 100_000
_TWICE: Final = "twice"
_MERGE: Final = "tag:yaml.org,2002:merge"
_TEXT: Final = "tag:yaml.org,2002:str"
_PLACEHOLDER: Final = "{{"
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_BRACKET: Final = re.compile(r"[\[\]{}]")
_FAR_IN: Final = re.compile(rf"(?m)^[ \-?:]{{{_MAX_DEPTH},}}")


def files_of(path: Path) -> tuple[Path, ...]:
    """The file itself; of a folder its YAML and JSON files by name, not those of folders in it, as kubectl takes them.

    Raises InvalidInput naming the folder that has none, or too many.
    """
    if not path.is_dir():
        return (path,)
    try:
        found = sorted(entry for entry in islice(path.iterdir(), _MOST_ENTRIES) if entry.suffix in _SUFFIXES and not entry.is_dir())
    except OSError as error:
        raise InvalidInput(str(path), None, f"cannot be read: {error.strerror}") from error
    if not 0 < len(found) <= _MOST_FILES:
        raise InvalidInput(str(path), len(found), f"files end in .yaml, .yml or .json: at least 1 and at most {_MOST_FILES} are read")
    return tuple(found)


def manifests(path: Path) -> Iterator[Manifest]:
    """Every object of a YAML or JSON file (- reads stdin), Lists unfolded. Raises InvalidInput naming the file."""
    pending = [document for document in reversed(documents(path, _text(path))) if document is not None]
    count = 0
    while pending:
        document = pending.pop()
        if not isinstance(document, dict):
            raise InvalidInput(str(path), document, "is not a Kubernetes object")
        items = document.get("items")
        if str(document.get("kind", "")).endswith("List"):
            if not isinstance(items, list):
                raise InvalidInput(f"{path}: items", items, "must be a list")
            kind = str(document["kind"]).removesuffix("List")
            pending += [_with_kind(item, kind, document.get("apiVersion")) for item in reversed(items)]
            continue
        count += 1
        if count > _MAX_OBJECTS:
            raise InvalidInput(str(path), count, f"objects are more than {_MAX_OBJECTS}")
        yield document


class _Twice(Exception):
    """A key is there twice: read again as YAML, which knows where."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Twice
    return made


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # PyYAML's C loader where it was built, else its own: known when it is imported
    """Takes no key twice in one mapping: the later one would win without a word, as no API server lets it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises what YAML's own faults raise, naming key and line."""
        seen: set[str] = set()
        for place, (key, value) in enumerate(node.value):
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{_TWICE} {key.value!r}", key.start_mark)
            seen.add(key.value)
            if key.tag != _TEXT:
                node.value[place] = (yaml.ScalarNode(_TEXT, _as_text(self.construct_object(key)), key.start_mark, key.end_mark), value)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found

    _merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merges of merges of merges grow without end: what no file has so many keys for is refused, counted over all its objects."""
        merges = any(key.tag == _MERGE for key, _ in node.value)
        super().flatten_mapping(node)
        self._merged += len(node.value) if merges else 0
        if self._merged > _MOST_KEYS_MERGED:
            raise yaml.constructor.ConstructorError(None, None, f"more than {_MOST_KEYS_MERGED} keys are merged", node.start_mark)


def _written(loader: Any, node: yaml.ScalarNode) -> str:
    """A date stays the text that it is, as kubectl sends it."""
    return str(node.value)


def _no_json(loader: Any, node: yaml.Node) -> Any:
    kind = node.tag.rpartition(":")[2]
    raise yaml.constructor.ConstructorError(None, None, f"a value is of YAML's type {kind}, which no object has", node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _written)
for _kind in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _no_json)


def _as_text(key: Any) -> str:
    """A key as kubectl sends it (sigs.k8s.io/yaml, `convertToJSONableObject`): JSON has keys of text alone."""
    return json.dumps(key) if isinstance(key, bool | int | float) or key is None else str(key)


def documents(path: Path, text: str) -> list[Any]:
    """What the text holds: JSON, which is read several times faster, or YAML. Raises InvalidInput naming the file."""
    try:
        if text.lstrip()[:1] in ("{", "["):
            with suppress(json.JSONDecodeError, _Twice):
                return [json.loads(text, object_pairs_hook=_once)]
        if _may_be_deep(text):
            _refuse_depth(path, text, _Loader)
        found = list(yaml.load_all(text, Loader=_Loader))
        if "*" in text and _spelled_out(found) > _MOST_SPELLED_OUT:
            raise InvalidInput(str(path), None, f"is more than {_MOST_SPELLED_OUT} values once its aliases are spelled out")
        return found
    except yaml.constructor.ConstructorError as error:
        if error.problem is None or not error.problem.startswith(_TWICE):
            raise _not_yaml(path, text, error) from error
        key, line = one_line(error.problem.removeprefix(_TWICE).strip(), 80), error.problem_mark.line + 1 if error.problem_mark else 0
        raise InvalidInput(f"{path}: line {line}", None, f"has the key {key} a second time in one object: leave one of them out") from error
    except yaml.YAMLError as error:
        raise _not_yaml(path, text, error) from error
    except RecursionError as error:
        raise InvalidInput(str(path), None, f"is nested more than {_MAX_DEPTH} deep") from error
    except InvalidInput:
        raise
    except ValueError as error:
        raise InvalidInput(str(path), None, "holds a number or a date that no object can hold") from error


def _not_yaml(path: Path, text: str, error: yaml.YAMLError) -> InvalidInput:
    """With what to do of the commonest such file, one that a program fills in."""
    template = ": it is a template, fill in what stands in {{ }} first, as helm template does" if _PLACEHOLDER in text else ""
    return InvalidInput(str(path), None, f"is not YAML: {' '.join(str(error).split())[:160]}{template}")


def _spelled_out(found: Any) -> int:
    """How many values an object and all in it are, what is named twice counted twice. Work is that of what was written."""
    sizes: dict[int, int] = {}

    def size(value: Any) -> int:
        if not isinstance(value, dict | list):
            return 1
        if id(value) not in sizes:
            sizes[id(value)] = _MOST_SPELLED_OUT + 1  # of a value that holds itself
            sizes[id(value)] = 1 + sum(map(size, value.values() if isinstance(value, dict) else value))
        return sizes[id(value)]

    return size(found)


def _may_be_deep(text: str) -> bool:
    """A cheap look that is wrong only on the careful side."""
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth = depth + 1 if bracket[0] in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest > _MAX_DEPTH or _FAR_IN.search(text) is not None


def _refuse_depth(path: Path, text: str, loader: Any) -> None:
    """PyYAML's C loader recurses on the machine's stack, so that what is nested deep enough would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise InvalidInput(str(path), None, f"is nested more than {_MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _with_kind(item: Any, kind: str, api_version: Any) -> Any:
    """Items of a typed list (NodeList) carry no kind of their own."""
    if not kind or not isinstance(item, Mapping) or "kind" in item:
        return item
    return {"kind": kind, "apiVersion": api_version, **item}


def _text(path: Path) -> str:
    try:
        data = sys.stdin.buffer.read(_MAX_FILE_BYTES + 1) if str(path) == "-" else at_most(path, _MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(str(path), None, f"cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInput(str(path), len(data), f"bytes are more than {_MAX_FILE_BYTES}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(str(path), None, f"is not UTF-8: {error.reason}") from error
