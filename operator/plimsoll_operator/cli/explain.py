"""`plimsoll explain REASON`: what a reason means and what to do. Prints the tables of reasons, by what they are said of; knows no more."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.capacity.problems import Problem
from plimsoll_operator.cli.check_reasons import CHECKS
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.phase import Phase
from plimsoll_operator.reasons import CONDITION_REASONS, Reason
from plimsoll_operator.reasons.explained import Explained

Sentences = tuple[str, str]
_GOOD: Final = "Nothing to do."  # said of one reason, not again and again in the list of all


def _of_problem(problem: Problem) -> Sentences:
    return f"On nodes of a GPU pool: {problem.sentence}.", problem.to_do


def _of(members: Iterable[Explained]) -> dict[str, Sentences]:
    return {str(member): (member.means, member.to_do) for member in members}


_WORDS_OF_REASONS: Final = frozenset(map(str, (*Reason, *CONDITION_REASONS)))
GROUPS: Final[tuple[tuple[str, Mapping[str, Sentences]], ...]] = (
    ("verdict", _of(Reason)),
    ("condition or event", _of(CONDITION_REASONS)),
    ("STATUS of kubectl get infd", _of(phase for phase in Phase if str(phase) not in _WORDS_OF_REASONS)),
    ("problem of nodes", {str(problem): _of_problem(problem) for problem in Problem}),
    ("check of vLLM", {str(check): said for check, said in CHECKS.items()}),
)
"""What the reasons are said of, and the reasons; a word that several groups have means the first."""

EXPLAINED: Final[Mapping[str, Sentences]] = dict(chain.from_iterable(group.items() for _, group in reversed(GROUPS)))
KINDS: Final[Mapping[str, str]] = {name: kind for kind, group in reversed(GROUPS) for name in group}


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "explain", run, "Says what a reason of a verdict, condition or event means and what to do about it.")
    parser.add_argument("reason", nargs="?", help="for example InsufficientKvCache; without it all are listed")
    add_output_argument(parser, names=True)


def run(options: argparse.Namespace) -> int:
    """Print one reason, or all by what they are said of and by name."""
    order = [name for kind, group in GROUPS for name in sorted(group, key=str.lower) if KINDS[name] == kind]
    chosen = [_known(options.reason)] if options.reason else order
    if options.output in ("json", "yaml"):
        rows = [{"reason": name, "kind": KINDS[name], "means": EXPLAINED[name][0], "do": EXPLAINED[name][1]} for name in chosen]
        print_data(rows, options.output)
        return 0
    if options.output == "name":
        print("\n".join(chosen))
        return 0
    kind = ""
    for name in chosen:
        means, do = EXPLAINED[name]
        if not options.reason and KINDS[name] != kind:
            print(f"{'' if not kind else chr(10)}# {KINDS[name]}")
            kind = KINDS[name]
        print(f"{name}\n  {means}" + (f"\n  {do}" if options.reason or do != _GOOD else ""))
    return 0


def _known(reason: str) -> str:
    for name in EXPLAINED:
        if name.lower() == reason.lower():
            return name
    spelt = {name.lower(): name for name in EXPLAINED}
    like = ", ".join(spelt[near] for near in difflib.get_close_matches(reason.lower(), spelt, n=3, cutoff=0.7))
    raise InvalidInput("reason", reason, f"is none that is known; {f'like it are {like}' if like else '`plimsoll explain` lists them'}")
