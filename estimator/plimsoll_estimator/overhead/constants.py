"""The fitted constants of data/overheads.json, chosen by cause: release, runner, interconnect, parallel size, capability.

Called by the modules of `overhead`. A constant is a list of rows; the last row whose conditions hold wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.resolved import ResolvedArgs


@cache
def table() -> Mapping[str, list[Mapping[str, Any]]]:
    """The rows by constant name."""
    text = resources.files("plimsoll_estimator").joinpath("data/overheads.json").read_text(encoding="utf-8")
    rows: Mapping[str, list[Mapping[str, Any]]] = json.loads(text)["constants"]
    return rows


def constant(name: str, resolved: ResolvedArgs) -> float:
    """The value for this start; every constant has an unconditional first row (a test holds it)."""
    gpu = resolved.gpu
    tp, pp = resolved.tensor_parallel_size, resolved.pipeline_parallel_size
    found = _last_holding(name, resolved.version, resolved.uses_v2_model_runner, gpu.interconnect, tp, pp, gpu.capability)
    rows = table()[name]
    if found >= len(rows) or len(rows) != _SIZES.get(name):
        # A fitting tool has changed the rows since they were looked through.
        _last_holding.cache_clear()
        _SIZES.update({key: len(value) for key, value in table().items()})
        found = _last_holding(name, resolved.version, resolved.uses_v2_model_runner, gpu.interconnect, tp, pp, gpu.capability)
    value: float = rows[found]["value"]
    return value


_SIZES: dict[str, int] = {}


@lru_cache(maxsize=16384)
def _last_holding(name: str, version: EngineVersion, v2: bool, interconnect: str, tp: int, pp: int, capability: int) -> int:
    """Index of the last row whose conditions hold for this combination of causes."""

    def holds(when: Mapping[str, Any]) -> bool:
        checks = (
            "since" not in when or version >= EngineVersion.parse(when["since"]),
            "before" not in when or version < EngineVersion.parse(when["before"]),
            "v2_runner" not in when or when["v2_runner"] == v2,
            "interconnect" not in when or when["interconnect"] == interconnect,
            tp >= when.get("min_tensor_parallel", 1),
            pp >= when.get("min_pipeline_parallel", 1),
            when.get("min_capability", 0) <= capability <= when.get("max_capability", 999),
        )
        return all(checks)

    return max(index for index, row in enumerate(table()[name]) if holds(row.get("when", {})))
