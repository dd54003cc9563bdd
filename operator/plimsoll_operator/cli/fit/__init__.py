"""`plimsoll fit MODEL`: on which GPUs a model fits, with which layout, context and concurrency; in one table.

Over the cluster's GPUs, those of files of nodes, or nodes of the shipped table's. Gathers as `plan` does, calls the one `decide` for every
figure, prints the table, or what to apply or run. Decides nothing itself and writes nothing to a cluster.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import Final

import yaml

from plimsoll_estimator import EstimatorError, InvalidInput, catalogue, known_gpus
from plimsoll_operator.api import ApiError, GPUPool, parse_inference_deployment, parse_object
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.fit.data import mapping_of
from plimsoll_operator.cli.fit.request import FitRequest, Layout, fit_request_of, manifest_of
from plimsoll_operator.cli.fit.rows import Row, Table, table_of
from plimsoll_operator.cli.fit.text import lines_of
from plimsoll_operator.cli.load import add_namespace_argument, add_source_arguments, describe, load, load_what_answers
from plimsoll_operator.cli.models import not_in_catalogue
from plimsoll_operator.cli.nicknames import NamedGpu, gpu_among, gpu_named, model_called
from plimsoll_operator.cli.profile import read_hub
from plimsoll_operator.cli.screen import screen_of_stdout
from plimsoll_operator.cli.world import World, take
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.render import serve_arguments
from plimsoll_operator.verdict import Undecided

_GPUS_PER_NODE: Final = 8
_MOST_PRODUCTS: Final = 64
_OUTPUTS: Final = ("table", "json", "yaml", "name", "manifest", "command")
_DESCRIPTION: Final = (
    "On which GPUs does a model fit, with which layout, context and concurrency? Status 0: on some of them, 1: on none, "
    "3: not known, 2: bad input."
)


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "fit", run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help="a model as the hub spells it, or what people call it: llama-3.1-8b")
    parser.add_argument(
        "--gpu", metavar="GPUS", action="append", default=[], help="only these, by commas: h100,l40s,a100-80gb,4090; 2xh100: nodes of two"
    )
    parser.add_argument("--all", action="store_true", help="nodes of eight of every GPU in the shipped table, whatever a cluster has")
    parser.add_argument("--tp", metavar="SIZES", action="append", default=[], help="a row for each tensor parallel size: 1,2,4,8")
    lengths = "a column for each length of requests: 8K,32K,128K"
    parser.add_argument("--context", metavar="TOKENS", action="append", default=[], help=lengths)
    parser.add_argument("--users", metavar="N", help="requests in flight at once, each as long as --context says, or 8K")
    parser.add_argument("--engine-version", metavar="VERSION", help="the release of vLLM, the newest known one without it")
    add_namespace_argument(parser)
    parser.add_argument(
        "-o", "--output", choices=_OUTPUTS, default="table", help="name: the GPUs that do; manifest: to apply; command: to run"
    )
    parser.add_argument("--offline", action="store_true", help="ask no hub about a model that nothing here describes")
    add_source_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Ask of every GPU, print the answer; the status is the best of the rows."""
    try:
        world, source = _world(options)
        table = table_of(fit_request_of(options, _model(options, world)), world, _products(options, world, source), source)
    except ApiError as error:
        print(describe(error), file=sys.stderr)
        return 2
    _print(table, options)
    if table.best is not None:
        return 0
    return 3 if isinstance(table.open, Undecided) else 1


def _world(options: argparse.Namespace) -> tuple[World, str]:
    """What the options name: files, the cluster, or a declared pool of each GPU that was asked for."""
    if options.all and (options.gpu or options.nodes or options.cluster):
        raise InvalidInput("--all", None, "means the whole shipped table: leave out --gpu, --nodes and --cluster")
    if options.nodes or options.cluster:
        return load(options, ()), "files" if options.nodes else "cluster"
    if not options.all and not options.gpu:
        found, why = load_what_answers(options)
        if found is not None:
            return found, "cluster"
        print(f"plimsoll fit: no cluster is asked, but the shipped table: {why}", file=sys.stderr)
    world = load(options, (), without_cluster=True)
    named = _named(options) or [NamedGpu(products=tuple(known_gpus()), gpus=None)]
    for one in named:
        world.pools += [_declared(product, one.gpus or _GPUS_PER_NODE) for product in one.products]
    return world, "table"


def _declared(product: str, gpus: int) -> GPUPool:
    """A node of so many of these GPUs, which there may be."""
    spec = {"declared": True, "product": product, "gpusPerNode": gpus, "maxNodes": 1}
    name = f"{product.lower()}-x{gpus}"
    return parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": name}, "spec": spec})


