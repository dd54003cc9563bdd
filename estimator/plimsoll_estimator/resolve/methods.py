"""What each release says of its quantisation methods: whether it has one, on which GPUs and in which dtypes.

Asked by `quantization` and by whoever prints what a release can do. data/quantization_methods.json is extracted from the published wheels
by tools/extract_quantization.py, down to the patch. Knows names, refuses to know checkpoints.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from plimsoll_estimator.engine_version import EngineVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationMethod:
    """A method in the releases from `since` until before `before` (None: still)."""

    since: EngineVersion
    before: EngineVersion | None
    min_capability: int
    """The class's get_min_capability: 75 is compute capability 7.5."""
    dtypes: tuple[str, ...]
    """Of activations (get_supported_act_dtypes)."""
    deprecated: bool
    """Refused without --allow-deprecated-quantization."""


def method_of(name: str, version: EngineVersion) -> QuantizationMethod | None:
    """The method in that release; None where it has none of the name. A newer release is taken to have what the newest known has."""
    return methods_of(version).get(name)


@lru_cache(maxsize=64)
def methods_of(version: EngineVersion) -> dict[str, QuantizationMethod]:
    """All methods of a release by name, sorted."""
    return {name: row for name, rows in sorted(_table().items()) for row in rows if version.within(row.since, row.before)}


def taken_since(name: str, capability: int, version: EngineVersion) -> tuple[EngineVersion, ...]:
    """The later releases at which the method begins to take a GPU of that capability without leave; empty where none does."""
    rows = (row for row in _table().get(name, ()) if row.since > version)
    return tuple(row.since for row in rows if capability >= row.min_capability and not row.deprecated)


def read_as(version: EngineVersion) -> EngineVersion:
    """The release whose wheel says what the table says of `version`: itself, or the newest read before it."""
    read = [EngineVersion.parse(text) for text in _document()["releases"]]
    return max((release for release in read if release <= version), default=read[0])


@cache
def _document() -> Any:
    return json.loads((resources.files("plimsoll_estimator") / "data" / "quantization_methods.json").read_text("utf-8"))


@cache
def _table() -> dict[str, tuple[QuantizationMethod, ...]]:
    parse = EngineVersion.parse
    return {
        name: tuple(
            QuantizationMethod(
                since=parse(row["since"]),
                before=parse(row["before"]) if "before" in row else None,
                min_capability=row["min_capability"],
                dtypes=tuple(row["dtypes"]),
                deprecated=row["deprecated"],
            )
            for row in rows
        )
        for name, rows in _document()["methods"].items()
    }
