"""The webhook's ways to the API server, off the request path: list and watch over httpx, and a look at what is served.

One `Watched` a kind drives a `Reflector` and keeps parsed objects (`Namespaced`). It reads and never writes, knows no kind's meaning, and
has no rules of its own but how often, and what is held while a page is decoded: the rest is the controller's too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, Generic, TypeVar

import httpx

from plimsoll_operator.backoff import Backoff
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.namespaced import Namespaced, Settle
from plimsoll_operator.ports import Key, Manifest, Page, WatchEvent
from plimsoll_operator.reflector import ListPage, Pause, Reflector, Step, Watch
from plimsoll_operator.wire import (
    LONGEST_LINE,
    LONGEST_REFUSAL,
    SILENCE_SECONDS,
    AnswerTooLarge,
    Lines,
    PageSize,
    decoded,
    event_of,
    named,
    page_of,
    refusal_of,
    unreached,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
V = TypeVar("V")
_PAGE: Final = 100
SERVED_EVERY_SECONDS: Final = 10.0
_TIDIED_EVERY_SECONDS: Final = 0.25
_EVENTS_AT_ONCE: Final = 32
_BROKEN: Final = (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError)
"""How a watch ends that somebody has cut, or that is silent."""


def _timeout(silence_seconds: float = 30.0) -> httpx.Timeout:
    return httpx.Timeout(connect=5.0, read=silence_seconds, write=10.0, pool=10.0)


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
            except ApiFailure as failure:
                log.warning("whether %s is served: %s", self._path, failure)
            await asyncio.sleep(self._every_seconds if self.synced else min(1.0, self._every_seconds))

    async def ask(self, client: httpx.AsyncClient) -> None:
        """Ask once. Raises ApiFailure where the server does not say."""
        try:
            rows = decoded(await _whole(client, self._path, {}, LONGEST_LINE)).get("resources")
            found = isinstance(rows, list) and any(isinstance(row, Mapping) and row.get("name") == self._plural for row in rows)
        except ApiFailure as failure:
            if failure.status != 404:
                raise
            found = False
        self.served, self.synced, self.heard_at = found, True, self._clock()


class Watched(Generic[T]):
    """Objects of one kind, parsed once on arrival. `page` is held while a page is fetched and decoded: caches that share one never hold
    two pages at once. `bug` is told of each unexpected exception. For `parse` and `settle` see `Namespaced`.
    """

    def __init__(
        self,
        *,
        kind: str,
        path: str,
        parse: Callable[[Manifest], T | None],
        settle: Settle[T] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        page: asyncio.Lock | None = None,
        bug: Callable[[], None] = lambda: None,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.kind = kind
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._page = page or asyncio.Lock()
        self._bug = bug
        self._silence_seconds = silence_seconds
        self._size = PageSize(_PAGE)
        self.cache: Namespaced[T] = Namespaced(kind, parse, settle=settle, bug=bug)
        self.reflector = Reflector(kind, self.cache, clock=clock)

    @property
    def synced(self) -> bool:
        """Whether a list has come to its end."""
        return self.reflector.synced

    @property
    def objects(self) -> dict[Key, T]:
        """All of this moment, by namespace and name."""
        return self.cache.objects

    def get(self, namespace: str, name: str) -> T | None:
        """One object, or None."""
        return self.cache.of(namespace).get(name)

    def of(self, namespace: str = "") -> Mapping[str, T]:
        """The objects of a namespace (empty: of the cluster) by name: never changed afterwards, so that any thread may read it."""
        return self.cache.of(namespace)

    def once(self, namespace: str, work_out: Callable[[Mapping[str, T]], V]) -> V:
        """See Namespaced."""
        return self.cache.once(namespace, work_out)

    def age_seconds(self) -> float:
        """Seconds since the API server was last heard; at first, since the start."""
        return self.reflector.age_seconds()

    async def run(self, client: httpx.AsyncClient) -> None:
        """List and watch for ever. Returns only by cancellation, whatever the server does."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tidy(client), name=f"tidy {self.kind}")
            while True:
                await self._take(self.reflector.next(), client)

    async def _take(self, step: Step, client: httpx.AsyncClient) -> None:
        try:
            if isinstance(step, Pause):
                await self._sleep(step.seconds)
            elif isinstance(step, ListPage):
                async with self._page:
                    self.reflector.page(await self._listed(step, client))
            else:
                await self._watch(step, client)
        except (ApiFailure, WatchExpired) as failure:
            self.reflector.failed(failure)
        except Exception:  # the border of one kind: told with its traceback, the other kinds are followed on
            log.exception("%s: a bug", self.kind)
            self._bug()
            self.reflector.failed(None)

    async def _listed(self, step: ListPage, client: httpx.AsyncClient) -> Page:
        while True:
            query = {"limit": str(self._size.limit)} | ({"continue": step.continue_token} if step.continue_token else {})
            try:
                data = await _whole(client, self._path, query, self._size.most_bytes)
            except AnswerTooLarge:
                if not self._size.shrink():
                    raise
            else:
                self._size.read()
                return page_of(data, self.kind)

    async def _watch(self, step: Watch, client: httpx.AsyncClient) -> None:
        events = 0
        async with aclosing(_events(client, self._path, step, self.kind, _timeout(self._silence_seconds))) as stream:
            async for event in stream:
                events += 1
                self.reflector.event(event)
                if events % _EVENTS_AT_ONCE == 0:
                    await asyncio.sleep(0)  # what is buffered already is read without a pause for others
        self.reflector.ended()

    async def _tidy(self, client: httpx.AsyncClient) -> None:
        """A few times a second: crowds, however many events they have, and objects that count again, which were not kept."""
        backoff = Backoff(self._clock)
        pause = 0.0
        while True:
            await asyncio.sleep(max(pause, _TIDIED_EVERY_SECONDS))
            pause = 0.0
            try:
                for _ in self.cache.crowds():
                    await asyncio.sleep(0)
                await self._read_again(client)
            except ApiFailure as failure:
                pause = backoff.pause(failure.retry_after_seconds)
                log.warning("%s is not read again yet: %s; again in %.1f s", self.kind, failure, pause)
            except Exception:  # the border of one kind's upkeep
                pause = backoff.pause()
                log.exception("upkeep of %s: a bug; again in %.1f s", self.kind, pause)
                self._bug()

    async def _read_again(self, client: httpx.AsyncClient) -> None:
        awaited = self.cache.awaited()
        try:
            for key in sorted(awaited):
                found = await self._object(client, *key)
                if found is not None:  # one that is gone says so itself
                    self.cache.read_again(key, awaited[key], found)
                del awaited[key]
        finally:
            self.cache.await_again(awaited)

    async def _object(self, client: httpx.AsyncClient, namespace: str, name: str) -> Manifest | None:
        root, _, plural = self._path.rpartition("/")
        where = f"{root}/namespaces/{namespace}/{plural}" if namespace else self._path
        try:
            return named(decoded(await _whole(client, f"{where}/{name}", {}, LONGEST_LINE)))
        except ApiFailure as failure:
            if failure.status != 404:
                raise
            return None


