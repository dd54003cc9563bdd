"""The `plimsoll` command (also `kubectl plimsoll`): one parser, sub-commands imported only when they are used.

Each sub-command is a module beside this one with `register(subparsers)`, which adds its parser and sets `run` to a
function of the parsed namespace that returns the exit status. `command` has their names and one-line summaries; this module maps
expected errors to one line on stderr and status 2, and refuses to know what they do. A command that sets
`takes_engine_arguments` finds what its own parser does not know in `engine_arguments`; `typed` is the whole line.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from plimsoll_estimator import EstimatorError
from plimsoll_operator.cli.command import COMMANDS


class OneLineParser(argparse.ArgumentParser):
    """argparse, with its complaints in one line as all other bad input is."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; status 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


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
    options.engine_arguments, options.typed = rest, arguments
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except EstimatorError as error:
        print(f"plimsoll {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader (head, less) has left; stdout can no longer be flushed at exit
        sys.stderr.close()
        return 0
