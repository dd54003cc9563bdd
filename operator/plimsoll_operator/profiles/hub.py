"""A model on a Hugging Face hub or a mirror of it (HF_ENDPOINT): its commit, its files' sizes, and range reads of them.

Used by `plimsoll profile fetch`, the reader pod and the controller. Says what the hub's answers mean; how they are had within
bounds is `transport`'s. The hub's API: https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from plimsoll_estimator import InvalidInput, parse_json
from plimsoll_operator.names import COMMIT
from plimsoll_operator.profiles.access import Access, endpoint_from_environment
from plimsoll_operator.profiles.source import MAX_FILES, SourceFailure
from plimsoll_operator.profiles.transport import Patience, Refusal, get_range
from plimsoll_operator.reasons import NoShape

MAX_API_BYTES: Final = 16 << 20
_MODEL: Final = re.compile(r"(?!\.+(/|$))[\w.-]+(/(?!\.+$)[\w.-]+)?", re.ASCII)


class Hub:
    """One model at one commit. Made by `resolve`."""

    __slots__ = ("_access", "_commit", "_model", "_patience", "_sizes")

    def __init__(self, access: Access, patience: Patience, model: str, commit: str, sizes: Mapping[str, int]) -> None:
        self._access = access
        self._patience = patience
        self._model = model
        self._commit = commit
        self._sizes = sizes

    @classmethod
    def resolve(cls, model: str, revision: str | None, access: Access | None = None, patience: Patience | None = None) -> Hub:
        """Ask the hub for the commit behind a branch, tag or commit, and for the files. Raises SourceFailure, InvalidInput.

        Without `access` HF_ENDPOINT is asked with the token that huggingface_hub finds.
        """
        if not _MODEL.fullmatch(model):
            raise InvalidInput("model", model, "must be org/name as the hub spells it")
        access = access or Access(endpoint=endpoint_from_environment())
        patience = patience or Patience()
        wanted = f"/revision/{quote(revision, safe='')}" if revision else ""
        path = f"/api/models/{quote(model)}{wanted}?blobs=true"
        body = _get(access, patience, path, 0, MAX_API_BYTES + 1, f"{model}{_at(revision)}")
        if len(body) > MAX_API_BYTES:
            raise SourceFailure(NoShape.UNREACHABLE, f"{access.endpoint} answered with more than {MAX_API_BYTES} bytes about {model}")
        commit, sizes = _listing(body, access.endpoint, model)
        return cls(access, patience, model, commit, sizes)

    @property
    def kind(self) -> str:
        """hub, and which."""
        return f"hub {urlsplit(self._access.endpoint).hostname}"

    @property
    def revision(self) -> str | None:
        """The commit."""
        return self._commit

    def sizes(self) -> Mapping[str, int]:
        """Sizes in bytes of the files at the top."""
        return self._sizes

    def read(self, name: str, offset: int, length: int) -> bytes:
        """A range of one file at the commit. Raises SourceFailure."""
        path = f"/{quote(self._model)}/resolve/{self._commit}/{quote(name)}"
        return _get(self._access, self._patience, path, offset, length, f"{self._model}/{name[:120]}")


def _get(access: Access, patience: Patience, path: str, offset: int, length: int, what: str) -> bytes:
    try:
        return get_range(access, path, offset, length, what=what, patience=patience)
    except Refusal as refusal:
        raise _failure(refusal, what, access.whose) from refusal


def _at(revision: str | None) -> str:
    return f" at {revision}" if revision else ""


def _listing(body: bytes, endpoint: str, model: str) -> tuple[str, Mapping[str, int]]:
    """Commit and sizes from the API's answer. Files in folders are left out: vLLM loads what lies at the top."""
    try:
        answer = parse_json(body, "the answer")
    except InvalidInput as error:
        raise SourceFailure(NoShape.UNREACHABLE, f"{endpoint} answered about {model} with what is not JSON") from error
    commit = answer.get("sha") if isinstance(answer, dict) else None
    siblings = answer.get("siblings") if isinstance(answer, dict) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or not isinstance(siblings, list) or len(siblings) > MAX_FILES:
        raise SourceFailure(NoShape.UNREACHABLE, f"{endpoint} answered about {model} without a commit and at most {MAX_FILES} files")
    sizes: dict[str, int] = {}
    for item in siblings:
        name, size = (item.get("rfilename"), item.get("size")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or "/" in name or name in ("", ".", ".."):
            continue
        if type(size) is not int or size < 0:
            raise SourceFailure(NoShape.UNREACHABLE, f"{endpoint} does not tell the size of {model}/{name[:120]}")
        sizes[name] = size
    return commit, sizes


def _failure(refusal: Refusal, what: str, whose: str) -> SourceFailure:
    """What a 4xx means: the hub answers 401 for what is private and for what is not there."""
    status, code = refusal.status, refusal.code
    if code == "GatedRepo" or status == 403:
        return SourceFailure(NoShape.GATED, f"{what} needs access that {whose} does not give: accept its terms on the hub for its account")
    if status == 401:
        return SourceFailure(NoShape.NOT_FOUND, f"{what} does not exist, or it is private and {whose} does not open it")
    if status == 404:
        detail = {"RevisionNotFound": "no such revision", "EntryNotFound": "no such file"}.get(code, "no such model")
        return SourceFailure(NoShape.NOT_FOUND, f"{what}: {detail}")
    return SourceFailure(NoShape.UNREACHABLE, f"{what}: the hub answered {status}")