async def _whole(client: httpx.AsyncClient, path: str, query: Mapping[str, str], most_bytes: int) -> bytes:
    """The body of an answer. Raises AnswerTooLarge, and ApiFailure for any other that is of no use."""
    try:
        async with client.stream("GET", path, params=dict(query), timeout=_timeout()) as answer:
            await _check(answer)
            data = bytearray()
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > most_bytes:
                    raise AnswerTooLarge(f"GET {path}", most_bytes)
            return bytes(data)
    except (httpx.HTTPError, OSError) as error:  # OSError: a token file that cannot be read
        raise unreached(f"GET {path}", error) from error


async def _events(client: httpx.AsyncClient, path: str, step: Watch, kind: str, timeout: httpx.Timeout) -> AsyncGenerator[WatchEvent]:
    """One watch until the server ends it, or is silent. Raises WatchExpired and ApiFailure."""
    query = {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": step.resource_version,
        "timeoutSeconds": str(step.timeout_seconds),
    }
    begun = False
    try:
        async with client.stream("GET", path, params=query, timeout=timeout) as answer:
            begun = True
            if answer.status_code == 410:
                raise WatchExpired(kind)
            await _check(answer)
            lines = Lines()
            async for chunk in answer.aiter_bytes():
                for line in lines.of(chunk):
                    yield event_of(line, kind)
    except (httpx.HTTPError, OSError) as error:  # OSError: a token file that cannot be read
        if not begun or not isinstance(error, _BROKEN):
            raise unreached(f"watch of {kind}", error) from error


async def _check(answer: httpx.Response) -> None:
    if answer.status_code == 200:
        return
    data = bytearray()
    async for chunk in answer.aiter_bytes():
        data += chunk
        if len(data) > LONGEST_REFUSAL:
            break
    raise refusal_of(answer.status_code, answer.headers.get("retry-after"), bytes(data[:LONGEST_REFUSAL]))
