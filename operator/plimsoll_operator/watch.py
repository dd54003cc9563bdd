"""A small list-and-watch cache over httpx, and a look at what is served: the webhook's ways to the API server, off the request path.

One `Watched` per kind keeps parsed objects, replaces them whole after a list, and says when it is synced and how old its
last news is. It reads and never writes; it knows no kind's meaning. Kubernetes documentation: "API concepts", efficient
detection of changes (list, watch, bookmarks, 410 Gone).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import httpx

log = logging.getLogger(__name__)

T = TypeVar("T")
_PAGE: Final = 500
_WATCH_SECONDS: Final = 300
# Bookmarks arrive about once a minute: a watch that is silent for longer is dead.
_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=75.0, write=10.0, pool=10.0)
_LONGEST_LINE: Final = 8 << 20
_BACKOFF_CAP_SECONDS: Final = 10.0
SERVED_EVERY_SECONDS: Final = 10.0


class Served:
    """Whether the API server serves one resource of a group and version, asked again and again in the background.

    Until it has answered once nothing is known, and what is not known counts as not served. An answer that is neither yes nor
    no (a server that restarts) leaves the last one standing.
    """

    def __init__(self, group_version: str, plural: str, *, every_seconds: float = SERVED_EVERY_SECONDS) -> None:
        self._path = f"/apis/{group_version}"
        self._plural = plural
        self._every_seconds = every_seconds
        self.served = False
        self.synced = False

    async def run(self, client: httpx.AsyncClient) -> None:
        """Ask for ever. Returns only by cancellation."""
        while True:
            try:
                await self.ask(client)
            except (httpx.HTTPError, WatchFailure) as error:
                log.warning("whether %s is served: %s: %s", self._path, type(error).__name__, error)
            await asyncio.sleep(self._every_seconds if self.synced else min(1.0, self._every_seconds))

    async def ask(self, client: httpx.AsyncClient) -> None:
        """Ask once. Raises WatchFailure and httpx.HTTPError where the server does not say."""
        answer = await client.get(self._path, timeout=_TIMEOUT)
        if answer.status_code == 404:
            found = False
        elif answer.status_code == 200:
            rows = _decoded(answer.content).get("resources")
            found = isinstance(rows, list) and any(isinstance(row, Mapping) and row.get("name") == self._plural for row in rows)
        else:
            raise WatchFailure(f"discovery answered {answer.status_code}")
        self.served, self.synced = found, True


class WatchFailure(Exception):
    """The API server refused, or its stream cannot be read: list again after a pause."""


class Expired(WatchFailure):
    """The resource version is too old (410 Gone): list again at once."""


@dataclass(slots=True, kw_only=True)
class Watched(Generic[T]):
    """Objects of one kind, parsed once on arrival. `parse` returns None for what it cannot read, and says so itself."""

    kind: str
    path: str
    parse: Callable[[Mapping[str, Any]], T | None]
    clock: Callable[[], float] = time.monotonic
    objects: dict[tuple[str, str], T] = field(default_factory=dict)
    synced: bool = False
    heard_at: float | None = None

    def age_seconds(self) -> float:
        """Seconds since the API server was last heard; infinity before the first time."""
        return float("inf") if self.heard_at is None else max(0.0, self.clock() - self.heard_at)

    async def run(self, client: httpx.AsyncClient) -> None:
        """List and watch for ever. Returns only by cancellation; whatever the server does is answered with a pause and a new list."""
        failures = 0
        while True:
            try:
                version = await self._list(client)
                failures = 0
                while True:
                    version = await self._watch(client, version)
            except Expired:
                log.info("watch of %s: resource version expired, listing again", self.kind)
            except (httpx.HTTPError, WatchFailure) as error:
                failures += 1
                pause = min(_BACKOFF_CAP_SECONDS, 0.1 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
                log.warning("watch of %s: %s: %s; again in %.1f s", self.kind, type(error).__name__, error, pause)
                await asyncio.sleep(pause)

    async def _list(self, client: httpx.AsyncClient) -> str:
        found: dict[tuple[str, str], T] = {}
        token, version = "", ""
        while True:
            params = {"limit": str(_PAGE)} | ({"continue": token} if token else {})
            answer = await client.get(self.path, params=params, timeout=_TIMEOUT)
            if answer.status_code == 410:
                raise Expired(self.kind)
            if answer.status_code != 200:
                raise WatchFailure(f"list answered {answer.status_code}: {answer.text[:200]!r}")
            page = _decoded(answer.content)
            for item in page.get("items") or ():
                self._put(found, item)
            metadata = page.get("metadata") or {}
            token, version = str(metadata.get("continue") or ""), str(metadata.get("resourceVersion") or "")
            if not token:
                break
        # Swapped whole: a reader never sees an empty or half-filled cache while a new list runs.
        self.objects = found
        self.synced = True
        self.heard_at = self.clock()
        return version

    async def _watch(self, client: httpx.AsyncClient, version: str) -> str:
        """One watch until the server closes it. Returns the newest resource version seen."""
        params = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        async with client.stream("GET", self.path, params=params, timeout=_TIMEOUT) as answer:
            if answer.status_code == 410:
                raise Expired(self.kind)
            if answer.status_code != 200:
                raise WatchFailure(f"watch answered {answer.status_code}")
            async for line in _lines(answer):
                version = self._event(_decoded(line)) or version
        return version

    def _event(self, event: Mapping[str, Any]) -> str:
        self.heard_at = self.clock()
        kind, obj = event.get("type"), event.get("object")
        if not isinstance(obj, Mapping):
            raise WatchFailure(f"event without an object: {str(event)[:200]}")
        if kind == "ERROR":
            if obj.get("code") == 410:
                raise Expired(self.kind)
            raise WatchFailure(f"the watch ended with {str(obj.get('message'))[:200]}")
        if kind == "DELETED":
            self.objects.pop(_key(obj), None)
        elif kind in ("ADDED", "MODIFIED"):
            self._put(self.objects, obj)
        return str((obj.get("metadata") or {}).get("resourceVersion") or "")

    def _put(self, into: dict[tuple[str, str], T], obj: Mapping[str, Any]) -> None:
        key = _key(obj)
        parsed = self.parse(obj)
        if parsed is None:
            into.pop(key, None)
        else:
            into[key] = parsed


def _key(obj: Mapping[str, Any]) -> tuple[str, str]:
    metadata = obj.get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _decoded(data: bytes) -> Mapping[str, Any]:
    try:
        decoded = json.loads(data)
    except ValueError as error:
        raise WatchFailure(f"the API server sent no JSON: {data[:80]!r}") from error
    if not isinstance(decoded, Mapping):
        raise WatchFailure(f"the API server sent no object: {data[:80]!r}")
    return decoded


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    # Not aiter_lines: it also splits at characters such as U+0085, which JSON carries unescaped.
    pending = b""
    async for chunk in answer.aiter_bytes():
        *complete, pending = (pending + chunk).split(b"\n")
        if len(pending) > _LONGEST_LINE:
            raise WatchFailure(f"a watch line is longer than {_LONGEST_LINE} bytes")
        for line in complete:
            if line.strip():
                yield line
