"""Where the cluster's side of the facts comes from: the options that say so, and the World that is read as they say.

Called by the commands that decide about manifests.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from plimsoll_operator.api import (
    ApiError,
)
from plimsoll_operator.cli.config_maps import read_config_maps
from plimsoll_operator.cli.live import read_cluster
from plimsoll_operator.cli.manifests import manifests
from plimsoll_operator.cli.world import World, take


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the cluster's side of the facts comes from."""
    source = parser.add_mutually_exclusive_group()
    nodes = "nodes (also pods, GPUPools, FitPolicies) as YAML or JSON"
    source.add_argument("--nodes", metavar="FILE", action="append", type=Path, help=nodes)
    source.add_argument("--cluster", action="store_true", help="the cluster of the current kubeconfig (the default without --nodes)")
    lws = "take LeaderWorkerSet as installed, for replicas over several nodes (a cluster is asked itself)"
    parser.add_argument("--leader-worker-set", action="store_true", help=lws)
    parser.add_argument("--profiles", metavar="FILE", action="append", type=Path, default=[], help="ModelProfiles and ClusterModelProfiles")


def load(options: argparse.Namespace, files: Iterable[Path], *, without_cluster: bool = False) -> World:
    """Read everything the options name, and the cluster unless there are nodes. Raises InvalidInput and ApiError naming file and field."""
    world = World(leader_worker_sets=options.leader_worker_set)
    for path in [*files, *options.profiles, *(options.nodes or [])]:
        for manifest in manifests(path):
            take(world, manifest, str(path))
    if options.nodes:
        world.derive_pools()
    elif not without_cluster:
        read_cluster(world)
    if world.config_maps:
        read_config_maps(world)
    return world


def describe(error: ApiError) -> str:
    """All causes on one line each."""
    return "\n".join(str(cause) for cause in error.causes)
