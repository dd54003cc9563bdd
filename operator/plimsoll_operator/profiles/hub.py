"""A model on a Hugging Face hub or a mirror of it (HF_ENDPOINT): its commit, its files' sizes, and range reads of them.

Used by `plimsoll profile fetch`. Tokens and the HTTP session come from huggingface_hub; redirects, sizes and times are bounded
here, and the token goes to no other origin than the endpoint. The hub's API: https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from httpx2 import HTTPError, InvalidURL, Response
from huggingface_hub import get_session, get_token

from plimsoll_estimator.errors import InvalidInput
from plimsoll_operator.profiles.access import endpoint_from_environment
from plimsoll_operator.profiles.source import MAX_FILES, SourceFailure

SOCKET_TIMEOUT_SECONDS: Final = 10.0
BODY_TIMEOUT_SECONDS: Final = 60.0
MAX_WAIT_SECONDS: Final = 10.0
ATTEMPTS: Final = 3
MAX_REDIRECTS: Final = 5
MAX_API_BYTES: Final = 16 << 20
_MODEL: Final = re.compile(r"(?!\.+(/|$))[\w.-]+(/(?!\.+$)[\w.-]+)?", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_OK: Final = (200, 206, 416)


class Hub:
    """One model at one commit. Made by `resolve`."""

    __slots__ = ("_commit", "_endpoint", "_model", "_sizes")

    def __init__(self, endpoint: str, model: str, commit: str, sizes: Mapping[str, int]) -> None:
        self._endpoint = endpoint
        self._model = model
        self._commit = commit
        self._sizes = sizes

    @classmethod
    def resolve(cls, model: str, revision: str | None) -> Hub:
        """Ask the hub for the commit behind a branch, tag or commit, and for the files. Raises SourceFailure, InvalidInput."""
        if not _MODEL.fullmatch(model):
            raise InvalidInput("model", model, "must be org/name as the hub spells it")
        endpoint = endpoint_from_environment()
        wanted = f"/revision/{quote(revision, safe='')}" if revision else ""
        body = _get(endpoint, f"/api/models/{quote(model)}{wanted}?blobs=true", 0, MAX_API_BYTES + 1, f"{model}{_at(revision)}")
        if len(body) > MAX_API_BYTES:
            raise SourceFailure("Unreachable", f"{endpoint} answered with more than {MAX_API_BYTES} bytes about {model}")
        commit, sizes = _listing(body, endpoint, model)
        return cls(endpoint, model, commit, sizes)

    @property
    def kind(self) -> str:
        """hub, and which."""
        return f"hub {urlsplit(self._endpoint).hostname}"

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
        return _get(self._endpoint, path, offset, length, f"{self._model}/{name}")


def _at(revision: str | None) -> str:
    return f" at {revision}" if revision else ""


def _listing(body: bytes, endpoint: str, model: str) -> tuple[str, Mapping[str, int]]:
    """Commit and sizes from the API's answer. Files in folders are left out: vLLM loads what lies at the top."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SourceFailure("Unreachable", f"{endpoint} answered about {model} with what is not JSON") from error
    commit = answer.get("sha") if isinstance(answer, dict) else None
    siblings = answer.get("siblings") if isinstance(answer, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(siblings, list) or len(siblings) > MAX_FILES:
        raise SourceFailure("Unreachable", f"{endpoint} answered about {model} without a commit and at most {MAX_FILES} files")
    sizes: dict[str, int] = {}
    for item in siblings:
        name, size = (item.get("rfilename"), item.get("size")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or "/" in name or name in ("", ".", ".."):
            continue
        if type(size) is not int or size < 0:
            raise SourceFailure("Unreachable", f"{endpoint} does not tell the size of {model}/{name[:120]}")
        sizes[name] = size
    return commit, sizes


def _get(endpoint: str, path: str, offset: int, length: int, what: str) -> bytes:
    """The bytes of a range, over at most ATTEMPTS tries where the hub is busy."""
    for attempt in range(1, ATTEMPTS + 1):
        with _answer(endpoint, path, offset, length) as response:
            status = response.status_code
            if status in _OK:
                return _body(response, offset, length, what)
            if status != 429 and status < 500:
                raise _refusal(response, what)
            wait = _wait(response.headers.get("retry-after"), attempt)
        if attempt < ATTEMPTS:
            time.sleep(wait)
    raise SourceFailure("Unreachable", f"{endpoint} answered {status} to {ATTEMPTS} requests for {what}")


@contextmanager
def _answer(endpoint: str, path: str, offset: int, length: int) -> Iterator[Response]:
    """The answer after redirects; the token is sent to the endpoint's origin only."""
    url = endpoint + path
    for _ in range(MAX_REDIRECTS + 1):
        headers = {"user-agent": "plimsoll", "range": f"bytes={offset}-{offset + length - 1}", "accept-encoding": "identity"}
        token = get_token()
        if token and _origin(url) == _origin(endpoint):
            headers["authorization"] = f"Bearer {token}"
        try:
            with get_session().stream("GET", url, headers=headers, timeout=SOCKET_TIMEOUT_SECONDS, follow_redirects=False) as response:
                location = response.headers.get("location") if 300 <= response.status_code < 400 else None
                if location is None:
                    yield response
                    return
        except (HTTPError, InvalidURL, OSError) as error:
            raise SourceFailure("Unreachable", f"{urlsplit(url).hostname}: {type(error).__name__}") from error
        url = _redirected(url, location, endpoint)
    raise SourceFailure("Unreachable", f"{endpoint} redirects more than {MAX_REDIRECTS} times")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return (parts.scheme, parts.netloc.rpartition("@")[2].lower())


def _redirected(url: str, location: str, endpoint: str) -> str:
    """Where to go next. Refuses other schemes, a step down from https, and addresses that no public hub is at."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        host = parts.hostname or ""
    except ValueError as error:
        raise SourceFailure("Unreachable", f"{endpoint} redirects to what is not a URL") from error
    if parts.scheme not in ("http", "https") or (parts.scheme == "http" and urlsplit(url).scheme == "https"):
        raise SourceFailure("Unreachable", f"{endpoint} redirects to {parts.scheme or 'no'} scheme, which is refused")
    if host != urlsplit(endpoint).hostname and _is_inside(host):
        raise SourceFailure("Unreachable", f"{endpoint} redirects to {host}, which is not a public address")
    return target


def _is_inside(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False  # a name


def _body(response: Response, offset: int, length: int, what: str) -> bytes:
    """The range asked for. A server that ignores ranges is read only up to the range's end."""
    if response.status_code == 416:
        return b""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise SourceFailure("Unreachable", f"{what} came compressed, though it was asked for as it is")
    skip = offset
    if response.status_code == 206:
        if not response.headers.get("content-range", "").startswith(f"bytes {offset}-"):
            raise SourceFailure("Unreachable", f"{what} came in another range than the one asked for")
        skip = 0
    deadline = time.monotonic() + BODY_TIMEOUT_SECONDS
    data = bytearray()
    for chunk in response.iter_raw():  # as they come: gathering a slow body into larger pieces would outlast the deadline
        data += chunk
        if len(data) > skip + length:  # not at the end exactly: a body read to its end leaves the connection for the next request
            break
        if time.monotonic() > deadline:
            raise SourceFailure("Unreachable", f"{what} took more than {BODY_TIMEOUT_SECONDS:.0f} seconds")
    return bytes(data[skip : skip + length])


def _refusal(response: Response, what: str) -> SourceFailure:
    """What a 4xx means: the hub answers 401 for what is private and for what is not there."""
    status, code = response.status_code, response.headers.get("x-error-code", "")
    if code == "GatedRepo" or status == 403:
        return SourceFailure("Gated", f"{what} needs access that this token does not have: accept its terms on the hub, set HF_TOKEN")
    if status == 401:
        return SourceFailure("NotFound", f"{what} does not exist, or it is private and HF_TOKEN does not open it")
    if status == 404:
        detail = {"RevisionNotFound": "no such revision", "EntryNotFound": "no such file"}.get(code, "no such model")
        return SourceFailure("NotFound", f"{what}: {detail}")
    return SourceFailure("Unreachable", f"{what}: the hub answered {status}")


def _wait(retry_after: str | None, attempt: int) -> float:
    """Seconds as the hub asks, within bounds; doubling where it does not say."""
    seconds = float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,6}", retry_after) else 0.5 * 2**attempt
    return min(seconds, MAX_WAIT_SECONDS)
