"""`plimsoll gpus`: the products whose CUDA-visible memory is known, with the evidence, and what a release of vLLM can do on each.

Knows how to print the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from plimsoll_estimator import SUPPORT_SOURCES, EngineVersion, format_gib, gpu_from, known_gpus, support_of
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.screen import aligned


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "gpus", run, "Lists GPU products: what CUDA reports, not what the box says.")
    add_output_argument(parser, names=True)
    parser.add_argument(
        "--engine-version", metavar="VERSION", help="show what this vLLM release has for each: kernels, fp8 cache, dtypes, quantisation"
    )


def run(options: argparse.Namespace) -> int:
    """Print the table, smallest card first."""
    rows = sorted(known_gpus().values(), key=lambda gpu: (gpu.total_memory_bytes, gpu.product))
    if options.output == "name":
        print("\n".join(row.product for row in rows))
        return 0
    if options.engine_version is not None:
        _print_support([row.product for row in rows], EngineVersion.parse(options.engine_version), options.output)
        return 0
    if options.output in ("json", "yaml"):
        keys = ("product", "total_memory_bytes", "compute_capability", "interconnect", "evidence")
        print_data([{key: getattr(row, key) for key in keys} for row in rows], options.output)
        return 0
    cells = [("PRODUCT", "MEMORY", "CAPABILITY", "LINK", "WHERE THE FIGURE IS FROM")]
    for row in rows:
        major, minor = row.compute_capability
        cells.append((row.product, format_gib(row.total_memory_bytes), f"sm_{major}{minor}", row.interconnect, row.evidence))
    for line in aligned(cells, (1,)):
        print("  ".join(line).rstrip())
    return 0


def _print_support(products: Sequence[str], version: EngineVersion, output: str) -> None:
    lines: list[dict[str, Any]] = []
    for product in products:
        found = support_of(gpu_from(product), version)
        lines.append(
            {
                "product": product,
                "kernels": found.kernels,
                "why": found.why,
                "dtypes": found.dtypes,
                "fp8_cache": found.fp8_cache,
                "quantization": found.quantization,
            }
        )
    if output in ("json", "yaml"):
        print_data({"engine_version": str(version), "gpus": lines, "sources": SUPPORT_SOURCES}, output)
        return
    print(f"{'vLLM ' + str(version):<44} {'kernels':<10} {'fp8 cache':<20} dtypes; quantisation methods")
    for line in lines:
        methods = ", ".join(line["quantization"])
        print(f"{line['product']:<44} {line['kernels']:<10} {line['fp8_cache']:<20} {', '.join(line['dtypes'])}; {methods}")
        if line["why"]:
            print(f"  {line['why']}")
    print(f"Sources: {SUPPORT_SOURCES}")
