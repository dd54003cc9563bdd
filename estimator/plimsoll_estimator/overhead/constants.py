"""The fitted constants of data/overheads.json, chosen by cause: release, runner, interconnect, parallel size, capability.

Called by the modules of `overhead`. A constant is a list of rows; the last row whose conditions hold wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
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


@cache
def _release(text: str) -> EngineVersion:
    return EngineVersion.parse(text)


def constant(name: str, resolved: ResolvedArgs) -> float:
    """The value for this start; KeyError-free: every constant has an unconditional first row (a test holds it)."""
    value = 0.0
    for row in table()[name]:
        if _holds(row.get("when", {}), resolved):
            value = row["value"]
    return value


def _holds(when: Mapping[str, Any], resolved: ResolvedArgs) -> bool:
    ranks = resolved.tensor_parallel_size
    checks = (
        "since" not in when or resolved.version >= _release(when["since"]),
        "before" not in when or resolved.version < _release(when["before"]),
        "v2_runner" not in when or when["v2_runner"] == resolved.uses_v2_model_runner,
        "interconnect" not in when or when["interconnect"] == resolved.gpu.interconnect,
        "min_tensor_parallel" not in when or ranks >= when["min_tensor_parallel"],
        "min_pipeline_parallel" not in when or resolved.pipeline_parallel_size >= when["min_pipeline_parallel"],
        "min_capability" not in when or resolved.gpu.capability >= when["min_capability"],
        "max_capability" not in when or resolved.gpu.capability <= when["max_capability"],
    )
    return all(checks)
