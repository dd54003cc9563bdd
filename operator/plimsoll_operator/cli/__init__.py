"""The `plimsoll` command (also `kubectl plimsoll`): one parser, sub-commands imported only when they are used.

Each sub-command is a module beside this one with `register(subparsers)`, which adds its parser and sets `run` to a
function of the parsed namespace that returns the exit status. `command` has their names and one-line summaries; this module maps
expected errors to one line on stderr and status 2, and refuses to know what they do. A command that sets
`takes_engine_arguments` finds what its own parser does not know in `engine_arguments`; `typed` is the whole line.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final, NoReturn

from plimsoll_estimator import NEWEST_KNOWN, OLDEST_KNOWN, EstimatorError
from plimsoll_operator.cli.command import COMMANDS, module_of

_BAD_INPUT: Final = 2
_INTERRUPTED: Final = 130
_NOT_WRITTEN: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Of an output whose disk is full, or gone."""


class OneLineParser(argparse.ArgumentParser):
    """argparse, with its complaints in one line as all other bad input is."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; status 2."""
        self.exit(_BAD_INPUT, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Status 0: answered; 2: the input is at fault (one line on stderr); 130: stopped by Ctrl-C.

    An output that nobody reads any more (head, less) ends the command in silence, one that cannot be written with a line and status 2.
    Bugs keep their traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    status = 0
    try:
        status = _run(arguments)
        sys.stdout.flush()  # here, where what goes wrong can be said
        return status
    except EstimatorError as error:
        print(f"plimsoll {_command(arguments)}: {error}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("plimsoll: stopped", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        _leave_stdout()
        return status
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        _leave_stdout()
        print(f"plimsoll: the output cannot be written: {error.strerror}", file=sys.stderr)
        return _BAD_INPUT


def _leave_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter has nothing to complain of when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _command(arguments: Sequence[str]) -> str | None:
    """The sub-command that was typed."""
    return next((word for word in arguments if not word.startswith("-")), None)


def _run(arguments: list[str]) -> int:
    parser = OneLineParser(prog="plimsoll", description="Knows before a pod starts whether a vLLM model fits the GPUs.")
    parser.add_argument("--version", action="store_true", help="print the version and the releases of vLLM that are known")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    wanted = _command(arguments)
    names = [name for name, _ in COMMANDS]
    if wanted is not None and wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1)
        parser.error(f"there is no command {wanted[:64]!r}" + (f": did you mean {near[0]}?" if near else ""))
    for name, summary in COMMANDS:
        if name == wanted:
            importlib.import_module(module_of(name)).register(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "takes_engine_arguments", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.version:
        print(f"plimsoll {version('plimsoll-operator')}, knows vLLM {OLDEST_KNOWN} to {NEWEST_KNOWN}")
        return 0
    if wanted is None:
        parser.print_help()
        return 0
    options.engine_arguments, options.typed = rest, arguments
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)
