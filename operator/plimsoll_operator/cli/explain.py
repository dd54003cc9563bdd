"""`plimsoll explain REASON`: what a reason means and what to do. Prints two tables and the problems of pools; knows no more."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.capacity.problems import Problem
from plimsoll_operator.cli.check_reasons import CHECKS
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.reasons import Reason, Why

_LEFT_OUT: Final = "Such nodes are left out of every plan: correct their labels, or say what they have in a GPUPool (docs/capacity.md)."
_COUNTED: Final = "Shown and counted; what is left of the nodes is planned with."


def _of_problem(problem: Problem) -> tuple[str, str]:
    sentence = problem.sentence
    return f"On nodes of a GPU pool: {sentence}.", _LEFT_OUT if problem.excludes else _COUNTED


EXPLAINED: Final[Mapping[str, tuple[str, str]]] = {
    **{str(problem): _of_problem(problem) for problem in Problem},
    **{str(reason): (reason.means, reason.to_do) for reason in (*Reason, *Why)},
    **{str(check): said for check, said in CHECKS.items()},
}


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "explain", run, "Says what a reason of a verdict, condition or event means and what to do about it.")
    parser.add_argument("reason", nargs="?", help="for example InsufficientKvCache; without it all are listed")
    add_output_argument(parser, names=True)


def run(options: argparse.Namespace) -> int:
    """Print one reason, or all."""
    chosen = {name: EXPLAINED[name] for name in ([_known(options.reason)] if options.reason else EXPLAINED)}
    if options.output in ("json", "yaml"):
        print_data([{"reason": name, "means": means, "do": do} for name, (means, do) in chosen.items()], options.output)
        return 0
    if options.output == "name":
        print("\n".join(chosen))
        return 0
    for name, (means, do) in chosen.items():
        print(f"{name}\n  {means}\n  {do}")
    return 0


def _known(reason: str) -> str:
    for name in EXPLAINED:
        if name.lower() == reason.lower():
            return name
    spelt = {name.lower(): name for name in EXPLAINED}
    like = ", ".join(spelt[near] for near in difflib.get_close_matches(reason.lower(), spelt, n=3, cutoff=0.7))
    raise InvalidInput("reason", reason, f"is none that is known; {f'like it are {like}' if like else '`plimsoll explain` lists them'}")
