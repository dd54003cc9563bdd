"""Where the cluster's side of the facts comes from: the options that say so, and the World that is read as they say.

Called by the commands that decide about manifests.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import ApiError
from plimsoll_operator.cli.config_maps import read_config_maps
from plimsoll_operator.cli.importing import Choices, Others, import_object
from plimsoll_operator.cli.live import current_namespace, read_cluster
from plimsoll_operator.cli.manifests import files_of, manifests
from plimsoll_operator.cli.typed import check_dns_label
from plimsoll_operator.cli.world import World, take
from plimsoll_operator.names import API_VERSION


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the cluster's side of the facts comes from."""
    source = parser.add_mutually_exclusive_group()
    nodes = "nodes (also pods, GPUPools, FitPolicies) as YAML or JSON"
    source.add_argument("--nodes", metavar="FILE", action="append", type=Path, help=nodes)
    source.add_argument("--cluster", action="store_true", help="the cluster of the current kubeconfig (the default without --nodes)")
    lws = "take LeaderWorkerSet as installed, for replicas over several nodes (a cluster is asked itself)"
    parser.add_argument("--leader-worker-set", action="store_true", help=lws)
    parser.add_argument("--profiles", metavar="FILE", action="append", type=Path, default=[], help="ModelProfiles and ClusterModelProfiles")


def add_namespace_argument(parser: argparse.ArgumentParser) -> None:
    """In which namespace the objects are that name none."""
    where = "where objects go that name none, and whose policies and profiles count: the kubeconfig's without it, as for kubectl"
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help=where)


def _namespace(options: argparse.Namespace, *, without_cluster: bool) -> str | None:
    """As typed, else as the kubeconfig has it where a cluster is asked; files are in `default`. Raises InvalidInput."""
    typed: str | None = getattr(options, "namespace", None)
    if typed is None:
        return None if options.nodes or without_cluster else current_namespace()
    check_dns_label("--namespace", typed)
    return typed


def _check_namespace(options: argparse.Namespace, world: World) -> None:
    """As kubectl does: a file that names another namespace than was typed is a mistake. Raises InvalidInput."""
    typed = getattr(options, "namespace", None)
    for item in world.deployments:
        if typed is not None and item.metadata.namespace not in (None, typed):
            raise InvalidInput("--namespace", typed, f"is not {item.metadata.namespace}, which {item.metadata.name} names")


def load(options: argparse.Namespace, files: Iterable[Path], *, without_cluster: bool = False) -> World:
    """Read everything the options name, and the cluster unless there are nodes. Raises InvalidInput and ApiError naming file and field."""
    world = World(leader_worker_sets=options.leader_worker_set, namespace=_namespace(options, without_cluster=without_cluster))
    for path in chain.from_iterable(files_of(item) for item in files):
        _take_wishes(world, path)
    for path in chain.from_iterable(files_of(item) for item in [*options.profiles, *(options.nodes or [])]):
        for manifest in manifests(path):
            take(world, manifest, str(path))
    _check_namespace(options, world)
    if options.nodes:
        world.derive_pools()
    elif not without_cluster:
        read_cluster(world)
    if world.config_maps:
        read_config_maps(world)
    return world


def _take_wishes(world: World, path: Path) -> None:
    """The objects of one file, and of what runs vLLM some other way the InferenceDeployment that it would be; pods are what there is."""
    objects = list(manifests(path))
    others = Others.of(objects)
    for manifest in objects:
        take(world, manifest, str(path))
        if manifest.get("kind") == "Pod" or manifest.get("apiVersion") == API_VERSION:
            continue
        outcome = import_object(manifest, others, Choices())
        if outcome.refusal is not None:
            raise outcome.refusal
        for imported in outcome.imported:
            world.imported.append(imported)
            take(world, imported.manifest, str(path))


def load_what_answers(options: argparse.Namespace) -> tuple[World | None, str]:
    """The cluster where one answers; else None and why none does. Raises what files raise."""
    load(options, (), without_cluster=True)  # what is wrong with the files is not the cluster's fault
    try:
        return load(options, ()), ""
    except InvalidInput as error:
        return None, str(error)


def describe(error: ApiError) -> str:
    """All causes on one line each."""
    return "\n".join(str(cause) for cause in error.causes)
