"""A small informer: drives a `Reflector` on a thread over `ports.Kube`, and keeps a trimmed copy of each object of one resource.

The controller runs one thread of it per resource. Memory is bounded by what `trim` keeps of an object, not by what users
write into it. kopf is not used here because its index takes 75 s for 4 000 objects (measured) and its event handlers
copy every body; a thread that blocks on a socket costs nothing and wakes within a millisecond. Knows no kind's meaning, and of
lists and watches no more than how to ask for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import Key, Kube, Manifest, Resource, key_of
from plimsoll_operator.reflector import ListPage, Pause, Reflector, Watch

Trim = Callable[[Manifest], Manifest]
Change = Callable[[Key, Manifest | None, Manifest | None], None]
Told = Callable[[Key, Manifest | None], None]


class Trimmed:
    """`reflector.Cache` of trimmed copies that tells every difference at once, also while a list is under way."""

    def __init__(self, plural: str, *, trim: Trim, keep: Trim | None, on_change: Change, border: Border, told: Told | None = None) -> None:
        self._plural = plural
        self._trim = trim
        self._keep = keep
        self._on_change = on_change
        self._told = told
        self._border = border
        self._lock = threading.Lock()
        self._objects: dict[Key, Manifest] = {}
        self._listed: set[Key] = set()

    def get(self, key: Key) -> Manifest | None:
        """The trimmed object, to be read and never changed."""
        with self._lock:
            return self._objects.get(key)

    def values(self) -> tuple[Manifest, ...]:
        """A snapshot of all trimmed objects."""
        with self._lock:
            return tuple(self._objects.values())

    def begin(self) -> None:
        """See reflector.Cache."""
        self._listed = set()

    def page(self, items: Sequence[Manifest]) -> None:
        """See reflector.Cache."""
        for item in items:
            self._listed.add(key_of(item))
            self.put(item)

    def end(self) -> None:
        """See reflector.Cache."""
        for key in [key for key in self._objects if key not in self._listed]:
            self.drop(key)
        self._listed = set()

    def put(self, manifest: Manifest) -> None:
        """See reflector.Cache."""
        key = key_of(manifest)
        with self._border(Unit.EVENT, self._named(key)):
            new = self._trim(manifest)
            kept = new if self._keep is None else self._keep(new)
            with self._lock:
                old = self._objects.get(key)
                self._objects[key] = kept
            if self._told is not None:
                self._told(key, manifest)
            if old != kept:
                self._on_change(key, old, new)

    def drop(self, key: Key) -> None:
        """See reflector.Cache."""
        with self._lock:
            old = self._objects.pop(key, None)
        if self._told is not None:
            self._told(key, None)
        if old is not None:
            with self._border(Unit.EVENT, self._named(key)):
                self._on_change(key, old, None)

    def _named(self, key: Key) -> str:
        return f"{self._plural} {key[0]}/{key[1]}"


class Informer:
    """One resource's cache. `on_change(key, old, new)` is called on the informer's thread, in order, for every change.

    Where `on_change` keeps what it needs of an object, `keep` says what little of it is kept here, and told as old.
    `told` hears each version as the API server has it, after it is kept and whatever of it is.
    With `on_served` the resource may be missing from this cluster: see `Reflector`.
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
        told: Told | None = None,
    ) -> None:
        self._kube = kube
        self.resource = resource
        self._selector = selector
        self._namespace = namespace
        self._cache = Trimmed(resource.plural, trim=trim, keep=keep, on_change=on_change, told=told, border=border)
        self._reflector = Reflector(resource.plural, self._cache, clock=clock, on_served=on_served)
        self.synced = threading.Event()

    @property
    def served(self) -> bool:
        """Whether the API server serves the resource, as far as is known."""
        return self._reflector.served

    def get(self, key: Key) -> Manifest | None:
        """The trimmed object, to be read and never changed."""
        return self._cache.get(key)

    def values(self) -> tuple[Manifest, ...]:
        """A snapshot of all trimmed objects."""
        return self._cache.values()

    def age(self) -> float:
        """Seconds since the API server last said anything (an event, a bookmark or a whole list); at first, since the start."""
        return self._reflector.age_seconds()

    def run(self, stop: threading.Event) -> None:
        """List and watch until `stop`, whatever the API server does. Returns only then; begun anew after a bug, it lists anew."""
        self._reflector.restart()
        while not stop.is_set():
            step = self._reflector.next()
            if isinstance(step, Pause):
                stop.wait(step.seconds)
                continue
            try:
                self._take(step)
            except (ApiFailure, WatchExpired) as failure:
                self._reflector.failed(failure)
            self._tell_synced()

    def relist(self) -> None:
        """Replace the cache by a full list, reporting every difference. Raises ApiFailure where it is refused."""
        self._reflector.restart()
        while isinstance(step := self._reflector.next(), ListPage):
            try:
                self._take(step)
            except ApiFailure as failure:
                if not self._reflector.failed(failure):
                    raise
        self._tell_synced()

    def _take(self, step: ListPage | Watch) -> None:
        if isinstance(step, ListPage):
            token = step.continue_token
            page = self._kube.list_page(self.resource, namespace=self._namespace, selector=self._selector, continue_token=token)
            self._reflector.page(page)
            return
        for event in self._kube.watch(
            self.resource,
            resource_version=step.resource_version,
            namespace=self._namespace,
            selector=self._selector,
            timeout_seconds=step.timeout_seconds,
        ):
            self._reflector.event(event)
        self._reflector.ended()

    def _tell_synced(self) -> None:
        if self._reflector.synced:
            self.synced.set()
