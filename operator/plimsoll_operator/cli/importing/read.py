"""Parts of a manifest that somebody else's program understands: looked at without trust, of the wrong type taken for absent.

Called by the translators. What is carried over is judged afterwards, by the door of the API; what is looked at here only says where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plimsoll_operator.api import Manifest


def mapping(value: Any, *keys: str) -> Manifest:
    """The object below these keys, or an empty one."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def entries(value: Any) -> list[tuple[int, Manifest]]:
    """The objects of a list, each with its place."""
    return [(place, dict(item)) for place, item in enumerate(value) if isinstance(item, Mapping)] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """Text that says something, or None; a number is taken as it would be written."""
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, str | int | float) and value != "" else None


def words(value: Any) -> tuple[str, ...]:
    """A list of texts, as `command` and `args` are."""
    return tuple(str(item) for item in value if isinstance(item, str | int | float)) if isinstance(value, list) else ()


def whole(value: Any) -> int | None:
    """A whole number, also where it is written as text; None of anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    written = str(value)
    return int(written) if written.isdecimal() and len(written) <= 9 else None
