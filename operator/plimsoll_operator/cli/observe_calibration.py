"""`plimsoll observe -o calibration`: starts as evidence, added to an EngineCalibration that an administrator reads and applies.

Called by cli.observe with logs that were read, or for what the controller has read in a cluster. Prints the object on stdout, and on stderr
what each start counts for; what is learned of it is `learning`'s. Writes into no cluster.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import yaml

from plimsoll_estimator import InvalidInput, format_gib
from plimsoll_operator.api import Correction, EngineCalibration, parse_object
from plimsoll_operator.cli.manifests import manifests
from plimsoll_operator.cli.observe_text import COMPARED, UNKNOWN, Observation
from plimsoll_operator.cli.typed import check_dns_label
from plimsoll_operator.cli.world import World
from plimsoll_operator.learning import Learned, NoVote, Seen, kind_of, learn, seen_in_log, seen_in_status
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.text import one_line

CALIBRATION: Final = "calibration"
_NAME: Final = "learned"
_MOST_WORDS: Final = 600


def add_calibration_arguments(parser: argparse.ArgumentParser) -> None:
    """What `-o calibration` asks for beside the logs."""
    where = "with -o calibration: the namespace that the engines ran in, and with --cluster the only one that is read"
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help=where)
    parser.add_argument("--add", metavar="FILE", type=Path, help="with -o calibration: an EngineCalibration whose evidence is kept")
    cluster = "with -o calibration: also every start that the controller has read, as far as you may list InferenceDeployments"
    parser.add_argument("--cluster", action="store_true", help=cluster)


def print_calibration(options: argparse.Namespace, found: Iterable[Observation]) -> int:
    """The EngineCalibration with these starts. Status 0, or 3 where no start has a vote."""
    if options.file:
        if options.namespace is None:
            raise InvalidInput("--namespace", None, "is needed: a start is evidence of the namespace it ran in")
        check_dns_label("--namespace", options.namespace)
    name, before = _before(options.add)
    starts: list[Seen] = []
    for label, start in _starts(options, found):
        if isinstance(start, NoVote):
            _say(f"{label} has no vote: {start.why}")
        else:
            starts.append(start)
            _say(f"{label}: {start.model}, {start.kind}, off by {_signed(start.residual_bytes)}")
    learned = learn(before, starts)
    _tell(learned)
    manifest = {"apiVersion": API_VERSION, "kind": "EngineCalibration", "metadata": {"name": name}, "spec": _spec(learned.corrections)}
    print(yaml.safe_dump(manifest, sort_keys=False), end="")
    return COMPARED if starts else UNKNOWN


def _before(path: Path | None) -> tuple[str, tuple[Correction, ...]]:
    if path is None:
        return _NAME, ()
    for manifest in manifests(path):
        if manifest.get("kind") == "EngineCalibration":
            found = parse_object(EngineCalibration, manifest)
            return found.metadata.name, found.spec.corrections
    raise InvalidInput("--add", str(path), "has no EngineCalibration")


def _starts(options: argparse.Namespace, found: Iterable[Observation]) -> Iterator[tuple[str, Seen | NoVote]]:
    for one in found:
        if one.prepared is None or one.estimate is None or one.model is None:
            yield one.name, NoVote(why=one.missing[0] if one.missing else "vLLM is predicted to refuse its arguments")
        else:
            yield one.name, seen_in_log(one.log, one.prepared, one.estimate, model=one.model, namespace=options.namespace)
    if options.cluster:
        yield from _of_cluster(options)


def _of_cluster(options: argparse.Namespace) -> Iterator[tuple[str, Seen | NoVote]]:
    from plimsoll_operator.cli.live import current_namespace, open_cluster, read_deployments

    world = World(namespace=options.namespace or current_namespace())
    read_deployments(open_cluster(), world, None, everywhere=options.namespace is None)
    yield from starts_of(world)


def starts_of(world: World) -> Iterator[tuple[str, Seen | NoVote]]:
    """Every start that the controller wrote into the status of a deployment, beside the plan that it was of."""
    for item in world.deployments:
        status, namespace = item.status, item.metadata.namespace or "default"
        plan = status.plan.as_plan() if status is not None and status.plan is not None else None
        observed = status.observed if status is not None else None
        if plan is None or observed is None or observed.plan_digest != plan.digest:
            continue
        for start in observed.starts:
            yield f"{namespace}/{item.metadata.name}, pod {start.pod}", seen_in_status(plan, start, namespace=namespace)


def _tell(learned: Learned) -> None:
    for row in learned.corrections:
        kind = kind_of(row)
        if kind is not None:
            namespaces = len({one.namespace for one in row.evidence})
            what = f"{_signed(row.add_bytes)} are added" if row.add_bytes else "nothing is added"
            _say(f"{kind}: {len({one.model for one in row.evidence})} models of {namespaces} namespaces; {what}")
    for line in learned.outliers:
        _say(line)


def _spec(corrections: Iterable[Correction]) -> dict[str, object]:
    return {"corrections": [row.model_dump(mode="json", by_alias=True, exclude_none=True) for row in corrections]}


def _say(line: str) -> None:
    print(f"plimsoll observe: {one_line(line, _MOST_WORDS)}", file=sys.stderr)


def _signed(size: int) -> str:
    return f"{'+' if size >= 0 else '-'}{format_gib(abs(size))}"
