"""`plimsoll capacity`: GPU pools with usable memory, GPUs total, free and booked, trust and problems.

From files of nodes and pods, or from the GPUPools of a cluster. Prints what the decision would read; judges nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final

import yaml

from plimsoll_estimator import format_gib
from plimsoll_operator.api import ApiError, GPUPool
from plimsoll_operator.capacity import pool_facts, pool_manifest
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.load import add_source_arguments, describe, load
from plimsoll_operator.cli.world import World
from plimsoll_operator.facts import PoolFacts

_DESCRIPTION: Final = "GPU pools and what is free in them."
_HEADER: Final = ("POOL", "GPU", "USABLE", "PER NODE", "NODES", "GPUS", "FREE", "BOOKED", "NODES BY FREE GPUS", "SOURCE", "TRUST")
_UNKNOWN: Final = "unknown"


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "capacity", run, _DESCRIPTION)
    add_source_arguments(parser)
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="json and yaml print GPUPool objects")


def run(options: argparse.Namespace) -> int:
    """Print the pools; status 0 also when there are none."""
    try:
        world = load(options, ())
        if options.output == "table":
            print("\n".join(_table(world)))
        else:
            print(_objects(world, options.output), end="")
    except ApiError as error:
        print(describe(error), file=sys.stderr)
        return 2
    return 0


def _table(world: World) -> list[str]:
    offers = world.pool_facts()
    corrections = sorted((pool for pool in world.pools if pool.spec.selector), key=lambda pool: pool.metadata.name)
    lines = ["no GPU pools: no node has GPUs that labels describe"]
    if offers:
        booked = _booked(world)
        rows = [_HEADER, *(_row(facts, booked.get(facts.name, 0)) for facts in offers)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [_correction(pool) for pool in corrections]
    told = {facts.name: facts for facts in (*map(pool_facts, corrections), *offers)}
    lines += [f"{name}: {problem}" for name, facts in sorted(told.items()) for problem in facts.problems]
    if not all(facts.free_is_known for facts in offers):
        lines.append("free is unknown: pods of other namespaces may not be listed, so nothing is called free")
    elif world.nodes and not world.pods:
        lines.append("free counts every allocatable GPU: no pods were given")
    return lines


def _booked(world: World) -> dict[str, int]:
    """GPUs that are booked and not taken yet, by pool."""
    given = {pool.metadata.name: pool.status.booked_gpus for pool in world.pools if pool.status is not None}
    return given | {pool.name: pool.booked_gpus for pool in world.derived}


def _row(facts: PoolFacts, booked: int) -> tuple[str, ...]:
    free = str(sum(gpus * nodes for gpus, nodes in facts.nodes_by_free_gpus)) if facts.free_is_known else _UNKNOWN
    shared = f" ({facts.sharing})" if facts.sharing != "none" else ""
    usable = (
        format_gib(facts.usable_memory_bytes) + ("" if facts.memory_is_exact else " at least") if facts.usable_memory_bytes else _UNKNOWN
    )
    histogram = ", ".join(f"{nodes} x {gpus}" for gpus, nodes in reversed(facts.nodes_by_free_gpus)) or "-"
    trust = "declared" if facts.declared and not facts.nodes else "trusted" if facts.trusted else "not trusted"
    total = facts.nodes * facts.gpus_per_node
    counts = (str(facts.gpus_per_node), str(facts.nodes), str(total), free, str(booked))
    return (facts.name, (facts.product or "-") + shared, usable, *counts, histogram, facts.source or "-", trust)


def _correction(pool: GPUPool) -> str:
    """What a GPUPool with a selector says, and of how many nodes; their GPUs are in the pools above."""
    spec, status = pool.spec, pool.status
    where = ",".join(f"{key}={value}" for key, value in sorted(spec.selector.items()))
    memory = format_gib(spec.usable_memory_bytes) if spec.usable_memory_bytes is not None else None
    said = [spec.product, memory, f"{spec.gpus_per_node} GPUs per node" if spec.gpus_per_node is not None else None, spec.sharing]
    nodes = status.nodes if status is not None else 0
    words = ", ".join(word for word in said if word) or "nothing"
    return f"{pool.metadata.name}: says {words} of {nodes} node{'s' * (nodes != 1)} with {where}"


def _objects(world: World, output: str) -> str:
    derived: list[dict[str, Any]] = [pool_manifest(pool) for pool in world.derived]
    shown = {pool["metadata"]["name"] for pool in derived}
    given = [pool for pool in world.pools if pool.metadata.name not in shown]
    items = derived + [pool.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True) for pool in given]
    items.sort(key=lambda pool: str(pool["metadata"]["name"]))
    listed = {"apiVersion": "v1", "kind": "List", "items": items}
    if output == "json":
        return json.dumps(listed, indent=2, sort_keys=True) + "\n"
    text: str = yaml.safe_dump(listed, sort_keys=False)
    return text
