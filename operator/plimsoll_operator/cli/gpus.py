"""`plimsoll gpus`: the products whose CUDA-visible memory is known, with the evidence, and what a release of vLLM can do on each.

Knows how to print the table.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from plimsoll_estimator import EngineVersion, format_gib, gpu_from, known_gpus, support_of, support_sources
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.nicknames import gpu_named
from plimsoll_operator.cli.screen import aligned

_WIDTH: Final = 80
_INDENT: Final = " " * 12


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "gpus", run, "Lists GPU products: what CUDA reports, not what the box says.")
    add_output_argument(parser, names=True)
    parser.add_argument("--gpu", metavar="NAME", help="only the products that this stands for, such as t4 or NVIDIA-L4")
    parser.add_argument(
        "--engine-version", metavar="VERSION", help="show what this vLLM release has for each: kernels, fp8 cache, dtypes, quantisation"
    )


def run(options: argparse.Namespace) -> int:
    """Print the table, smallest card first."""
    named = (
        known_gpus() if options.gpu is None else {product: known_gpus()[product] for product in gpu_named(options.gpu, "--gpu").products}
    )
    rows = sorted(named.values(), key=lambda gpu: (gpu.total_memory_bytes, gpu.product))
    if options.output == "name":
        print("\n".join(row.product for row in rows))
        return 0
    if options.engine_version is not None:
        _print_support([(row.product, row.compute_capability) for row in rows], EngineVersion.parse(options.engine_version), options.output)
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


def _print_support(cards: Sequence[tuple[str, tuple[int, int]]], version: EngineVersion, output: str) -> None:
    """What the release has for each: by compute capability for people, by product for programs."""
    lines, sources = [_line(product, capability, version) for product, capability in cards], support_sources(version)
    if output in ("json", "yaml"):
        print_data({"engine_version": str(version), "gpus": lines, "sources": sources}, output)
        return
    lines.sort(key=_served)
    print(f"vLLM {version}: what it has for each GPU, before any model is looked at\n")
    print("\n".join((*_cards(lines), "", *_methods(lines), "", *_from(sources))))


def _line(product: str, capability: tuple[int, int], version: EngineVersion) -> dict[str, Any]:
    found = support_of(gpu_from(product), version)
    return {
        "product": product,
        "compute_capability": capability,
        "kernels": found.kernels,
        "why": found.why,
        "dtypes": found.dtypes,
        "fp8_cache": found.fp8_cache,
        "quantization": {method.name: {"dtypes": method.dtypes, "deprecated": method.deprecated} for method in found.quantization},
    }


def _served(line: dict[str, Any]) -> tuple[Any, ...]:
    """What cards of one row have in common; the dtypes follow from the capability."""
    return tuple(line[key] for key in ("compute_capability", "kernels", "why", "fp8_cache"))


def _cards(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One row for the cards of a compute capability that are served alike, and below it their names."""
    groups = [(first, [line["product"] for line in (first, *others)]) for _, (first, *others) in groupby(lines, _served)]
    cells = [("CAPABILITY", "KERNELS", "FP8 CACHE", "DTYPES")]
    cells += [
        (_dotted(first["compute_capability"]), first["kernels"], first["fp8_cache"], ", ".join(first["dtypes"])) for first, _ in groups
    ]
    title, *rows = ("  ".join(row).rstrip() for row in aligned(cells))
    yield title
    for row, (first, products) in zip(rows, groups, strict=True):
        yield row
        yield from _wrapped(", ".join(products))
        if first["why"]:
            yield from _wrapped(f"({first['why']})")


def _methods(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Each quantisation method, on which of these compute capabilities, and in which dtypes there."""
    by_capability = {line["compute_capability"]: line["quantization"] for line in lines}
    cells = [("QUANTISATION", "CAPABILITY", "DTYPES")]
    for name in sorted({name for taken in by_capability.values() for name in taken}):
        shown = name
        on = [(capability, taken.get(name)) for capability, taken in by_capability.items()]
        for method, alike in groupby(on, lambda pair: pair[1]):
            capabilities = [capability for capability, _ in alike]
            if method is not None:
                cells.append((shown + " *" * method["deprecated"], _span(capabilities), ", ".join(method["dtypes"])))
                shown = ""
    yield from ("  ".join(row).rstrip() for row in aligned(cells))
    if any(method["deprecated"] for taken in by_capability.values() for method in taken.values()):
        yield "* deprecated: refused without --allow-deprecated-quantization"


def _from(sources: dict[str, str]) -> Iterator[str]:
    yield "Where each is from:"
    for column, source in sources.items():
        yield from textwrap.wrap(f"{column}: {source}", _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _wrapped(text: str) -> Iterable[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False, break_long_words=False)


def _span(capabilities: Sequence[tuple[int, int]]) -> str:
    first, last = _dotted(capabilities[0]), _dotted(capabilities[-1])
    return first if first == last else f"{first} to {last}"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
