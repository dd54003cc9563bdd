"""`plimsoll plan`: what would be decided about InferenceDeployments, before they are applied.

Gathers from files or a cluster, calls the one `decide`, prints; under other releases of vLLM too, where asked. `-o json` and `-o yaml`
are one form, whose `plan` is what the controller records. Decides nothing itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from plimsoll_estimator import EngineVersion, InvalidInput
from plimsoll_operator.api import ApiError, InferenceDeployment
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.comparison_text import comparison_lines, comparison_mapping
from plimsoll_operator.cli.importing import Imported, known_formats
from plimsoll_operator.cli.load import add_namespace_argument, add_source_arguments, describe, load
from plimsoll_operator.cli.plan_text import answer_mapping, manifest_lines, verdict_lines, verdict_mapping
from plimsoll_operator.cli.screen import screen_of_stdout
from plimsoll_operator.cli.world import World
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.text import one_line
from plimsoll_operator.upgrade import Comparison, Judged, compare, release_named
from plimsoll_operator.upgrade import judge as judge_release
from plimsoll_operator.verdict import Reason, Reject, Undecided, Verdict

ADMITTED: Final = 0
REJECTED: Final = 1
BAD_INPUT: Final = 2
UNDECIDED: Final = 3
_SEVERITY: Final = (ADMITTED, UNDECIDED, REJECTED, BAD_INPUT)
_MOST_COMPARED: Final = 8
_COMPARE: Final = "--compare-engine"
_DESCRIPTION: Final = (
    "Decide about InferenceDeployments. Status 0: admitted or resized, 1: rejected, 3: undecided, 2: bad input; "
    "of several objects or releases the worst."
)


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "plan", run, _DESCRIPTION)
    add_request_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml"),
        default="table",
        help="json: one line an object, yaml: one document, of one form",
    )
    parser.add_argument("--engine-version", metavar="VERSION", help="judge as if the engine were this release of vLLM")
    against = "show the same request under this release too, side by side; several by commas or by saying it again"
    parser.add_argument(_COMPARE, metavar="VERSION", action="append", default=[], help=against)


def run(options: argparse.Namespace) -> int:
    """Decide about every InferenceDeployment of the files, under every release asked for; the worst status wins."""
    release = None if options.engine_version is None else release_named(options.engine_version, "--engine-version")
    others = releases_of(options.compare_engine)
    world = asked_world(options)
    if world is None:
        return BAD_INPUT
    statuses = [ADMITTED]
    for deployment in world.deployments:
        name, facts = deployment.metadata.name, _facts(world, deployment, fresh=options.fresh)
        if others:
            comparison = compare(facts, others, release)
            statuses += [status_of(judged.verdict) for judged in comparison.judged]
            _print_comparison(name, comparison, options.output)
        else:
            judged = judge_release(facts, release)
            statuses.append(status_of(judged.verdict))
            _print(deployment, judged, options.output)
    return worst(statuses)


def releases_of(given: list[str]) -> tuple[EngineVersion, ...]:
    """What --compare-engine names, each once. Raises InvalidInput."""
    found = tuple(dict.fromkeys(release_named(text.strip(), _COMPARE) for texts in given for text in texts.split(",")))
    if len(found) > _MOST_COMPARED:
        raise InvalidInput(_COMPARE, len(found), f"releases are more than {_MOST_COMPARED}")
    return found


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be decided about, and where the cluster's side of the facts comes from."""
    files = "manifests, also of what runs vLLM some other way (see `plimsoll import`), or a folder of them; - reads stdin"
    parser.add_argument("-f", "--filename", metavar="FILE", action="append", type=Path, required=True, help=files)
    add_source_arguments(parser)
    add_namespace_argument(parser)
    parser.add_argument("--fresh", action="store_true", help="ignore the plan that is applied")


def asked_world(options: argparse.Namespace) -> World | None:
    """All that was read; None, with a line on stderr, where an object is refused or there is nothing to decide about."""
    try:
        world = load(options, options.filename)
    except ApiError as error:
        print(describe(error), file=sys.stderr)
        return None
    if not world.deployments:
        nothing = f"no InferenceDeployment in the files, and nothing that runs vLLM some other way; known formats: {known_formats()}"
        print(f"plimsoll {options.command}: {nothing}", file=sys.stderr)
        return None
    for imported in world.imported:
        _say_what_differs(options.command, imported)
    return world


def _say_what_differs(command: str, imported: Imported) -> None:
    """On stderr, of what was read from something else: what was assumed, which the answer rests on, and how much is left out."""
    name = imported.manifest["metadata"]["name"]
    lines = [f"{name} is read from {imported.origin}", *(one_line(str(note), 400) for note in imported.assumed)]
    if imported.lost:
        lines.append(f"not carried over: {len(imported.lost)}; `plimsoll import -f` of the same file names each")
    for line in lines:
        print(f"plimsoll {command}: {line}", file=sys.stderr)


def worst(statuses: list[int]) -> int:
    """The status that stands for several: bad input, then rejected, then undecided."""
    return max(statuses, key=_SEVERITY.index)


def judge(world: World, deployment: InferenceDeployment, *, fresh: bool) -> Verdict:
    """The verdict, with the applied plan unless it is to be ignored."""
    return decide(_facts(world, deployment, fresh=fresh))


def _facts(world: World, deployment: InferenceDeployment, *, fresh: bool) -> Facts:
    key = (deployment.metadata.namespace or "default", deployment.metadata.name)
    return facts_for(deployment, world, applied_plan=None if fresh else world.plans.get(key))


def status_of(verdict: Verdict) -> int:
    """The exit status that stands for the verdict."""
    if isinstance(verdict, Reject):
        return BAD_INPUT if verdict.reason == Reason.INVALID_SPEC else REJECTED
    return UNDECIDED if isinstance(verdict, Undecided) else ADMITTED


def _print(deployment: InferenceDeployment, judged: Judged, output: str) -> None:
    """One verdict: for people, or in the one form of docs/plan.schema.json."""
    verdict, name = judged.verdict, deployment.metadata.name
    if status_of(verdict) == BAD_INPUT:
        print(f"{name}: {verdict_mapping(verdict)['message']}", file=sys.stderr)
    elif output != "table":
        data = answer_mapping(name, deployment.metadata.namespace or "default", judged)
        print(_one_line(data) if output == "json" else _document(data))
    else:
        lines = [judged.stored_as_a_warning] if judged.stored_as_a_warning else []
        print("\n".join([*verdict_lines(name, verdict, screen_of_stdout()), *(f"  {line}" for line in [*lines, *manifest_lines(judged)])]))


def _print_comparison(name: str, comparison: Comparison, output: str) -> None:
    if output == "table":
        print("\n".join(comparison_lines(name, comparison)))
    else:
        data = comparison_mapping(name, comparison)
        print(_one_line(data) if output == "json" else _document(data))


def _one_line(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _document(data: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(data, sort_keys=False, explicit_start=True)
    return text.rstrip("\n")
