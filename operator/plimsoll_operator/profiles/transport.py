"""Range reads over HTTP within bounds: redirects, sizes, waits and times. The hub module says what the answers mean.

The session comes from huggingface_hub. The token goes to the endpoint's origin and nowhere else; no redirect leads to an
address inside unless the endpoint is inside itself, and never to a link-local one, where clouds keep their credentials.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import urljoin, urlsplit

from httpx2 import HTTPError, InvalidURL, Response
from huggingface_hub import get_session, get_token

from plimsoll_operator.profiles.access import Access
from plimsoll_operator.profiles.source import SourceFailure
from plimsoll_operator.reasons import NoShape

SOCKET_TIMEOUT_SECONDS: Final = 10.0
BODY_TIMEOUT_SECONDS: Final = 60.0
MAX_WAIT_SECONDS: Final = 10.0
ATTEMPTS: Final = 3
MAX_REDIRECTS: Final = 5
_OK: Final = (200, 206, 416)
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# The session's libraries log every URL and header they see, also the signed ones that storage is asked with.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one reading may take in all its requests, and what ends it early."""

    seconds: float = float("inf")
    stop: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)

    def left(self, what: str) -> float:
        """Seconds that are left. Raises SourceFailure when there are none."""
        left = self.started + self.seconds - time.monotonic()
        if left <= 0:
            raise SourceFailure(NoShape.UNREACHABLE, f"{what} took more than {self.seconds:.0f} seconds in all")
        if self.stop.is_set():
            raise SourceFailure(NoShape.UNREACHABLE, f"reading {what} was stopped")
        return left

    def wait(self, seconds: float, what: str) -> None:
        """Sleep, but no longer than there is time."""
        self.stop.wait(min(seconds, self.left(what)))


class Refusal(Exception):
    """The hub refused for good: a status below 500 other than 429, and the code in the header X-Error-Code."""

    def __init__(self, status: int, code: str) -> None:
        self.status = status
        self.code = code
        super().__init__(f"{status} {code}")


def get_range(access: Access, path: str, offset: int, length: int, *, what: str, patience: Patience) -> bytes:
    """The bytes of a range, over at most ATTEMPTS tries where the hub is busy. Raises SourceFailure and Refusal."""
    status = 0
    for attempt in range(1, ATTEMPTS + 1):
        with _answer(access, path, offset, length, patience, what) as response:
            status = response.status_code
            if status in _OK:
                return _body(response, offset, length, what, patience)
            if status != 429 and status < 500:
                raise Refusal(status, response.headers.get("x-error-code", ""))
            asked = _retry_after(response.headers.get("retry-after"))
        if asked is not None and asked > MAX_WAIT_SECONDS:
            raise SourceFailure(NoShape.UNREACHABLE, f"{access.endpoint} answered {status} for {what}", retry_after_seconds=asked)
        if attempt < ATTEMPTS:
            patience.wait(asked if asked is not None else 0.5 * 2**attempt, what)
    raise SourceFailure(
        NoShape.UNREACHABLE, f"{access.endpoint} answered {status} to {ATTEMPTS} requests for {what}", retry_after_seconds=asked
    )


@contextmanager
def _answer(access: Access, path: str, offset: int, length: int, patience: Patience, what: str) -> Iterator[Response]:
    """The answer after redirects; the token is sent to the endpoint's origin only."""
    endpoint = access.endpoint
    url = endpoint + path
    for _ in range(MAX_REDIRECTS + 1):
        headers = {"user-agent": "plimsoll", "range": f"bytes={offset}-{offset + length - 1}", "accept-encoding": "identity"}
        token = access.token() if access.token is not None else get_token()
        if token and _origin(url) == _origin(endpoint):
            headers["authorization"] = f"Bearer {token}"
        timeout = min(SOCKET_TIMEOUT_SECONDS, patience.left(what))
        try:
            with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=False) as response:
                location = response.headers.get("location") if 300 <= response.status_code < 400 else None
                if location is None:
                    yield response
                    return
        except (HTTPError, InvalidURL, OSError) as error:
            patience.left(what)  # a time-out at the end of all time is said as that
            raise SourceFailure(NoShape.UNREACHABLE, f"{urlsplit(url).hostname} cannot be reached: {type(error).__name__}") from error
        url = _redirected(url, location, endpoint)
    raise SourceFailure(NoShape.UNREACHABLE, f"{endpoint} redirects more than {MAX_REDIRECTS} times")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return (parts.scheme, parts.netloc.rpartition("@")[2].lower())


