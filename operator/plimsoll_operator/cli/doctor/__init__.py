"""`plimsoll doctor`: whether this cluster has what Plimsoll needs, and whether what is installed works.

Reads once (`seen`), judges purely (`checks`), prints a line a finding. Changes nothing: its one creation is a dry run.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from typing import Final

from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.doctor.checks import Finding, Level, findings_of
from plimsoll_operator.cli.doctor.seen import see
from plimsoll_operator.cli.live import current_namespace, open_cluster
from plimsoll_operator.cli.screen import Screen, folded, screen_of_stdout
from plimsoll_operator.cli.world import World

_DESCRIPTION: Final = "Check the cluster of the current kubeconfig. Status 0: nothing is missing, 1: something is, 2: not reached."
_HEADS: Final[dict[Level, tuple[str, str]]] = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "lack": ("LACK", "red")}


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "doctor", run, _DESCRIPTION)
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="where the dry run is tried: the kubeconfig's namespace without it")
    add_output_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Print one line per finding."""
    namespace = options.namespace or current_namespace()
    seen = see(open_cluster(), World(namespace=namespace), namespace or "default", datetime.now(UTC), time.sleep)
    findings = findings_of(seen)
    if options.output != "table":
        print_data([{"good": row.good, "level": row.level, "text": row.text} for row in findings], options.output)
    else:
        print("\n".join(lines_of(findings, screen_of_stdout())))
    return 0 if all(finding.good for finding in findings) else 1


def lines_of(findings: tuple[Finding, ...], screen: Screen) -> list[str]:
    """A line a finding, and a closing one."""
    lacks = sum(not finding.good for finding in findings)
    lines = []
    for row in findings:
        head, colour = _HEADS[row.level]
        first, *rest = folded(f"{head} {row.text}", screen, " " * (len(head) + 1))
        lines += [screen.paint(head, colour) + first[len(head) :], *rest]
    return [*lines, "", "nothing is missing" if not lacks else f"{lacks} thing{'s are' if lacks != 1 else ' is'} missing"]
