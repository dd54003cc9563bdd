"""`plimsoll doctor`: whether this cluster has what Plimsoll needs. Asks, changes nothing, and says what each lack means."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.live import read_cluster
from plimsoll_operator.cli.world import World

_DESCRIPTION: Final = "Check the cluster of the current kubeconfig. Status 0: all there, 1: something is missing, 2: not reached."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    good: bool
    text: str


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    add_output_argument(add_command(subparsers, "doctor", run, _DESCRIPTION))


def run(options: argparse.Namespace) -> int:
    """Print one line per finding."""
    world = World()
    read_cluster(world)
    findings = [check(world) for check in CHECKS]
    if options.output != "table":
        print_data([asdict(finding) for finding in findings], options.output)
        return 0 if all(finding.good for finding in findings) else 1
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'LACK'} {finding.text}")
    return 0 if all(finding.good for finding in findings) else 1


def has_pools(world: World) -> Finding:
    """Without a GPUPool every deployment is undecided."""
    if world.pools:
        number = len(world.pools)
        return Finding(good=True, text=f"{number} GPU pool{'s are' if number != 1 else ' is'} known")
    return Finding(good=False, text="no GPUPool: is the controller running, and are GPU nodes labelled by GPU feature discovery?")


def pools_are_trusted(world: World) -> Finding:
    """Pools that are not trusted take no pods."""
    bad = sorted(pool.metadata.name for pool in world.pools if pool.status is not None and not pool.status.trusted)
    if bad:
        return Finding(good=False, text=f"pools that nothing is planned on: {', '.join(bad)} (`plimsoll capacity` says why)")
    return Finding(good=True, text="all pools are trusted")


def has_policy(world: World) -> Finding:
    """The built-in defaults hold without a policy named default."""
    broken = [str(row) for row in world.unreadable if row.kind == "FitPolicy"]
    if broken:
        return Finding(good=False, text=f"{', '.join(broken)} cannot be read by this release: nothing is admitted under it")
    named = [policy for policy in world.policies if policy.metadata.name == "default"]
    return Finding(good=True, text="FitPolicy default is there" if named else "no FitPolicy default: the built-in defaults hold")


def has_leader_worker_sets(world: World) -> Finding:
    """Only replicas over several nodes need it."""
    served = "LeaderWorkerSet is served: replicas may span nodes"
    absent = "LeaderWorkerSet is not served: placement.maxNodesPerReplica above 1 needs it"
    return Finding(good=True, text=served if world.leader_worker_sets else absent)


CHECKS: Final[tuple[Callable[[World], Finding], ...]] = (has_pools, pools_are_trusted, has_policy, has_leader_worker_sets)