def _redirected(url: str, location: str, endpoint: str) -> str:
    """Where to go next. Refuses other schemes, a step down from https, and addresses that no public hub is at."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SourceFailure(NoShape.UNREACHABLE, f"{endpoint} redirects to what is not a URL") from error
    if parts.scheme not in ("http", "https") or (parts.scheme == "http" and urlsplit(url).scheme == "https"):
        raise SourceFailure(NoShape.UNREACHABLE, f"{endpoint} redirects to {parts.scheme[:16] or 'no'} scheme, which is refused")
    if host != urlsplit(endpoint).hostname and not _may_lead_to(host, port, endpoint):
        raise SourceFailure(NoShape.UNREACHABLE, f"{endpoint} redirects to {host[:253]}, which is not a public address")
    return target


def _may_lead_to(host: str, port: int | None, endpoint: str) -> bool:
    """Whether every address of the host is public, or the endpoint's own are as little public as these."""
    found = _addresses(host, port)
    if all(address.is_global for address in found):
        return True  # also where a name has none here: a proxy may know it, and nothing else is asked
    if any(address.is_link_local or address.is_multicast or address.is_unspecified for address in found):
        return False
    inside = _addresses(urlsplit(endpoint).hostname or "", urlsplit(endpoint).port)
    needs_loopback = any(address.is_loopback for address in found)
    return bool(inside) and not any(address.is_global for address in inside) and needs_loopback == any(a.is_loopback for a in inside)


def _addresses(host: str, port: int | None) -> tuple[_Address, ...]:
    try:
        rows = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(_plain(ipaddress.ip_address(str(row[4][0]).partition("%")[0])) for row in rows)


def _plain(address: _Address) -> _Address:
    """::ffff:169.254.169.254 is 169.254.169.254."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _body(response: Response, offset: int, length: int, what: str, patience: Patience) -> bytes:
    """The range asked for. A server that ignores ranges is read only up to the range's end."""
    if response.status_code == 416:
        return b""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise SourceFailure(NoShape.UNREACHABLE, f"{what} came compressed, though it was asked for as it is")
    skip = offset
    if response.status_code == 206:
        if not response.headers.get("content-range", "").startswith(f"bytes {offset}-"):
            raise SourceFailure(NoShape.UNREACHABLE, f"{what} came in another range than the one asked for")
        skip = 0
    deadline = time.monotonic() + BODY_TIMEOUT_SECONDS
    data = bytearray()
    passed = 0
    for chunk in response.iter_raw():  # as they come: gathering a slow body into larger pieces would outlast the deadline
        drop = min(len(chunk), max(0, skip - passed))
        passed += len(chunk)
        data += chunk[drop:]
        if len(data) > length:  # not at the end exactly: a body read to its end leaves the connection for the next request
            break
        patience.left(what)
        if time.monotonic() > deadline:
            raise SourceFailure(NoShape.UNREACHABLE, f"{what} took more than {BODY_TIMEOUT_SECONDS:.0f} seconds")
    return bytes(data[:length])


def _retry_after(text: str | None) -> float | None:
    """Seconds as the hub asks; None where it does not say, or says it as a date."""
    return float(text) if text and re.fullmatch(r"[0-9]{1,6}", text) else None
