"""The `plimsoll` command (also `kubectl plimsoll`): one parser, sub-commands imported only when they are used.

Each sub-command is a module beside this one with `register(subparsers)`, which adds its parser and sets `run` to a
function of the parsed namespace that returns the exit status. This module knows their names and one-line summaries, maps
expected errors to one line on stderr and status 2, and refuses to know what they do. A command that sets
`takes_engine_arguments` finds what its own parser does not know in `engine_arguments`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Protocol

from plimsoll_estimator import EstimatorError

COMMANDS: Final = (  # name, what it answers
    ("plan", "what Plimsoll would decide about an InferenceDeployment, before it is applied"),
    ("render", "the objects that an admitted InferenceDeployment becomes"),
    ("estimate", "GPU memory of one model on one GPU type, or of a file of cases"),
    ("capacity", "GPU pools and what is free in them"),
    ("profile", "a model's shape as a ModelProfile"),
    ("models", "the shipped catalogue of model shapes"),
    ("gpus", "the GPU products whose memory is known"),
    ("explain", "what a verdict's reason means and what to do about it"),
    ("doctor", "whether this cluster has what Plimsoll needs"),
)


class SubParsers(Protocol):
    """What a sub-command's `register` gets: argparse's factory of sub-parsers."""

    def add_parser(self, name: str, *, help: str, description: str, allow_abbrev: bool) -> argparse.ArgumentParser:  # noqa: A002 - argparse's own name
        """Add one sub-command's parser."""
        ...


class OneLineParser(argparse.ArgumentParser):
    """argparse, with its complaints in one line as all other bad input is."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; status 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def add_command(subparsers: SubParsers, name: str, run: Callable[[argparse.Namespace], int], description: str) -> argparse.ArgumentParser:
    """Add the parser of command `name` with the summary of COMMANDS; `run` gets the namespace and returns the exit status."""
    parser = subparsers.add_parser(name, help=dict(COMMANDS)[name], description=description, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Status 0: answered; 2: the input is at fault (one line on stderr). Bugs keep their traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = OneLineParser(prog="plimsoll", description="Knows before a pod starts whether a vLLM model fits the GPUs.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in COMMANDS:
        if name == wanted:
            importlib.import_module(f"plimsoll_operator.cli.{name}").register(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "takes_engine_arguments", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.engine_arguments = rest
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except EstimatorError as error:
        print(f"plimsoll {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader (head, less) has left; stdout can no longer be flushed at exit
        sys.stderr.close()
        return 0
