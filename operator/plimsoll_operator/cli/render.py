"""`plimsoll render`: what admitted InferenceDeployments become, as YAML: workload and Service. Prints, applies nothing."""

from __future__ import annotations

import argparse
import sys
from typing import Final

import yaml

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.plan import ADMITTED, BAD_INPUT, add_request_arguments, asked_world, judge, status_of, worst
from plimsoll_operator.cli.plan_text import verdict_mapping
from plimsoll_operator.names import REPLAN_ANNOTATION
from plimsoll_operator.render import Origin, render_budget, render_service, render_workload, spec_digest
from plimsoll_operator.verdict import Admit, Resize

_DESCRIPTION: Final = "Print the objects that InferenceDeployments become. Status as `plimsoll plan`."


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    add_request_arguments(add_command(subparsers, "render", run, _DESCRIPTION))


def run(options: argparse.Namespace) -> int:
    """Print children of what is admitted; say why not on stderr for the rest. The worst status wins."""
    world = asked_world(options)
    if world is None:
        return BAD_INPUT
    statuses = [ADMITTED]
    for deployment, raw_spec in zip(world.deployments, world.raw_specs, strict=True):
        verdict = judge(world, deployment, fresh=options.fresh)
        statuses.append(status_of(verdict))
        if isinstance(verdict, Admit | Resize):
            metadata = deployment.metadata
            replan = metadata.annotations.get(REPLAN_ANNOTATION, "")
            origin = Origin(generation=metadata.generation, spec_digest=spec_digest(raw_spec), replan=replan)
            budget = render_budget(deployment, verdict.plan)
            for child in (render_workload(deployment, verdict.plan, origin), render_service(deployment), *([budget] if budget else [])):
                print(yaml.safe_dump(_by_itself(child), sort_keys=False, explicit_start=True), end="")
        else:
            print(f"{deployment.metadata.name}: {verdict_mapping(verdict)['message']}", file=sys.stderr)
    return worst(statuses)


def _by_itself(child: Manifest) -> Manifest:
    """The object without what only a stored InferenceDeployment has: an owner's uid, and a namespace where the file names none."""
    metadata = dict(child["metadata"])
    if not metadata["namespace"]:
        del metadata["namespace"]
    metadata["ownerReferences"] = [owner for owner in metadata["ownerReferences"] if owner["uid"]]
    if not metadata["ownerReferences"]:
        del metadata["ownerReferences"]
    return {**child, "metadata": metadata}
