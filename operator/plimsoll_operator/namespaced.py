"""Parsed objects of one resource by namespace and name, as the webhook keeps them: `reflector.Cache` for whoever reads from another thread.

Filled by `watch`, read by the webhook's store. What readers are given is replaced and never changed, and after a list all of it at
once. Bounded by what `parse` keeps of an object and `settle` of a namespace; makes no request and knows no kind's meaning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from plimsoll_operator.ports import Key, Manifest, key_of

log = logging.getLogger(__name__)

T = TypeVar("T")
V = TypeVar("V")
Settle: TypeAlias = Callable[[Mapping[str, T]], tuple[dict[str, T], Iterable[str]]]
_CROWD: Final = 512
"""Objects of one namespace from which on each event no longer costs a look at all of them."""
_MOST_TOLD: Final = 1024


class Namespaced(Generic[T]):
    """See the module. `parse` returns None for what is not to be kept, and says so itself.

    `settle` is given all objects of a namespace whenever one of them has changed, and says what is kept of them and which are to be
    read again. `bug` is told of each object over which the parser stumbles: it stays as it was last known, since a use that is no longer
    counted, or labels that are no longer known, would let through what they held back. The others are read on.
    """

    def __init__(
        self, kind: str, parse: Callable[[Manifest], T | None], *, settle: Settle[T] | None = None, bug: Callable[[], None] = lambda: None
    ) -> None:
        self.kind = kind
        self._parse = parse
        self._settle = settle
        self._bug = bug
        self._objects: dict[str, Mapping[str, T]] = {}
        self._coming: dict[str, dict[str, T]] = {}
        self._crowded: dict[str, dict[str, T]] = {}
        self._again: set[Key] = set()
        self._told: set[tuple[Key, str]] = set()
        self._worked: dict[str, tuple[Mapping[str, T], Any]] = {}

    @property
    def objects(self) -> dict[Key, T]:
        """All of this moment, by namespace and name."""
        return {(namespace, name): row for namespace, rows in list(self._objects.items()) for name, row in rows.items()}

    def of(self, namespace: str = "") -> Mapping[str, T]:
        """The objects of a namespace (empty: of the cluster) by name: never changed afterwards, so that any thread may read it."""
        return self._objects.get(namespace, {})

    def once(self, namespace: str, work_out: Callable[[Mapping[str, T]], V]) -> V:
        """What is worked out of a namespace's objects, again only when they have changed. For one pure function an instance.

        Two threads that ask at once may both work it out: the values are equal.
        """
        rows = self.of(namespace)
        worked = self._worked.get(namespace)
        if worked is None or worked[0] is not rows:
            worked = rows, work_out(rows)
            if rows:
                self._worked[namespace] = worked
        value: V = worked[1]
        return value

    def begin(self) -> None:
        """See reflector.Cache."""
        self._coming = {}

    def page(self, items: Sequence[Manifest]) -> None:
        """See reflector.Cache: shown when the list has ended, so that a reader never sees a half-filled cache."""
        touched: set[str] = set()
        for item in items:
            namespace, name = key_of(item)
            row = self._read((namespace, name), item)
            if row is not None:
                self._coming.setdefault(namespace, {})[name] = row
                touched.add(namespace)
        for namespace in touched:
            self._coming[namespace] = self._settled(namespace, self._coming[namespace])

    def end(self) -> None:
        """See reflector.Cache."""
        self._objects = dict(self._coming)
        self._coming, self._crowded, self._worked = {}, {}, {}

    def put(self, manifest: Manifest) -> None:
        """See reflector.Cache."""
        key = key_of(manifest)
        self._replace(key, self._read(key, manifest))

    def drop(self, key: Key) -> None:
        """See reflector.Cache."""
        self._replace(key, None)

    def crowds(self) -> Iterator[str]:
        """Settle each crowded namespace, one at a step: one tenant's thousands must not take the event loop."""
        crowded, self._crowded = self._crowded, {}
        for namespace, rows in crowded.items():
            self._keep(namespace, self._settled(namespace, rows))
            yield namespace

    def awaited(self) -> dict[Key, T]:
        """What is to be read again, and what is known of it now. Told once: what was not read is put back by `await_again`."""
        again, self._again = self._again, set()
        return {key: row for key in again if (row := self._rows(key[0]).get(key[1])) is not None}

    def await_again(self, keys: Iterable[Key]) -> None:
        """These are still to be read."""
        self._again.update(keys)

    def read_again(self, key: Key, awaited: T, manifest: Manifest) -> None:
        """Take in what was read because of `awaited`, unless there has been other news of it since."""
        if self._rows(key[0]).get(key[1]) is awaited:
            self.put(manifest)

    def _rows(self, namespace: str) -> Mapping[str, T]:
        crowd = self._crowded.get(namespace)
        return self.of(namespace) if crowd is None else crowd

    def _read(self, key: Key, manifest: Manifest) -> T | None:
        try:
            return self._parse(manifest)
        except Exception as error:  # noqa: BLE001 the border of one object: told with its traceback, the others are read on
            self._tell(key, error)
            return self._rows(key[0]).get(key[1])

    def _replace(self, key: Key, row: T | None) -> None:
        """A namespace's objects are replaced and never changed: whoever iterates over them elsewhere goes on undisturbed."""
        namespace, name = key
        crowd = self._crowded.get(namespace)
        if crowd is None and len(self.of(namespace)) >= _CROWD:
            crowd = self._crowded[namespace] = dict(self.of(namespace))
        rows = dict(self.of(namespace)) if crowd is None else crowd
        rows.pop(name, None)
        if row is not None:
            rows[name] = row
        if crowd is None:
            self._keep(namespace, self._settled(namespace, rows))

    def _keep(self, namespace: str, rows: dict[str, T]) -> None:
        if rows:
            self._objects[namespace] = rows
        else:
            self._objects.pop(namespace, None)
            self._worked.pop(namespace, None)

    def _settled(self, namespace: str, rows: dict[str, T]) -> dict[str, T]:
        if self._settle is None:
            return rows
        kept, again = self._settle(rows)
        self._again.update((namespace, name) for name in again)
        return kept

    def _tell(self, key: Key, error: Exception) -> None:
        """The whole traceback once for each object and class of error; a counter each time."""
        said = (key, type(error).__name__)
        if said not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(said)
            log.error("%s %s/%s is not taken, and stays as it was last known: a bug", self.kind, *key, exc_info=error)
        self._bug()
