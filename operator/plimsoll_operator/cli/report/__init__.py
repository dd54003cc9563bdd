"""`plimsoll report`: one page of HTML that stands by itself, for a deployment, a file or a whole cluster. Written to stdout.

Gathers what `plan` gathers, and the InferenceDeployments of a cluster; `page` decides and says what is on the page, `markup` writes it.
Judges with `decide` alone, asks nothing of the pods, and writes into no cluster.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import ApiError, InferenceDeployment
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.importing import known_formats
from plimsoll_operator.cli.load import add_namespace_argument, add_source_arguments, describe, load
from plimsoll_operator.cli.plan import BAD_INPUT, releases_of
from plimsoll_operator.cli.typed import check_dns_label
from plimsoll_operator.cli.world import World
from plimsoll_operator.verdict import Plan

MOST_DEPLOYMENTS: Final = 500
"""On one page: a browser opens it at once, and it is judged in under a minute."""
_DESCRIPTION: Final = (
    "One page of HTML on stdout, complete in itself: memory by component predicted, allocated and observed, the pools, what is refused "
    "with what would be admitted, and what another release of vLLM would change. Of the files given, else of the cluster. Status 0: "
    "written; 2: bad input."
)
_COMPARE: Final = "--compare-engine"


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "report", run, _DESCRIPTION)
    parser.add_argument("name", metavar="NAME", nargs="?", help="one InferenceDeployment of the cluster; all that you may list without it")
    files = "manifests instead of the cluster's InferenceDeployments; with a status (kubectl get -o yaml) what was observed is shown too"
    parser.add_argument("-f", "--filename", metavar="FILE", action="append", type=Path, default=[], help=files)
    add_source_arguments(parser)
    add_namespace_argument(parser)
    against = "show what this release of vLLM would change too; several by commas or by saying it again"
    parser.add_argument(_COMPARE, metavar="VERSION", action="append", default=[], help=against)


def run(options: argparse.Namespace) -> int:
    """Gather, make the page, print it."""
    from plimsoll_operator.cli.report.markup import html_of  # what needs an extra is imported when it is used
    from plimsoll_operator.cli.report.page import page_of

    if sys.stdout.isatty():
        raise InvalidInput("stdout", None, "is a terminal, and the page is for a browser: put `> report.html` behind the command")
    others = releases_of(options.compare_engine)
    try:
        world = _gathered(options)
    except ApiError as error:
        print(describe(error), file=sys.stderr)
        return BAD_INPUT
    chosen, left_out = _chosen(world)
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by plimsoll {version('plimsoll-operator')}"
    print(html_of(page_of(world, chosen, others, made=made, left_out=left_out)), end="")
    return 0


def _gathered(options: argparse.Namespace) -> World:
    """The world with the deployments that are reported on. Raises InvalidInput where there is none to report on, and what `load` raises."""
    if options.name is not None:
        check_dns_label("NAME", options.name)
    if options.filename:
        if options.name is not None:
            raise InvalidInput("NAME", options.name, "is of the cluster, and -f of files: give one of the two")
        world = load(options, options.filename)
        if not world.deployments:
            raise InvalidInput("-f", str(options.filename[0]), f"has no InferenceDeployment; known formats: {known_formats()}")
        return world
    if options.nodes:
        raise InvalidInput("--nodes", str(options.nodes[0]), "is in place of a cluster: what is to be reported on must come with -f")
    world = load(options, ())
    from plimsoll_operator.cli.live import open_cluster, read_deployments

    read_deployments(open_cluster(), world, options.name, everywhere=options.namespace is None and options.name is None)
    if options.name is not None and not world.deployments:
        raise InvalidInput("NAME", options.name, f"is no InferenceDeployment of namespace {world.namespace or 'default'} that can be read")
    return world


def _chosen(world: World) -> tuple[tuple[tuple[InferenceDeployment, Plan | None], ...], int]:
    """By namespace and name, each with the plan in force, and how many more there are than a page holds."""
    found = sorted(world.deployments, key=lambda item: (item.metadata.namespace or "default", item.metadata.name))
    shown = found[:MOST_DEPLOYMENTS]
    return tuple((item, _applied(world, item)) for item in shown), len(found) - len(shown)


def _applied(world: World, item: InferenceDeployment) -> Plan | None:
    """The plan that its pods run: of the child where that was read, else as the status has it."""
    plan = world.plans.get((item.metadata.namespace or "default", item.metadata.name))
    if plan is None and item.status is not None and item.status.plan is not None:
        return item.status.plan.as_plan()
    return plan
