"""`plimsoll gpus`: the products whose CUDA-visible memory is known, with the evidence. Knows how to print the table."""

from __future__ import annotations

import argparse
import json

from plimsoll_estimator import format_gib, known_gpus
from plimsoll_operator.cli import SubParsers, add_command


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "gpus", run, "Lists GPU products: what CUDA reports, not what the box says.")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the table, smallest card first."""
    rows = sorted(known_gpus().values(), key=lambda gpu: (gpu.total_memory_bytes, gpu.product))
    if options.json:
        keys = ("product", "total_memory_bytes", "compute_capability", "interconnect", "evidence")
        print(json.dumps([{key: getattr(row, key) for key in keys} for row in rows]))
        return 0
    for row in rows:
        major, minor = row.compute_capability
        print(f"{row.product:<44} {format_gib(row.total_memory_bytes):>11}  sm_{major}{minor:<3} {row.interconnect:<8} {row.evidence}")
    return 0
