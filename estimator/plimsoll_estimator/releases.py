"""One dialect for what differs from release to release of vLLM: a dataclass of named switches and one table of changes.

Each part that differs has such a table in its own `releases` module; the KV planner's is `layers.planner_rules`. Knows no rule itself.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from plimsoll_estimator.engine_version import EngineVersion

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Rules = TypeVar("Rules", bound="DataclassInstance")


class Releases(Generic[Rules]):
    """The switches by release: `oldest` are those of the oldest known one, each row the first release with its changes.

    A release between two rows follows the older, down to the patch: 0.20.0 has nothing of a row of 0.20.2. Made at import, where
    a row out of order is a ValueError and a switch that does not exist a TypeError.
    """

    __slots__ = ("_rules", "_since")

    def __init__(self, oldest: Rules, *changes: tuple[EngineVersion, dict[str, Any]]) -> None:
        self._since = tuple(since for since, _ in changes)
        if any(later <= earlier for earlier, later in pairwise(self._since)):
            raise ValueError(f"rows of {type(oldest).__name__} are out of order: {', '.join(map(str, self._since))}")
        self._rules = [oldest]
        for _, change in changes:
            self._rules.append(replace(self._rules[-1], **change))

    def of(self, version: EngineVersion) -> Rules:
        """The switches of `version`: every change up to and including it."""
        return self._rules[bisect_right(self._since, version)]

    @property
    def borders(self) -> tuple[EngineVersion, ...]:
        """The first release of each row, oldest first."""
        return self._since
