"""The fitted constants of data/overheads.json, chosen by cause: release, runner, interconnect, parallel size, capability.

Called by the modules of `overhead`. A constant is a list of rows; the last row whose conditions hold wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.resolved import ResolvedArgs


@cache
def table() -> Mapping[str, list[Mapping[str, Any]]]:
    """The rows by constant name."""
    text = resources.files("plimsoll_estimator").joinpath("data/overheads.json").read_text(encoding="utf-8")
    rows: Mapping[str, list[Mapping[str, Any]]] = json.loads(text)["constants"]
    return rows


def constant(name: str, resolved: ResolvedArgs, *, ranks: int | None = None, sampler: str | None = None) -> float:
    """The value for this start; every constant has an unconditional first row (a test holds it).

    `ranks` stands in for the tensor parallel size where another group is larger, `sampler` names what narrows the logits.
    Collectives that leave the node run over the network, whatever joins the cards inside it.
    """
    gpu = resolved.gpu
    capability = gpu.compute_capability[0] * 10 + gpu.compute_capability[1]
    tensor = resolved.tensor_parallel_size if ranks is None else ranks
    interconnect = "network" if resolved.nnodes > 1 and resolved.collectives_leave_node else gpu.interconnect
    for row in _rows_of_release(name, resolved.version, resolved.uses_v2_model_runner):
        if (
            row.min_capability <= capability <= row.max_capability
            and tensor >= row.min_tensor_parallel
            and resolved.pipeline_parallel_size >= row.min_pipeline_parallel
            and resolved.nnodes >= row.min_nodes
            and (row.interconnect is None or row.interconnect == interconnect)
            and (row.products is None or gpu.product in row.products)
            and (row.samplers is None or sampler in row.samplers)
        ):
            value: float = row.entry["value"]
            return value
    raise LookupError(f"the constant {name} has no row for {resolved}")


def rows_changed() -> None:
    """To be called by whoever adds, drops or replaces rows of the table; a value may be changed in place without."""
    _rows_of_release.cache_clear()


class _Row(NamedTuple):
    """One row and the conditions that are left within one release and runner."""

    entry: Mapping[str, Any]
    interconnect: str | None
    products: frozenset[str] | None
    samplers: frozenset[str] | None
    min_tensor_parallel: int
    min_pipeline_parallel: int
    min_nodes: int
    min_capability: int
    max_capability: int


@lru_cache(maxsize=2048)
def _rows_of_release(name: str, version: EngineVersion, v2_runner: bool) -> tuple[_Row, ...]:
    """The rows that may hold in this release with this runner, the last of the table first."""
    found = []
    for entry in reversed(table()[name]):
        when = entry.get("when", {})
        if "since" in when and version < EngineVersion.parse(when["since"]):
            continue
        if "before" in when and version >= EngineVersion.parse(when["before"]):
            continue
        if when.get("v2_runner", v2_runner) != v2_runner:
            continue
        least, most = when.get("min_capability", 0), when.get("max_capability", 999)
        tensor, pipeline = when.get("min_tensor_parallel", 1), when.get("min_pipeline_parallel", 1)
        products = frozenset(when["products"]) if "products" in when else None
        samplers = frozenset(when["samplers"]) if "samplers" in when else None
        found.append(_Row(entry, when.get("interconnect"), products, samplers, tensor, pipeline, when.get("min_nodes", 1), least, most))
    return tuple(found)
