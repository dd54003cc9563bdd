"""List and watch as a state machine: what to ask the API server next about one resource, and what its answers mean for what is kept of it.

Driven by two transports, the webhook's (`watch`, asyncio over httpx) and the controller's (its informers, a thread each over `ports.Kube`).
Both ask for the `next` step, take it, and hand back what came of it; so both page, resume, back off and start anew by the same rules.
Makes no request, never sleeps, knows no kind's meaning. The model is client-go's reflector; Kubernetes documentation: "API concepts",
efficient detection of changes (list, watch, bookmarks, 410 Gone).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from plimsoll_operator.backoff import Backoff
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import Key, Manifest, Page, WatchEvent, key_of

_log = logging.getLogger(__name__)
STALE_SECONDS: Final = 300.0
"""News that is older is no picture to judge or decide by: bookmarks come each minute, and a watch is begun again within five."""
ABSENT_SECONDS: Final = 10.0
"""How often one looks whether a resource that the API server does not serve has come."""
_SHORTEST_SECONDS: Final = 240
_LONGEST_SECONDS: Final = 300
"""How long a watch is asked to last: not all end at once."""
_OLDEST_NEWS_SECONDS: Final = 120.0
"""Two bookmarks that did not come: whatever keeps watches from telling anything, a list may still be had. Together with one more silent
watch and the longest pause this is less than what counts as too old to judge by."""
_MAY_PASS: Final = frozenset({429, 503})
"""Refusals that say nothing of the version. A 504 may: one that is ahead of a restored server's comes back as one."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """Read one page of the list; the token is empty for the first."""

    continue_token: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch from a resource version until the server ends it, which it is asked to do after so many seconds."""

    resource_version: str
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Ask nothing for so many seconds."""

    seconds: float


Step: TypeAlias = ListPage | Watch | Pause


class Cache(Protocol):
    """What is kept of the resource. What of an object cannot be taken stays as it was last known, and the cache says so."""

    def begin(self) -> None:
        """A list begins. Whatever an earlier one has told without coming to its end is void."""
        ...

    def page(self, items: Sequence[Manifest]) -> None:
        """Objects of the list. They may be shown at once, or when it has ended."""
        ...

    def end(self) -> None:
        """The list is whole: what none of its pages had is gone. Until then nothing that is kept goes."""
        ...

    def put(self, manifest: Manifest) -> None:
        """The object is new or has changed."""
        ...

    def drop(self, key: Key) -> None:
        """The object is gone."""
        ...


class Reflector:
    """See the module. Used by one thread or task; `synced`, `served` and `age_seconds` may be read by all.

    With `on_served` the resource may be missing from this cluster: then the cache is empty and in sync, one looks again every
    ABSENT_SECONDS, and `on_served()` is called whenever it comes or goes.
    """

    def __init__(self, what: str, cache: Cache, *, clock: Callable[[], float], on_served: Callable[[], None] | None = None) -> None:
        self._what = what
        self._cache = cache
        self._clock = clock
        self._on_served = on_served
        self._backoff = Backoff(clock)
        self._heard_at = clock()
        self._token = self._version = ""
        self._pause = 0.0
        self._began = 0.0
        self._events = 0
        self.served = on_served is None
        self.synced = False

    def age_seconds(self) -> float:
        """Seconds since the API server last said anything (an event, a bookmark or the end of a list); at first, since the start."""
        return max(0.0, self._clock() - self._heard_at)

    def next(self) -> Step:
        """What to do now. A pause is told once. Where watches have told nothing for too long, everything is listed again."""
        if self._pause > 0:
            pause, self._pause = self._pause, 0.0
            return Pause(pause)
        if self._version and self.age_seconds() > _OLDEST_NEWS_SECONDS:
            self.restart()
        if not self._version:
            return ListPage(self._token)
        self._began, self._events = self._clock(), 0
        return Watch(self._version, random.randint(_SHORTEST_SECONDS, _LONGEST_SECONDS))

    def restart(self) -> None:
        """List from the first page, at once. What is kept stays until the list has ended."""
        self._token = self._version = ""
        self._pause = 0.0

    def page(self, page: Page) -> None:
        """A page has been read."""
        if not self._token:
            self._cache.begin()
        self._cache.page(page.items)
        self._token = page.continue_token
        if not self._token:
            self._cache.end()
            self._version = page.resource_version
            self._listed(served=True)

    def event(self, event: WatchEvent) -> None:
        """The watch has told something. A bookmark moves the version, and is news."""
        self._heard_at = self._clock()
        self._events += 1
        self._version = str(event.object["metadata"]["resourceVersion"])
        if event.type == "DELETED":
            self._cache.drop(key_of(event.object))
        elif event.type != "BOOKMARK":
            self._cache.put(event.object)

    def ended(self) -> None:
        """The watch is over without a refusal: the server's time limit, a connection that broke, or silence for longer than between
        bookmarks. What was told holds, so the next one goes on from there; one that ended at once is a failure all the same."""
        self._pause = self._backoff.after_watch(lasted_seconds=self._clock() - self._began, events=self._events)
        if self._pause > 0:
            _log.info("watch of %s ended at once with %d events; again in %.1f s", self._what, self._events, self._pause)

    def failed(self, error: ApiFailure | WatchExpired | None) -> bool:
        """The step met a refusal, an answer that cannot be used, or a bug (None). Returns whether that was an answer too.

        It is one where it says that the resource is not served. Otherwise, after a pause, everything is listed again, but where a watch
        is refused for load: what was told before still holds, and a list would only be more work for a server that has too much.
        """
        refusal = error if isinstance(error, ApiFailure) else None
        watching = bool(self._version)
        if refusal is not None and refusal.status == 404 and not watching and self._on_served is not None:
            self._absent()
            return True
        if not (watching and refusal is not None and refusal.status in _MAY_PASS):
            self.restart()
        self._pause = self._backoff.pause(None if refusal is None else refusal.retry_after_seconds)
        said = "the resource version has expired" if isinstance(error, WatchExpired) else str(error or "a bug")
        _log.warning("%s of %s: %s; again in %.1f s", "watch" if watching else "list", self._what, said, self._pause)
        return False

    def _absent(self) -> None:
        """The API server does not know the resource, and so has none of it."""
        self._cache.begin()
        self._cache.end()
        self.restart()
        self._pause = ABSENT_SECONDS
        self._listed(served=False)

    def _listed(self, *, served: bool) -> None:
        self._heard_at = self._clock()
        changed, self.served = served != self.served, served
        if changed and self._on_served is not None:
            self._on_served()
        self.synced = True
