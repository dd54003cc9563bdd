"""A model in the Hugging Face hub's cache on a file system: which folder holds the revision. Used by the reader and `plimsoll profile`.

The layout is huggingface_hub's ("Manage the huggingface_hub cache-system"): models--ORG--NAME has refs/REVISION, a file with a commit, and
snapshots/COMMIT with links to its blobs. What is written there is input from outside: bounded, and no path of it is followed but these.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.names import COMMIT
from plimsoll_operator.profiles.directory import Directory, failure
from plimsoll_operator.profiles.source import SourceFailure
from plimsoll_operator.read_request import DEFAULT_REVISION
from plimsoll_operator.reasons import NoShape

_ID: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")
_REVISION: Final = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_LONGEST_COMMIT: Final = 64


def in_cache(cache: Path, model: str, revision: str | None) -> Directory:
    """The folder of the model at the revision, with the commit it is of.

    Raises SourceFailure where it is not there, and InvalidInput of a name or revision that no hub has.
    """
    if not _ID.fullmatch(model):
        raise InvalidInput("model", model, "must be the model's id on the hub, such as org/name")
    folder = cache / f"models--{model.replace('/', '--')}"
    wanted = revision or DEFAULT_REVISION
    commit = wanted if COMMIT.fullmatch(wanted) else _commit(folder, wanted, model)
    snapshot = folder / "snapshots" / commit
    if not _is_folder(snapshot):
        raise _absent(cache, folder, model, f"commit {commit}")
    return Directory(snapshot, revision=commit)


def _commit(folder: Path, revision: str, model: str) -> str:
    """What the client has noted for a branch or tag."""
    if not _REVISION.fullmatch(revision) or ".." in revision.split("/") or revision.startswith("/"):
        raise InvalidInput("revision", revision, "must be a branch, a tag or a commit")
    try:
        with (folder / "refs" / revision).open("rb") as file:
            text = file.read(_LONGEST_COMMIT).decode("ascii", "replace").strip()
    except FileNotFoundError as error:
        raise _absent(folder.parent, folder, model, revision) from error
    except OSError as error:
        raise failure(folder / "refs" / revision, error) from error
    if not COMMIT.fullmatch(text):
        raise InvalidInput(f"refs/{revision}", None, "holds no commit")
    return text


def _is_folder(path: Path) -> bool:
    """Raises SourceFailure where that may not be seen."""
    try:
        return path.is_dir()
    except OSError as error:
        raise failure(path, error) from error


def _absent(cache: Path, folder: Path, model: str, what: str) -> SourceFailure:
    """Which of the usual mistakes it is: another folder is meant, the model was never fetched, or not at that revision."""
    if _is_folder(folder):
        return SourceFailure(
            NoShape.NOT_FOUND, f"the hub's cache has {model}, and not {what}: fetch that revision, or name one that is there"
        )
    if _is_folder(cache / "hub" / folder.name):
        return SourceFailure(NoShape.NOT_FOUND, f"{model} lies in the folder hub of the one that is named: add hub to the path")
    return SourceFailure(NoShape.NOT_FOUND, f"there is no {folder.name} in the hub's cache: fetch {model} into it, or correct the path")
