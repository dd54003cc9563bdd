"""A small informer: lists one resource in pages, watches it, and keeps a trimmed copy of each object.

The controller runs one thread of it per resource. Memory is bounded by what `trim` keeps of an object, not by what users
write into it. kopf is not used here because its index takes 75 s for 4 000 objects (measured) and its event handlers
copy every body; a thread that blocks on a socket costs nothing and wakes within a millisecond. Knows no kind's meaning.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final

from plimsoll_operator.backoff import Backoff
from plimsoll_operator.controller.quarantine import Border, Unit, no_border
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import Key, Kube, Manifest, Resource, WatchEvent, key_of

_log = logging.getLogger(__name__)
ABSENT_SECONDS: Final = 10.0
# Refusals that say nothing of the version. A 504 may: one that is ahead of a restored server's comes back as one.
_MAY_PASS: Final = frozenset({429, 503})

Trim = Callable[[Manifest], Manifest]
Change = Callable[[Key, Manifest | None, Manifest | None], None]


class Informer:
    """One resource's cache. `on_change(key, old, new)` is called on the informer's thread, in order, for every change.

    Where `on_change` keeps what it needs of an object, `keep` says what little of it is kept here, and told as old.

    With `on_served` the resource may be missing from this cluster: then the cache is empty and in sync, one looks again every
    ABSENT_SECONDS, and `on_served()` is called whenever it comes or goes.
    """

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        *,
        trim: Trim,
        on_change: Change,
        clock: Callable[[], float],
        selector: str = "",
        on_served: Callable[[], None] | None = None,
        namespace: str = "",
        border: Border = no_border,
        keep: Trim | None = None,
    ) -> None:
        self._kube = kube
        self._border = border
        self._keep = keep
        self.resource = resource
        self._trim = trim
        self._on_change = on_change
        self._clock = clock
        self._selector = selector
        self._on_served = on_served
        self.served = on_served is None
        self._namespace = namespace
        self._lock = threading.Lock()
        self._objects: dict[Key, Manifest] = {}
        self._heard_at = clock()
        self._told = 0
        self._version = ""
        self.synced = threading.Event()

    def get(self, key: Key) -> Manifest | None:
        """The trimmed object, to be read and never changed."""
        with self._lock:
            return self._objects.get(key)

    def values(self) -> tuple[Manifest, ...]:
        """A snapshot of all trimmed objects."""
        with self._lock:
            return tuple(self._objects.values())

    def age(self) -> float:
        """Seconds since the API server last said anything (an event, a bookmark or a whole list)."""
        return self._clock() - self._heard_at

    def run(self, stop: threading.Event) -> None:
        """List and watch until `stop`, whatever the API server does. Returns only then.

        Never in a tight loop: an expired watch is a failure like others, and so is one that ends at once having said nothing.
        """
        backoff = Backoff(self._clock)
        while not stop.is_set():
            try:
                self._list_and_watch(stop, backoff)
            except WatchExpired:
                delay = backoff.pause()
                _log.info("%s: the resource version has expired; listed again in %.1f s", self.resource.plural, delay)
                stop.wait(delay)
            except ApiFailure as failure:
                delay = backoff.pause(failure.retry_after_seconds)
                _log.warning("%s: %s; again in %.1f s", self.resource.plural, failure, delay)
                stop.wait(delay)

    def _list_and_watch(self, stop: threading.Event, backoff: Backoff) -> None:
        version = self.relist()
        if not self.served:
            stop.wait(ABSENT_SECONDS)
            return
        while not stop.is_set():
            started, told = self._clock(), self._told
            try:
                version = self.follow(version)
                delay = backoff.after_watch(lasted_seconds=self._clock() - started, events=self._told - told)
            except ApiFailure as failure:
                if failure.status not in _MAY_PASS:
                    raise
                # What was told before still holds: a list of everything would only be more work for a server that has too much.
                version, delay = self._version or version, backoff.pause(failure.retry_after_seconds)
                _log.warning("watch of %s: %s; again in %.1f s", self.resource.plural, failure, delay)
            if delay > 0:
                stop.wait(delay)

    def relist(self) -> str:
        """Replace the cache by a full list, reporting every difference. Returns the list's resource version, empty when not served."""
        try:
            return self._relist()
        except ApiFailure as failure:
            if failure.status != 404 or self._on_served is None:
                raise
            self._absent()
            return ""

    def _relist(self) -> str:
        seen: set[Key] = set()
        token = self._version = ""
        while True:
            page = self._kube.list_page(self.resource, namespace=self._namespace, selector=self._selector, continue_token=token)
            for item in page.items:
                seen.add(key_of(item))
                self._put(item)
            token = page.continue_token
            if not token:
                break
        for key in [key for key in self._objects if key not in seen]:
            self._drop(key)
        self._heard_at = self._clock()
        self._tell_served(True)
        self.synced.set()
        return page.resource_version

    def _absent(self) -> None:
        """The API server does not know the resource, and so has none of it."""
        self._heard_at = self._clock()
        for key in list(self._objects):
            self._drop(key)
        self._tell_served(False)
        self.synced.set()

    def _tell_served(self, served: bool) -> None:
        changed, self.served = served != self.served, served
        if changed and self._on_served is not None:
            self._on_served()

    def follow(self, version: str) -> str:
        """One watch until the server ends it. Returns the version to go on from."""
        timeout = random.randint(240, 300)
        where = {"namespace": self._namespace, "selector": self._selector}
        for event in self._kube.watch(self.resource, resource_version=version, timeout_seconds=timeout, **where):
            self._heard_at = self._clock()
            self._told += 1
            version = self._version = str(event.object["metadata"]["resourceVersion"])
            self._handle(event)
        return version

    def _handle(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._drop(key_of(event.object))
        elif event.type != "BOOKMARK":
            self._put(event.object)

    def _put(self, item: Manifest) -> None:
        """Take the object as it is now. One that a bug keeps from being taken stays in the cache as it was before."""
        key = key_of(item)
        with self._border(Unit.EVENT, self._named(key)):
            new = self._trim(item)
            kept = new if self._keep is None else self._keep(new)
            with self._lock:
                old = self._objects.get(key)
                if old == kept:
                    return
                self._objects[key] = kept
            self._on_change(key, old, new)

    def _drop(self, key: Key) -> None:
        with self._lock:
            old = self._objects.pop(key, None)
        if old is not None:
            with self._border(Unit.EVENT, self._named(key)):
                self._on_change(key, old, None)

    def _named(self, key: Key) -> str:
        return f"{self.resource.plural} {key[0]}/{key[1]}"
