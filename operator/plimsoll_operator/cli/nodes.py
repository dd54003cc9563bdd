"""`plimsoll nodes`: the GPUs of each node as they are planned with, and what is doubted of them, with both figures where two differ.

From files, or from a cluster whose nodes may be listed. Prints what the capacity index makes of a node; judges nothing.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from plimsoll_estimator import format_gib
from plimsoll_operator.capacity import CapacityIndex, NodeGpus, corrections_of
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.live import read_nodes
from plimsoll_operator.cli.load import add_source_arguments, load
from plimsoll_operator.cli.screen import aligned
from plimsoll_operator.cli.world import World

_DESCRIPTION: Final = "GPUs by node: product, usable memory, pool, and what is doubted of them and why."
_HEADER: Final = ("NODE", "GPU", "USABLE", "GPUS", "SOURCE", "PLANNED WITH", "DOUBTS")
_UNKNOWN: Final = "unknown"


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "nodes", run, _DESCRIPTION)
    add_source_arguments(parser)
    parser.add_argument("--doubted", action="store_true", help="only nodes of whose GPUs something is doubted")
    add_output_argument(parser, names=True)


def run(options: argparse.Namespace) -> int:
    """Print a line for each kind of GPU of each node, then the doubts; status 0 also when there are none."""
    world = load(options, (), without_cluster=True)
    if not options.nodes:
        read_nodes(world)
    rows = rows_of(world)
    shown = [row for row in rows if row.findings] if options.doubted else rows
    if options.output == "table":
        print("\n".join(_table(shown, of=len(rows))))
    elif options.output == "name":
        print("\n".join(dict.fromkeys(f"node/{row.node}" for row in shown)))
    else:
        print_data([_data(row) for row in shown], options.output)
    return 0


def rows_of(world: World) -> list[NodeGpus]:
    """The GPUs of the nodes, as the GPUPools that select them correct them, by the node's name."""
    index = CapacityIndex(corrections=corrections_of([*world.pools, *(row for row in world.unreadable if row.kind == "GPUPool")]))
    for node in world.nodes:
        index.node_event("ADDED", node)
    return list(index.node_gpus())


def _table(rows: list[NodeGpus], *, of: int) -> list[str]:
    if not rows:
        return ["nothing is doubted of any node's GPUs" if of else "no node has GPUs that labels or resources describe"]
    cells = [_HEADER, *(_cells(row) for row in rows)]
    lines = ["  ".join(row).rstrip() for row in aligned(cells, (2, 3))]
    doubts = [f"{row.node}: {finding.problem}: {finding.detail or finding.problem.sentence}" for row in rows for finding in row.findings]
    return [*lines, *([""] if doubts else []), *dict.fromkeys(doubts)]


def _cells(row: NodeGpus) -> tuple[str, ...]:
    key = row.key
    usable = format_gib(key.usable_memory_bytes) if key.usable_memory_bytes else _UNKNOWN
    product = (key.product or "-") + (f" ({key.sharing})" if key.sharing != "none" else "")
    doubts = ", ".join(dict.fromkeys(finding.problem.value for finding in row.findings))
    return (row.node, product, usable, str(key.gpus_per_node), key.source.value, "yes" if row.trusted else "no", doubts or "-")


def _data(row: NodeGpus) -> dict[str, Any]:
    key = row.key
    return {
        "node": row.node,
        "pool": row.pool,
        "product": key.product or None,
        "usableMemoryBytes": key.usable_memory_bytes or None,
        "gpus": key.gpus_per_node,
        "sharing": key.sharing,
        "resource": key.resource,
        "source": key.source.value,
        "correctedBy": key.corrected_by or None,
        "plannedWith": row.trusted,
        "doubts": [
            {"problem": finding.problem.value, "text": finding.detail or finding.problem.sentence, "excludes": finding.problem.excludes}
            for finding in row.findings
        ],
    }
