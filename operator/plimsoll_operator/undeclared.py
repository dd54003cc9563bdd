"""A status without the fields that the API server refuses because the kind that it serves does not declare them.

Used by `kube`, for status alone: kinds that are kept apart from the chart may be an earlier release's than the controller, and the
rest of a status is worth more than none. Knows no kind. Source: structured-merge-diff, typed/typed.go ("field not declared in schema").
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

_log = logging.getLogger(__name__)
_REFUSED: Final = re.compile(r"\.(?P<path>status(?:\.\w+|\[[^\]]*\])+): field not declared in schema")
_ENTRY: Final = re.compile(r"\[[^\]]*\]")
_HINT: Final = (
    "%s is not written: the kind %s in the cluster is an earlier release's than this program. Apply the CustomResourceDefinitions of this "
    "release (crds/, or crds.install of the chart)"
)


class Undeclared:
    """Remembers what was said: each field once in the life of a process."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def left_out(self, kind: str, manifest: Mapping[str, Any], refusal: str) -> dict[str, Any] | None:
        """The manifest without the fields that the refusal names, each said in the log; None where it names none that is there."""
        paths = {_ENTRY.sub("", found["path"]) for found in _REFUSED.finditer(refusal)}
        left: dict[str, Any] = dict(manifest)
        for path in sorted(paths):
            left = _without(left, path.split("."))
            if (kind, path) not in self._said:
                self._said.add((kind, path))
                _log.warning(_HINT, path, kind)
        return left if left != manifest else None


def _without(value: Any, names: list[str]) -> Any:
    """Of a list all entries: what one may not have, none may."""
    if isinstance(value, list):
        return [_without(one, names) for one in value]
    if not isinstance(value, Mapping) or names[0] not in value:
        return value
    head, *rest = names
    if not rest:
        return {key: one for key, one in value.items() if key != head}
    return {**value, head: _without(value[head], rest)}