def _named(options: argparse.Namespace) -> list[NamedGpu]:
    """What --gpu says, each product once."""
    words = [word for text in options.gpu for word in text.split(",") if word.strip()]
    if len(words) > _MOST_PRODUCTS:
        raise InvalidInput("--gpu", len(words), f"names are more than {_MOST_PRODUCTS}")
    return list(dict.fromkeys(gpu_named(word, "--gpu") for word in words))


def _products(options: argparse.Namespace, world: World, source: str) -> tuple[str, ...]:
    """Of a cluster's or files' GPUs those that --gpu names; empty: all."""
    if source == "table" or not options.gpu:
        return ()
    measured = {pool.key.product for pool in world.derived}
    measured |= {pool.status.product for pool in world.pools if pool.status is not None and pool.status.product}
    there = tuple(sorted(measured - {""}))
    there += tuple(sorted({pool.spec.product for pool in world.pools if pool.spec.product} - set(there)))
    otherwise = f"there are {', '.join(there)}" if there else "there is none"
    words = [word for text in options.gpu for word in text.split(",") if word.strip()]
    return tuple(product for word in words for product in gpu_among(word, "--gpu", there, otherwise).products)


def _model(options: argparse.Namespace, world: World) -> str:
    """The model that is meant; one that nothing here describes is read from the hub: config.json and headers, never weights.

    Raises InvalidInput, and what reading the hub raises.
    """
    name: str = options.model
    described = {profile.spec.model for profile in world.profiles} | {profile.spec.model for profile in world.cluster_profiles}
    if name in described or catalogue.entry(name) is not None:
        return name
    called = model_called(name)
    if called is not None:
        print(f"plimsoll fit: {name} is taken for {called}", file=sys.stderr)
        return called
    if name.count("/") == 1 and not options.offline:
        _take_from_hub(name, world)
        return name
    raise not_in_catalogue("MODEL", name, "describe it by --profiles FILE, or name it as the hub does, ORG/NAME; see `plimsoll models`")


def _take_from_hub(name: str, world: World) -> None:
    """Add the hub's own description of the model. Raises InvalidInput with what the hub answered and which models are called alike."""
    try:
        built = read_hub(name)
    except EstimatorError as error:
        near = catalogue.resembling(name)
        known = f"; the catalogue has {', '.join(near)}" if near else "; describe it by --profiles FILE"
        raise InvalidInput("MODEL", name, f"is not described here, and the hub was asked in vain ({error}){known}") from error
    take(world, dict(built.manifest), "the hub")
    for note in built.notes:
        print(f"plimsoll fit: {note}", file=sys.stderr)


def _print(table: Table, options: argparse.Namespace) -> None:
    if options.output == "json":
        print(json.dumps(mapping_of(table), indent=2))
    elif options.output == "yaml":
        print(yaml.safe_dump(mapping_of(table), sort_keys=False), end="")
    elif options.output == "name":
        for product in dict.fromkeys(row.card.product for row in table.rows if row.plan is not None):
            print(product)
    elif options.output == "table":
        print("\n".join(lines_of(table, screen_of_stdout(), f"plimsoll {shlex.join(_without_output(options.typed))}")))
    elif table.best is None:
        print("\n".join(lines_of(table, screen_of_stdout(), "")), file=sys.stderr)
    else:
        print(_manifest(table.request, table.best) if options.output == "manifest" else _command(table.request, table.best))


def _without_output(typed: list[str]) -> list[str]:
    """What was typed but for the form of the answer."""
    pairs = zip(["", *typed], typed, strict=False)
    return [word for before, word in pairs if before not in ("-o", "--output") and word not in ("-o", "--output", "-otable")]


def _chosen(request: FitRequest, row: Row) -> dict[str, object]:
    """The manifest of a row: what was asked, on its GPU. A layout that nobody asked for is left to be chosen again."""
    plan = row.plan
    assert plan is not None
    size = plan.tensor_parallel_size if request.sizes else None
    length = plan.max_model_len if request.lengths else None
    return manifest_of(request, Layout(tensor=size), length, row.card.product, row.card.sharing)


def _manifest(request: FitRequest, row: Row) -> str:
    text: str = yaml.safe_dump(_chosen(request, row), sort_keys=False)
    return text.rstrip("\n")


def _command(request: FitRequest, row: Row) -> str:
    """The `vllm serve` line of the row's pods. Raises InvalidInput where one line is not enough."""
    plan = row.plan
    assert plan is not None
    if plan.nodes_per_replica > 1:
        raise InvalidInput("-o", "command", f"is one machine's, and this takes {plan.nodes_per_replica}: use -o manifest")
    return shlex.join(["vllm", "serve", *serve_arguments(parse_inference_deployment(_chosen(request, row)), plan)])
