"""The sub-commands by name, and what each of them adds its parser with. Below every command; knows none of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from keyword import iskeyword
from typing import Final, Protocol

COMMANDS: Final = (  # name, what it answers
    ("plan", "what Plimsoll would decide about an InferenceDeployment, before it is applied"),
    ("fit", "on which GPUs a model fits, with which layout, context and concurrency"),
    ("render", "the objects that an admitted InferenceDeployment becomes"),
    ("estimate", "GPU memory of one model on one GPU type, or of a file of cases"),
    ("observe", "what an engine's log says it took, beside what is predicted of the same start"),
    ("capacity", "GPU pools and what is free in them"),
    ("nodes", "GPUs by node, and what is doubted of them and why"),
    ("import", "InferenceDeployments out of manifests that run vLLM some other way"),
    ("init", "a manifest to begin with, its choices explained in comments"),
    ("status", "how an InferenceDeployment is doing: plan, pods, what stands in the way and what next"),
    ("report", "one page of HTML: memory predicted, allocated and observed, pools, what is refused and what would do"),
    ("profile", "a model's shape as a ModelProfile"),
    ("models", "the shipped catalogue of model shapes"),
    ("gpus", "the GPU products whose memory is known"),
    ("explain", "what a verdict's reason means and what to do about it"),
    ("doctor", "whether this cluster has what Plimsoll needs, and whether what is installed works"),
    ("completion", "a script that completes this command in a shell"),
)


def module_of(name: str) -> str:
    """The module of a sub-command; a word that Python keeps for itself ends in an underscore there."""
    return f"plimsoll_operator.cli.{name}{'_' if iskeyword(name) else ''}"


class SubParsers(Protocol):
    """What a sub-command's `register` gets: argparse's factory of sub-parsers."""

    def add_parser(self, name: str, *, help: str, description: str, allow_abbrev: bool) -> argparse.ArgumentParser:  # noqa: A002 - argparse's own name
        """Add one sub-command's parser."""
        ...


def add_command(subparsers: SubParsers, name: str, run: Callable[[argparse.Namespace], int], description: str) -> argparse.ArgumentParser:
    """Add the parser of command `name` with the summary of COMMANDS; `run` gets the namespace and returns the exit status."""
    parser = subparsers.add_parser(name, help=dict(COMMANDS)[name], description=description, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def add_output_argument(parser: argparse.ArgumentParser, *, names: bool = False, more: tuple[str, ...] = ()) -> None:
    """`-o table|json|yaml`, `name` where there are names to list, and what else a command has; --json is the same as -o json."""
    forms = ("table", "json", "yaml", *(("name",) if names else ()), *more)
    parser.add_argument("-o", "--output", choices=forms, default="table", help="table for people, the others for programs")
    parser.add_argument("--json", action="store_const", dest="output", const="json", help="the same as -o json")


def print_data(data: object, output: str) -> None:
    """The data as one line of JSON, or as YAML, whose library is imported only then."""
    if output == "json":
        print(json.dumps(data))
        return
    import yaml

    print(yaml.safe_dump(json.loads(json.dumps(data)), sort_keys=False), end="")
