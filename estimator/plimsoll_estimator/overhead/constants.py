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
    gpu, nodes = resolved.gpu, resolved.nnodes
    interconnect = "network" if nodes > 1 and resolved.collectives_leave_node else gpu.interconnect
    tensor = resolved.tensor_parallel_size if ranks is None else ranks
    release, layout = (resolved.version, resolved.uses_v2_model_runner), (tensor, resolved.pipeline_parallel_size, nodes)
    for entry, wanted, products, samplers in _rows(name, release, layout, gpu.compute_capability):
        if (
            (wanted is None or wanted == interconnect)
            and (products is None or gpu.product in products)
            and (samplers is None or sampler in samplers)
        ):
            value: float = entry["value"]
            return value
    raise LookupError(f"the constant {name} has no row for {resolved}")


def rows_changed() -> None:
    """To be called by whoever adds, drops or replaces rows of the table; a value may be changed in place without."""
    _rows.cache_clear()
    _rows_of_release.cache_clear()


class _Row(NamedTuple):
    """One row, and the conditions that are left within one release, layout and capability."""

    entry: Mapping[str, Any]
    interconnect: str | None
    products: frozenset[str] | None
    samplers: frozenset[str] | None


@lru_cache(maxsize=8192)
def _rows(
    name: str, release: tuple[EngineVersion, bool], layout: tuple[int, int, int], compute_capability: tuple[int, int]
) -> tuple[_Row, ...]:
    """The rows that may hold there, the last of the table first. `release`: with which runner; `layout`: tensor, pipeline, nodes."""
    found = []
    for entry in _rows_of_release(name, *release):
        when = entry.get("when", {})
        if _holds_on(when, layout, compute_capability[0] * 10 + compute_capability[1]):
            products = frozenset(when["products"]) if "products" in when else None
            samplers = frozenset(when["samplers"]) if "samplers" in when else None
            found.append(_Row(entry, when.get("interconnect"), products, samplers))
    return tuple(found)


@lru_cache(maxsize=2048)
def _rows_of_release(name: str, version: EngineVersion, v2_runner: bool) -> tuple[Mapping[str, Any], ...]:
    return tuple(entry for entry in reversed(table()[name]) if _holds_in(entry.get("when", {}), version, v2_runner))


def _holds_in(when: Mapping[str, Any], version: EngineVersion, v2_runner: bool) -> bool:
    if "since" in when and version < EngineVersion.parse(when["since"]):
        return False
    if "before" in when and version >= EngineVersion.parse(when["before"]):
        return False
    return bool(when.get("v2_runner", v2_runner) == v2_runner)


def _holds_on(when: Mapping[str, Any], layout: tuple[int, int, int], capability: int) -> bool:
    least = (when.get("min_tensor_parallel", 1), when.get("min_pipeline_parallel", 1), when.get("min_nodes", 1))
    enough = all(size >= at_least for size, at_least in zip(layout, least, strict=True))
    return enough and bool(when.get("min_capability", 0) <= capability <= when.get("max_capability", 999))
