"""`plimsoll completion bash`: a script that completes commands, options and choices in a shell, made by shtab from the parsers themselves.

The only module that imports shtab. Knows no command: it asks each for its parser.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Final

import shtab

from plimsoll_operator.cli.command import COMMANDS, SubParsers, add_command, module_of

SHELLS: Final = ("bash", "zsh", "fish", "tcsh")
_DESCRIPTION: Final = (
    "Print a shell's completion script. bash: `source <(plimsoll completion bash)` in ~/.bashrc; "
    "zsh: `plimsoll completion zsh > ${fpath[1]}/_plimsoll`; fish: `plimsoll completion fish > ~/.config/fish/completions/plimsoll.fish`."
)


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    add_command(subparsers, "completion", run, _DESCRIPTION).add_argument("shell", choices=SHELLS, help="the shell that reads it")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print(shtab.complete(whole_parser(), shell=options.shell))
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """The command's parser with every sub-command in it; main's has only the one that was typed."""
    parser = argparse.ArgumentParser(prog="plimsoll")
    parser.add_argument("--version", action="store_true", help="print the version and the releases of vLLM that are known")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, _ in COMMANDS:
        importlib.import_module(module_of(name)).register(subparsers)
    return parser
