"""Whether a child's spec is as the controller last applied it, told from the child alone: of the fields that its apply owns, the values.

Asked by the caches, which keep a digest of it, and by the children at the first look of a new leader, who remembers nothing: so what nobody
has touched is recognised, and not applied once more to be sure. Managed fields say who has set what (Kubernetes, "Server-Side Apply"); they
are input from outside, and what cannot be followed counts as touched. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from plimsoll_operator.ports import FIELD_MANAGER, Manifest
from plimsoll_operator.quantity import parse_millis
from plimsoll_operator.render import digest_of

KEPT: Final = "asSet"
"""Under this name a trimmed child carries the digest."""
TOUCHED: Final = ""
_DEEPEST: Final = 32
_MOST_ADDED: Final = 3
_MOST_WORDS: Final = 120
_QUANTITIES: Final = frozenset({"limits", "requests"})


def as_wanted(manifest: Manifest) -> str:
    """Digest of a rendered child's spec, but for its replicas."""
    return digest_of(_plain({key: value for key, value in manifest["spec"].items() if key != "replicas"}))


def as_set(child: Manifest) -> str:
    """The same of the child as it stands: equal where all that was applied is still there. TOUCHED where anybody else has set something."""
    if KEPT in child:
        return str(child[KEPT])
    fields = _applied(child)
    if fields is None:
        return TOUCHED
    spec = _owned(child.get("spec") or {}, fields, _DEEPEST)
    return digest_of(_plain({key: value for key, value in spec.items() if key != "replicas"}))


def others(child: Manifest) -> list[Manifest]:
    """Entries of managed fields that are not the controller's, nor of a status."""
    rows = [row for row in child["metadata"].get("managedFields") or () if isinstance(row, dict)]
    return [row for row in rows if row.get("manager") and row["manager"] != FIELD_MANAGER and row.get("subresource") != "status"]


def added_by_others(child: Manifest) -> str:
    """Where in the pods others have added something that the controller's apply does not own: `containers.vllm.env.FOO`; empty where
    nowhere. Text from outside, bounded.
    """
    rows = [row for row in child["metadata"].get("managedFields") or () if isinstance(row, dict) and not row.get("subresource")]
    ours = [row for row in rows if row.get("manager") == FIELD_MANAGER and row.get("operation") == "Apply"]
    known = _pod_fields(ours[0]) if ours else {}
    found = [path for row in others(child) if not row.get("subresource") for path in _beyond(_pod_fields(row), known, _DEEPEST)]
    return ", ".join(".".join(path)[:_MOST_WORDS] for path in found[:_MOST_ADDED])


def _pod_fields(row: Manifest) -> Any:
    fields = row.get("fieldsV1")
    for name in ("f:spec", "f:template", "f:spec"):
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields if isinstance(fields, dict) else {}


def _beyond(theirs: Mapping[str, Any], ours: Mapping[str, Any], depth: int) -> list[tuple[str, ...]]:
    """Paths of theirs that ours has not, each as far as it is not ours."""
    paths: list[tuple[str, ...]] = []
    for name, below in theirs.items() if depth else ():
        if name == ".":
            continue
        shown = _shown(name)
        if name not in ours:
            within = _beyond(below, {}, depth - 1) if name.startswith("f:") and isinstance(below, dict) else []
            paths += [(shown, *path) for path in within] or [(shown,)]
        elif isinstance(below, dict) and isinstance(ours[name], dict):
            paths += [(shown, *path) for path in _beyond(below, ours[name], depth - 1)]
    return paths


def _shown(name: str) -> str:
    """`f:env` is env, `k:{"name":"FOO"}` is FOO."""
    if not name.startswith("k:"):
        return name[2:]
    try:
        keys = json.loads(name[2:])
    except ValueError:
        return name[2:]
    return str(next(iter(keys.values()), "")) if isinstance(keys, dict) else name[2:]


def _applied(child: Manifest) -> Mapping[str, Any] | None:
    """What of the spec the controller's apply owns; None where somebody else owns anything, or an update of ours more than the size."""
    rows = [row for row in child["metadata"].get("managedFields") or () if isinstance(row, dict)]
    ours = [row for row in rows if row.get("manager") == FIELD_MANAGER and not row.get("subresource")]
    specs = [(row.get("operation"), (row.get("fieldsV1") or {}).get("f:spec") or {}) for row in ours]
    applied = [fields for operation, fields in specs if operation == "Apply"]
    beside = {name for operation, fields in specs if operation != "Apply" for name in fields}
    if others(child) or len(applied) != 1 or not beside <= {"f:replicas"} or not isinstance(applied[0], dict):
        return None
    return applied[0]


def _owned(value: Any, fields: Mapping[str, Any], depth: int) -> Any:
    """Of a value what these fields name (Kubernetes, FieldsV1: `f:` a field, `k:` a list's item by its keys, none: all of it)."""
    if not fields or depth == 0:
        return value
    if isinstance(value, dict):
        named = ((name[2:], sub) for name, sub in fields.items() if name.startswith("f:"))
        return {name: _owned(value[name], sub or {}, depth - 1) for name, sub in named if name in value}
    if isinstance(value, list):
        return _owned_items(value, fields, depth)
    return value


def _owned_items(items: list[Any], fields: Mapping[str, Any], depth: int) -> list[Any]:
    by_key = {name: sub or {} for name, sub in fields.items() if name.startswith("k:")}
    try:
        keys = {_key(json.loads(name[2:])): sub for name, sub in by_key.items()}
    except (ValueError, AttributeError):
        return items
    names = {tuple(name for name, _ in key) for key in keys}
    if len(names) != 1:
        return items  # a set, whole; or told by keys that differ from item to item, which no list of ours is
    (names_of,) = names
    found = []
    for item in items:
        sub = keys.get(_key({name: item.get(name) for name in names_of})) if isinstance(item, dict) else None
        if sub is not None:
            found.append(_owned(item, sub, depth - 1))
    return found


def _key(keys: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, json.dumps(value, sort_keys=True)) for name, value in keys.items()))


def _plain(value: Any, *, amounts: bool = False) -> Any:
    """In the one form in which what is sent and what is stored are alike: no empty parts, and quantities as numbers."""
    if isinstance(value, dict):
        plain = {key: _plain(part, amounts=key in _QUANTITIES or (amounts and not isinstance(part, dict))) for key, part in value.items()}
        return {key: part for key, part in plain.items() if part not in ({}, [], "", None)}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if amounts:
        try:
            return parse_millis(value)
        except ValueError:
            return value
    return value
