"""`plimsoll models`: the shipped catalogue, as far as models can be estimated. Knows how to print it, nothing about memory."""

from __future__ import annotations

import argparse
import json
import sys

from plimsoll_estimator import InvalidInput, Unsupported, catalogue, served_by
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.nicknames import model_called


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "models", run, "Lists the model shapes that Plimsoll carries, or shows one of them.")
    parser.add_argument("name", nargs="?", help="show one model's shape and where it was read")
    parser.add_argument("--search", metavar="TEXT", default="", help="only names that hold every word of TEXT")
    add_output_argument(parser, names=True)


def run(options: argparse.Namespace) -> int:
    """Print names, or one entry."""
    if options.name is not None:
        return _show(options.name, options.output)
    found = catalogue.search(options.search)
    lines = {name: line for name in found if (line := _line(name)) is not None}
    if options.output in ("json", "yaml"):
        print_data(list(lines), options.output)
        return 0
    if options.output == "name":
        print("\n".join(lines))
        return 0
    for line in lines.values():
        print(line)
    unknown = len(found) - len(lines)
    print(
        f"{len(found)} of {len(catalogue.names())} models"
        + (f", {unknown} of them not listed: no rules for their classes" if unknown else "")
    )
    return 0


def _line(name: str) -> str | None:
    """A model, with the releases that serve it where the newest does not; None where no rule describes it."""
    entry = catalogue.entry(name)
    if entry is None:
        return None
    try:
        releases = served_by(entry.config)
    except Unsupported:
        return None
    only = f"  (vLLM {releases})" if releases else ""
    return f"{name:<62} {billions(entry.parameters):>9}  {entry.config.model_type}{only}"


def billions(parameters: int | None) -> str:
    """Parameters in billions with two decimals, or a dash."""
    return "-" if parameters is None else f"{parameters / 1e9:.2f} B"


def not_in_catalogue(field: str, name: str, otherwise: str) -> InvalidInput:
    """The error for an unknown name: with those it resembles, else with what to do otherwise."""
    near = catalogue.resembling(name)
    return InvalidInput(
        field, name, f"is not in the catalogue; it has {', '.join(near)}" if near else f"is not in the catalogue: {otherwise}"
    )


def _show(name: str, output: str) -> int:
    entry = catalogue.entry(name)
    called = None if entry is not None else model_called(name)
    if called is not None:
        print(f"plimsoll models: {name} is taken for {called}", file=sys.stderr)
        entry = catalogue.entry(called)
    if entry is None:
        raise not_in_catalogue("model", name, "`plimsoll models` lists it")
    facts = {
        "model": entry.name,
        "source": entry.source,
        "fidelity": entry.fidelity,
        "parameters": entry.parameters,
        "stored_parameters": entry.stored_parameters,
        "stored_bytes": entry.stored_bytes,
        "revision": entry.revision,
    }
    if output in ("json", "yaml"):
        print_data({**facts, "config": entry.config.as_mapping()}, output)
        return 0
    if output == "name":
        print(entry.name)
        return 0
    for key, value in facts.items():
        if value is not None:
            print(f"{key}: {value}")
    print(json.dumps({k: v for k, v in entry.config.as_mapping().items() if k != "quantization_config"}, indent=2))
    return 0
