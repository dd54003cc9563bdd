"""The fitted constants of data/overheads.json, chosen by cause: release, runner, interconnect, parallel size, capability.

Called by the modules of `overhead`. A constant is a list of rows; the last row whose conditions hold wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final, NamedTuple

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
    rows = _rows_of_release(name, resolved.version, resolved.uses_v2_model_runner, not resolved.enforce_eager)
    if rows and rows[0].free:  # most constants: nothing to ask of this start
        settled: float = rows[0].entry["value"]
        return settled
    gpu, nodes = resolved.gpu, resolved.nnodes
    capability = gpu.compute_capability[0] * 10 + gpu.compute_capability[1]
    tensor = resolved.tensor_parallel_size if ranks is None else ranks
    for entry, free, least_tensor, least_pipeline, least_nodes, lowest, highest, newest_driver, interconnect, products, samplers in rows:
        if free or (
            lowest <= capability <= highest
            and tensor >= least_tensor
            and resolved.pipeline_parallel_size >= least_pipeline
            and nodes >= least_nodes
            and (newest_driver is None or (gpu.driver_major is not None and gpu.driver_major <= newest_driver))
            and (interconnect is None or interconnect == _joined_by(resolved))
            and (products is None or gpu.product in products)
            and (samplers is None or sampler in samplers)
        ):
            value: float = entry["value"]
            return value
    raise LookupError(f"the constant {name} has no row for {resolved}")


def _joined_by(resolved: ResolvedArgs) -> str:
    return "network" if resolved.nnodes > 1 and resolved.collectives_leave_node else resolved.gpu.interconnect


def rows_changed() -> None:
    """To be called by whoever adds, drops or replaces rows of the table; a value may be changed in place without."""
    _rows_of_release.cache_clear()


class _Row(NamedTuple):
    """One row and the conditions that are left within one release and runner; `free`: none is left."""

    entry: Mapping[str, Any]
    free: bool
    min_tensor_parallel: int
    min_pipeline_parallel: int
    min_nodes: int
    min_capability: int
    max_capability: int
    max_driver: int | None
    interconnect: str | None
    products: frozenset[str] | None
    samplers: frozenset[str] | None


@lru_cache(maxsize=2048)
def _rows_of_release(name: str, version: EngineVersion, v2_runner: bool, compiled: bool) -> tuple[_Row, ...]:
    """The rows that may hold in this release with this runner, eager or not, the last of the table first."""
    found = []
    for entry in reversed(table()[name]):
        when = entry.get("when", {})
        if "since" in when and version < EngineVersion.parse(when["since"]):
            continue
        if "before" in when and version >= EngineVersion.parse(when["before"]):
            continue
        if when.get("v2_runner", v2_runner) != v2_runner or when.get("compiled", compiled) != compiled:
            continue
        row = _Row(
            entry=entry,
            free=when.keys() <= _OF_RELEASE,
            min_tensor_parallel=when.get("min_tensor_parallel", 1),
            min_pipeline_parallel=when.get("min_pipeline_parallel", 1),
            min_nodes=when.get("min_nodes", 1),
            min_capability=when.get("min_capability", 0),
            max_capability=when.get("max_capability", 999),
            max_driver=when.get("max_driver"),
            interconnect=when.get("interconnect"),
            products=frozenset(when["products"]) if "products" in when else None,
            samplers=frozenset(when["samplers"]) if "samplers" in when else None,
        )
        found.append(row)
        if row.free:
            break
    return tuple(found)


_OF_RELEASE: Final = frozenset({"since", "before", "v2_runner", "compiled"})
"""Conditions that the choice of a release's rows has answered."""
