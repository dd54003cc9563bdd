"""`plimsoll import`: InferenceDeployments out of manifests that were written for something else, as YAML to apply.

What could not be carried over, and what was assumed, stands in comments above each. Reads files; asks no cluster and decides nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

import yaml

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.importing import Choices, Imported, Note, Outcome, import_objects, known_formats
from plimsoll_operator.cli.manifests import files_of, manifests
from plimsoll_operator.text import one_line
from plimsoll_operator.upgrade import release_named

_BAD_INPUT: Final = 2
_WIDTH: Final = 140
_BUILT: Final = ": a Kustomization says what is put together, so build it first (kubectl kustomize FOLDER | plimsoll import -f -)"
_DESCRIPTION: Final = (
    "Turn manifests that run `vllm serve` into InferenceDeployments, with comments on what could not be carried over. "
    f"Formats: {known_formats()}. Status 0: printed, 2: bad input, or an object that cannot be read."
)


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "import", run, _DESCRIPTION)
    files = "manifests or Helm values, or a folder of them; - reads stdin"
    parser.add_argument("-f", "--filename", metavar="FILE", action="append", type=Path, required=True, help=files)
    parser.add_argument("--image", metavar="IMAGE", help="the engine's image, whatever the files name")
    parser.add_argument("--engine-version", metavar="VERSION", help="the release of vLLM in the image, where its tag does not tell")
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="json has manifests and notes as data")


def run(options: argparse.Namespace) -> int:
    """Print what comes of the files; say on stderr what was passed over or refused."""
    version = None if options.engine_version is None else str(release_named(options.engine_version, "--engine-version"))
    choices = Choices(image=options.image, version=version)
    outcomes = list(chain.from_iterable(_of_a_file(path, choices) for item in options.filename for path in files_of(item)))
    imported = [one for outcome in outcomes for one in outcome.imported]
    if options.output == "json":
        print(json.dumps({"items": [_mapping(one) for one in imported]}))
    else:
        for one in imported:
            print(_document(one), end="")
    refused = [outcome for outcome in outcomes if outcome.refusal is not None]
    for outcome in refused:
        said = str(outcome.refusal)
        line = f"plimsoll import: {said if said.startswith(outcome.origin) else f'{outcome.origin}: {said}'}"
        print(one_line(line, 2000), file=sys.stderr)
    used = {name for outcome in outcomes for name in outcome.used}
    left = [outcome.origin for outcome in outcomes if not outcome.imported and outcome.refusal is None]
    passed = [origin for origin in left if origin not in used]
    for origin in passed if imported else ():
        print(one_line(f"plimsoll import: {origin} is passed over: nothing in it is read as a server of vLLM's", 400), file=sys.stderr)
    if not imported and not refused:
        what = f" ({', '.join(passed)})" if passed else ""
        built = _BUILT if any(origin.startswith("Kustomization") for origin in passed) else ""
        said = one_line(f"holds nothing that runs vLLM{what}", 200)
        raise InvalidInput("--filename", None, f"{said}{built}; known formats: {known_formats()}")
    return _BAD_INPUT if refused else 0


def _of_a_file(path: Path, choices: Choices) -> Iterable[Outcome]:
    return import_objects(list(manifests(path)), choices)


def _mapping(one: Imported) -> dict[str, object]:
    notes = {"notCarriedOver": one.lost, "assumed": one.assumed}
    found = {name: [{"field": note.field, "message": note.message} for note in rows] for name, rows in notes.items()}
    return {"origin": one.origin, "manifest": one.manifest, **found}


def _document(one: Imported) -> str:
    """The manifest as YAML, with what differs above it as comments."""
    lines = [f"From {one.origin}."]
    for title, rows in (("Assumed, since the file does not say it:", one.assumed), ("Not carried over:", one.lost)):
        if rows:
            lines += [title, *chain.from_iterable(_wrapped(note) for note in rows)]
    comments = "".join(f"# {line}\n" for line in lines)
    return f"---\n{comments}{yaml.safe_dump(json.loads(json.dumps(one.manifest)), sort_keys=False, width=_WIDTH)}"


def _wrapped(note: Note) -> list[str]:
    text = one_line(str(note), 1000)
    return textwrap.wrap(text, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
