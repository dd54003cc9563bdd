"""Whether a selector of policy/v1, by labels and expressions, selects something with these labels.

Used by the checks, of objects that others have made. What it does not understand it takes to select: a doubt is named. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """An empty selector selects everything, one that is not there nothing (policy/v1)."""
    if not isinstance(selector, Mapping):
        return False
    wanted = selector.get("matchLabels") or {}
    rows = selector.get("matchExpressions") or ()
    return all(labels.get(key) == value for key, value in wanted.items()) and all(_holds(row, labels) for row in rows)


def _holds(row: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    here, values = labels.get(str(row.get("key"))), row.get("values") or ()
    match row.get("operator"):
        case "In":
            return here in values
        case "NotIn":
            return here not in values
        case "Exists":
            return here is not None
        case "DoesNotExist":
            return here is None
    return True
