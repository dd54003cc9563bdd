# ruff: noqa: A005 - a command's module bears the command's name
"""`plimsoll profile`: a model's shape as a ModelProfile, from a folder or from a Hugging Face hub. Never reads weights.

Chooses the source, prints the manifest on stdout and what is not known on stderr. The hub's library is imported only when
it is asked for.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import ImageFolder, PersistentVolumeClaimSource, ProfileOrigin
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.typed import check_dns_label
from plimsoll_operator.profiles.build import Built, Target, build_profile
from plimsoll_operator.profiles.cache import in_cache
from plimsoll_operator.profiles.directory import Directory
from plimsoll_operator.profiles.library import hub_type
from plimsoll_operator.profiles.source import Source
from plimsoll_operator.read_request import DEFAULT_REVISION

_DESCRIPTION: Final = "Make a ModelProfile: config.json and the totals of the safetensors headers. Never reads weights."
_BAR: Final = 24
_SLOW_SECONDS: Final = 0.5


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "profile", run, _DESCRIPTION)
    sources = parser.add_subparsers(dest="origin", metavar="SOURCE", required=True)
    folder = sources.add_parser("from-dir", help="a checkpoint folder", allow_abbrev=False)
    folder.add_argument("folder", type=Path, help="folder with config.json")
    folder.add_argument("--model", required=True, metavar="ORG/NAME", help="what spec.model.name says of it")
    where = folder.add_mutually_exclusive_group()
    where.add_argument("--claim", metavar="NAME", help="the folder lies on this PersistentVolumeClaim: the profile answers for it alone")
    where.add_argument("--image", metavar="REF", help="the folder lies in this OCI image: the profile answers for it alone")
    folder.add_argument("--path", metavar="P", help="with --claim or --image: where in it, relative to its root")
    folder.add_argument("--hub-cache", action="store_true", help="the folder is the hub's cache (HF_HUB_CACHE): the model is found in it")
    _common(folder, "the revision the folder holds; without it the profile answers for every revision")
    hub = sources.add_parser("fetch", help="a model on a Hugging Face hub (HF_ENDPOINT, HF_TOKEN)", allow_abbrev=False)
    hub.add_argument("model", metavar="ORG/NAME", help="the model as the hub spells it")
    _common(hub, "branch, tag or commit; the profile records the commit it stands for")


def _common(parser: argparse.ArgumentParser, revision: str) -> None:
    parser.add_argument("--revision", metavar="R", help=revision)
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--namespace", metavar="N", default="default", help="namespace of the ModelProfile (default: default)")
    scope.add_argument("--cluster", action="store_true", help="make a ClusterModelProfile, which answers for all namespaces")
    parser.add_argument("--name", metavar="NAME", help="name of the object; without it one is made of the model's name")
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="form of the manifest")


def run(options: argparse.Namespace) -> int:
    """Print the manifest. Status 0, or 2 by the errors that the command's frame prints."""
    check_dns_label("--namespace", options.namespace)
    source: Source
    if options.origin == "from-dir" and options.hub_cache:
        source = in_cache(options.folder, options.model, options.revision)
    elif options.origin == "from-dir":
        source = Directory(options.folder, revision=options.revision)
    else:
        source = hub_type().resolve(options.model, options.revision)
    target = Target(
        model=options.model,
        namespace=None if options.cluster else options.namespace,
        obtained_at=_now(),
        name=options.name,
        origin=_origin(options),
        requested_revision=options.revision or DEFAULT_REVISION if options.origin == "fetch" or options.hub_cache else None,
    )
    built = build_profile(source, target, _Bar())
    print(_shown(built, options.output), end="")
    for note in built.notes:
        print(f"plimsoll profile: {note}", file=sys.stderr)
    return 0


def read_hub(model: str) -> Built:
    """The profile of a hub's model as it is now, for every namespace: what a command asks that was given a name alone.

    Raises what `plimsoll profile fetch` raises: HubMissing, SourceFailure, InvalidInput.
    """
    target = Target(model=model, namespace=None, obtained_at=_now(), name=None, origin=None, requested_revision=DEFAULT_REVISION)
    return build_profile(hub_type().resolve(model, None), target, _Bar())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _origin(options: argparse.Namespace) -> ProfileOrigin | None:
    """The volume or image that the folder lies on, where it is said. Judged with the whole profile."""
    if options.origin == "fetch":
        return None
    path = options.path or "."
    if options.image is not None:
        if options.hub_cache:
            raise InvalidInput("--hub-cache", None, "goes with --claim: in an image the model's own folder is named, by --path")
        return ProfileOrigin.model_construct(image=ImageFolder.model_construct(reference=options.image, path=path))
    if options.claim is None:
        if options.path is not None:
            raise InvalidInput("--path", options.path, "needs --claim or --image: it is a place in there")
        return None
    layout = "HubCache" if options.hub_cache else None
    claim = PersistentVolumeClaimSource.model_construct(claim_name=options.claim, path=path, layout=layout)
    return ProfileOrigin.model_construct(persistent_volume_claim=claim)


def _shown(built: Built, output: str) -> str:
    if output == "json":
        return json.dumps(built.manifest, indent=2) + "\n"
    text: str = yaml.safe_dump(dict(built.manifest), sort_keys=False, width=1 << 20)
    return text


class _Bar:
    """A bar on a terminal where reading is slow, erased at the end; nothing elsewhere."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown = False

    def __call__(self, done: int, total: int, name: str) -> None:
        """See build.Progress."""
        if not sys.stderr.isatty() or not (self._shown or time.monotonic() - self._started >= _SLOW_SECONDS):
            return
        filled = _BAR * done // total
        width = max(20, shutil.get_terminal_size().columns - 1)
        line = f"[{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total} headers {_printable(name)}" if done < total else ""
        self._shown = True
        print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)


def _printable(name: str) -> str:
    """A name from a hub, without what a terminal would obey."""
    return "".join(char for char in name if char.isprintable())
