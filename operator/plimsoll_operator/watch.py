"""A small list-and-watch cache over httpx, and a look at what is served: the webhook's ways to the API server, off the request path.

One `Watched` per kind keeps parsed objects, replaces them whole after a list, and says when it is synced and how old its
last news is. It reads and never writes; it knows no kind's meaning. Kubernetes documentation: "API concepts", efficient
detection of changes (list, watch, bookmarks, 410 Gone).

Answers have a bound in bytes: a page that is larger is asked for again with fewer objects, and one page is decoded at a time, whatever
kind it is of. An object that its parser stumbles over is left out by name; the others are served on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import httpx

from plimsoll_operator.backoff import Backoff, retry_after_seconds

log = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]
_PAGE: Final = 100
_LARGEST_PAGE_BYTES: Final = 4 << 20
_WATCH_SECONDS: Final = 300
# Bookmarks arrive about once a minute: a watch that is silent for longer is dead.
_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=75.0, write=10.0, pool=10.0)
# The API server takes no object of more than 3 MiB; one alone may come with as much again around it.
_LONGEST_LINE: Final = 8 << 20
_MOST_TOLD: Final = 1024
SERVED_EVERY_SECONDS: Final = 10.0


class Served:
    """Whether the API server serves one resource of a group and version, asked again and again in the background.

    Until it has answered once nothing is known, and what is not known counts as not served. An answer that is neither yes nor
    no (a server that restarts) leaves the last one standing.
    """

    def __init__(
        self,
        group_version: str,
        plural: str,
        *,
        every_seconds: float = SERVED_EVERY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = f"/apis/{group_version}"
        self._plural = plural
        self._every_seconds = every_seconds
        self._clock = clock
        self.served = False
        self.synced = False
        self.heard_at: float | None = None

    def age_seconds(self) -> float:
        """Seconds since the API server last said yes or no; infinity before the first time."""
        return float("inf") if self.heard_at is None else max(0.0, self._clock() - self.heard_at)

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
        self.served, self.synced, self.heard_at = found, True, self._clock()


class WatchFailure(Exception):
    """The API server refused, or its stream cannot be read: list again after a pause, of `asked_seconds` at least."""

    def __init__(self, message: str, asked_seconds: float | None = None) -> None:
        self.asked_seconds = asked_seconds
        super().__init__(message)


class Expired(WatchFailure):
    """The resource version is too old (410 Gone): list again."""


_CROWD: Final = 512
"""Objects of one namespace from which on each event no longer costs a look at all of them."""
_CROWDS_EVERY_SECONDS: Final = 0.25
_EVENTS_AT_ONCE: Final = 32


class _TooLarge(Exception):
    """A page is larger than one is let be: ask for fewer objects."""


@dataclass(slots=True, kw_only=True)
class Watched(Generic[T]):
    """Objects of one kind, parsed once on arrival. `parse` returns None for what it cannot read, and says so itself.

    `settle` is given all objects of a namespace whenever one of them has changed, and says what is kept of them and which are to be
    read again. `page` is held while a page is fetched and decoded: caches that share one never hold two pages at once. `bug` is told
    of each unexpected exception.
    """

    kind: str
    path: str
    parse: Callable[[Mapping[str, Any]], T | None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    page: asyncio.Lock = field(default_factory=asyncio.Lock)
    bug: Callable[[], None] = lambda: None
    settle: Callable[[Mapping[str, T]], tuple[dict[str, T], Iterable[str]]] | None = None
    synced: bool = False
    heard_at: float | None = None
    _objects: dict[str, Mapping[str, T]] = field(default_factory=dict)
    _told: set[tuple[Key, str]] = field(default_factory=set)
    _crowded: dict[str, dict[str, T]] = field(default_factory=dict)

    @property
    def objects(self) -> dict[Key, T]:
        """All of this moment, by namespace and name."""
        return {(namespace, name): row for namespace, rows in list(self._objects.items()) for name, row in rows.items()}

    def get(self, namespace: str, name: str) -> T | None:
        """One object, or None."""
        return self._objects.get(namespace, {}).get(name)

    def of(self, namespace: str = "") -> Mapping[str, T]:
        """The objects of a namespace (empty: of the cluster) by name: never changed afterwards, so that any thread may read it."""
        return self._objects.get(namespace, {})

    def age_seconds(self) -> float:
        """Seconds since the API server was last heard; infinity before the first time."""
        return float("inf") if self.heard_at is None else max(0.0, self.clock() - self.heard_at)

    async def run(self, client: httpx.AsyncClient) -> None:
        """List and watch for ever. Returns only by cancellation; whatever the server does is answered with a pause and a new list."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_crowds(client), name=f"settle {self.kind}")
            await self._follow(client)

    async def _settle_crowds(self, client: httpx.AsyncClient) -> None:
        """Crowded namespaces a few times a second, however many events they have: one tenant's thousands must not take the event loop."""
        while True:
            await asyncio.sleep(_CROWDS_EVERY_SECONDS)
            crowded, self._crowded = self._crowded, {}
            for namespace, rows in crowded.items():
                found, again = (rows, ()) if self.settle is None else self.settle(rows)
                self._keep(namespace, found)
                await asyncio.sleep(0)
                try:
                    await self._read(client, namespace, again)
                except (httpx.HTTPError, WatchFailure) as error:
                    log.warning("%s of %s are not read again yet: %s", self.kind, namespace, error)

    async def _follow(self, client: httpx.AsyncClient) -> None:
        backoff = Backoff(self.clock)
        while True:
            try:
                version = await self._list(client)
                while True:
                    began = self.clock()
                    version, events = await self._watch(client, version)
                    pause = backoff.after_watch(lasted_seconds=self.clock() - began, events=events)
                    if pause:
                        log.info("watch of %s ended at once with %d events; again in %.1f s", self.kind, events, pause)
                        await self.sleep(pause)
            except (httpx.HTTPError, WatchFailure) as error:
                pause = backoff.pause(error.asked_seconds if isinstance(error, WatchFailure) else None)
                log.warning("watch of %s: %s: %s; again in %.1f s", self.kind, type(error).__name__, error, pause)
            except Exception:  # the border of one kind: told with its traceback, the other kinds are followed on
                pause = backoff.pause()
                log.exception("watch of %s: a bug; again in %.1f s", self.kind, pause)
                self.bug()
            await self.sleep(pause)

    async def _list(self, client: httpx.AsyncClient) -> str:
        found: dict[str, dict[str, T]] = {}
        token, version, limit = "", "", _PAGE
        while True:
            try:
                async with self.page:
                    token, version = await self._page(client, found, token, limit)
            except _TooLarge:
                limit = max(1, limit // 4)
                continue
            if not token:
                break
        # Swapped whole: a reader never sees an empty or half-filled cache while a new list runs.
        self._objects = dict(found)
        self._crowded = {}
        self.synced = True
        self.heard_at = self.clock()
        return version

    async def _page(self, client: httpx.AsyncClient, into: dict[str, dict[str, T]], token: str, limit: int) -> tuple[str, str]:
        """Read one page into the cache that is being made. Returns the next page's token and the list's resource version."""
        params = {"limit": str(limit)} | ({"continue": token} if token else {})
        async with client.stream("GET", self.path, params=params, timeout=_TIMEOUT) as answer:
            _check(answer, f"list of {self.kind}")
            page = _decoded(await _whole(answer, _LARGEST_PAGE_BYTES if limit > 1 else _LONGEST_LINE, may_shrink=limit > 1))
        items = page.get("items") or ()
        touched: set[str] = set()
        for item in items if isinstance(items, list) else ():
            if isinstance(item, Mapping):
                namespace, name = key_of(item)
                parsed = self._parsed((namespace, name), item)
                if parsed is not None:
                    into.setdefault(namespace, {})[name] = parsed
                    touched.add(namespace)
        for namespace in touched:
            into[namespace] = self._settled(into[namespace])
        metadata = page.get("metadata")
        found = metadata if isinstance(metadata, Mapping) else {}
        return str(found.get("continue") or ""), str(found.get("resourceVersion") or "")

    async def _watch(self, client: httpx.AsyncClient, version: str) -> tuple[str, int]:
        """One watch until the server closes it. Returns the newest resource version seen, and how many events there were."""
        params = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        events = 0
        async with client.stream("GET", self.path, params=params, timeout=_TIMEOUT) as answer:
            _check(answer, f"watch of {self.kind}")
            async for line in _lines(answer):
                events += 1
                event = _decoded(line)
                version = self._event(event) or version
                await self._read_again(client, event)
                if events % _EVENTS_AT_ONCE == 0:
                    await asyncio.sleep(0)  # what is buffered already is read without a pause for others
        return version, events

    async def _read_again(self, client: httpx.AsyncClient, event: Mapping[str, Any]) -> None:
        """Objects that an event has brought back: they were heard of before and not kept."""
        if self.settle is None:
            return
        obj = event.get("object")
        namespace = key_of(obj)[0] if isinstance(obj, Mapping) else ""
        if namespace not in self._crowded:
            await self._read(client, namespace, self.settle(self.of(namespace))[1])

    async def _read(self, client: httpx.AsyncClient, namespace: str, names: Iterable[str]) -> None:
        root, _, plural = self.path.rpartition("/")
        where = f"{root}/namespaces/{namespace}/{plural}" if namespace else self.path
        for name in names:
            async with client.stream("GET", f"{where}/{name}", timeout=_TIMEOUT) as answer:
                if answer.status_code == 404:
                    continue  # its own event will say so
                _check(answer, f"reading {self.kind} again")
                found = _decoded(await _whole(answer, _LONGEST_LINE, may_shrink=False))
            self._replace((namespace, name), self._parsed((namespace, name), found))

    def _event(self, event: Mapping[str, Any]) -> str:
        self.heard_at = self.clock()
        kind, obj = event.get("type"), event.get("object")
        if not isinstance(obj, Mapping):
            raise WatchFailure(f"event without an object: {str(event)[:200]}")
        if kind == "ERROR":
            if obj.get("code") == 410:
                raise Expired("the resource version is too old")
            raise WatchFailure(f"the watch ended with {str(obj.get('message'))[:200]}", _asked_in(obj))
        if kind == "DELETED":
            self._replace(key_of(obj), None)
        elif kind in ("ADDED", "MODIFIED"):
            self._replace(key_of(obj), self._parsed(key_of(obj), obj))
        metadata = obj.get("metadata")
        return str((metadata if isinstance(metadata, Mapping) else {}).get("resourceVersion") or "")

    def _parsed(self, key: Key, obj: Mapping[str, Any]) -> T | None:
        try:
            return self.parse(obj)
        except Exception as error:  # noqa: BLE001 the border of one object: told with its traceback, the others are read on
            self._tell(key, error)
            return None

    def _replace(self, key: Key, row: T | None) -> None:
        """A namespace's objects are replaced and never changed: whoever iterates over them elsewhere goes on undisturbed."""
        namespace, name = key
        crowd = self._crowded.get(namespace)
        if crowd is None and len(self._objects.get(namespace, ())) >= _CROWD:
            crowd = self._crowded[namespace] = dict(self._objects[namespace])
        rows = dict(self._objects.get(namespace, {})) if crowd is None else crowd
        rows.pop(name, None)
        if row is not None:
            rows[name] = row
        if crowd is None:
            self._keep(namespace, self._settled(rows))

    def _keep(self, namespace: str, rows: dict[str, T]) -> None:
        if rows:
            self._objects[namespace] = rows
        else:
            self._objects.pop(namespace, None)

    def _settled(self, rows: dict[str, T]) -> dict[str, T]:
        return rows if self.settle is None else self.settle(rows)[0]

    def _tell(self, key: Key, error: Exception) -> None:
        """The whole traceback once for each object and class of error; a counter each time."""
        said = (key, type(error).__name__)
        if said not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(said)
            log.error("%s %s/%s is left out: a bug", self.kind, *key, exc_info=error)
        self.bug()


def key_of(obj: Mapping[str, Any]) -> Key:
    """Namespace and name; empty where the object has none."""
    metadata = obj.get("metadata")
    found = metadata if isinstance(metadata, Mapping) else {}
    return str(found.get("namespace") or ""), str(found.get("name") or "")


def _check(answer: httpx.Response, what: str) -> None:
    if answer.status_code == 410:
        raise Expired(f"{what} answered 410")
    if answer.status_code != 200:
        raise WatchFailure(f"{what} answered {answer.status_code}", retry_after_seconds(answer.headers.get("retry-after")))


def _asked_in(status: Mapping[str, Any]) -> float | None:
    """A Status says in its details what a header says elsewhere."""
    details = status.get("details")
    found = details.get("retryAfterSeconds") if isinstance(details, Mapping) else None
    return retry_after_seconds(str(found)) if isinstance(found, int) else None


def _decoded(data: bytes) -> Mapping[str, Any]:
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WatchFailure(f"the API server sent no JSON: {data[:80]!r}") from error
    if not isinstance(decoded, Mapping):
        raise WatchFailure(f"the API server sent no object: {data[:80]!r}")
    return decoded


async def _whole(answer: httpx.Response, most_bytes: int, *, may_shrink: bool) -> bytes:
    data = bytearray()
    async for chunk in answer.aiter_bytes():
        data += chunk
        if len(data) > most_bytes:
            if may_shrink:
                raise _TooLarge
            raise WatchFailure(f"a list of one object is longer than {most_bytes} bytes")
    return bytes(data)


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    # Not aiter_lines: it also splits at characters such as U+0085, which JSON carries unescaped.
    pending = bytearray()
    async for chunk in answer.aiter_bytes():
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            pending += chunk[start:end]
            start = end + 1
            if pending.strip():
                yield bytes(pending)
            pending.clear()
        pending += chunk[start:]
        if len(pending) > _LONGEST_LINE:
            raise WatchFailure(f"a watch line is longer than {_LONGEST_LINE} bytes")
