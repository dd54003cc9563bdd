"""What the resolver reads off the table of engine defaults: which release takes what of a class, steps and ranges of releases.

Called by the other modules of `resolve`. Refuses to know configs and bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import EstimatorError
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import shape_of


@cache
def engine_defaults() -> Mapping[str, Any]:
    """The shipped table data/engine_defaults.json, parsed once."""
    text = resources.files("plimsoll_estimator").joinpath("data/engine_defaults.json").read_text(encoding="utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


def in_range(version: EngineVersion, since: str | None, last: str | None) -> bool:
    """Whether the release is from `since` on and no later than the minor `last`; None is open."""
    if since is not None and version < EngineVersion.parse(since):
        return False
    return last is None or version.minor_key <= EngineVersion.parse(last).minor_key


def latest(version: EngineVersion, steps: list[tuple[str, int]]) -> int | None:
    """The value of the last step whose release is not newer than `version`."""
    found: int | None = None
    for since, value in steps:
        if version >= EngineVersion.parse(since):
            found = value
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutBounds:
    """What of a model bounds its parallel layouts: layers and query heads (None where no rule reads them), and whether it has experts."""

    layers: int | None
    heads: int | None
    has_experts: bool


def layout_bounds(config: HfConfig) -> LayoutBounds:
    """Read once for a search, before any layout is worked out. A model without rules bounds nothing: its first layout says so."""
    try:
        shape = shape_of(config)
    except EstimatorError:
        return LayoutBounds(layers=None, heads=None, has_experts=False)
    return LayoutBounds(layers=len(shape.layers), heads=shape.size.heads or None, has_experts=shape.experts is not None)


def supports_pipeline_parallel(architecture: str, version: EngineVersion) -> bool:
    """Whether the class of that release implements SupportsPP."""
    span = engine_defaults()["without_pipeline_parallel"].get(architecture)
    return span is None or not in_range(version, span[0], span[1])


def interface(table: str, name: str, version: EngineVersion) -> bool | None:
    """Whether that release has what the table `takes_lora`, `takes_eagle3` or `speculative_methods` lists under the name.

    None where no source settles it: releases from before the table was read, newer ones for a name that it does not have, and those
    after one that had it, where the class may only have moved.
    """
    tables = interfaces()
    parse = EngineVersion.parse
    if version < parse(tables["read_since"][table]):
        return None
    pairs = tables[table].get(name)
    if pairs is None:
        return False if version <= NEWEST_KNOWN else None
    if version < parse(pairs[0][0]):
        return False
    return True if any(version.within(parse(since), parse(before) if before else None) for since, before in pairs) else None


@cache
def interfaces() -> Mapping[str, Any]:
    """The tables of data/interfaces.json, extracted release by release."""
    tables: dict[str, Any] = json.loads((resources.files("plimsoll_estimator") / "data" / "interfaces.json").read_text("utf-8"))
    return tables


def supports_tensor_parallel(architecture: str, version: EngineVersion) -> bool:
    """False where that release runs the class through a backend that cannot shard it."""
    span = engine_defaults()["without_tensor_parallel"].get(architecture)
    return span is None or not in_range(version, span[0], span[1])
