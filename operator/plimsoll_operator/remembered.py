"""A memory with a budget in bytes: what was worked out for one key, the least recently asked forgotten first.

Used where webhook and controller answer the same question again (verdicts, shapes, engines). What outsiders may ask without end is
kept by what it keeps alive, never by count; a key is a digest or a small value, so that no question keeps its own text alive.
Knows nothing of what it keeps.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from sys import getsizeof
from typing import Any, ClassVar, Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_ENTRY_BYTES: Final = 512
"""A node of the ordered map, the key and its digest, and the pair that is kept: rounded up."""
_LARGEST_SHARE: Final = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One memory's figures of this moment."""

    name: str
    budget_bytes: int
    kept_bytes: int
    entries: int
    hits: int
    misses: int


class Remembered(Generic[K, V]):
    """A bounded map from question to answer, safe to use from several threads.

    `size_of` estimates what a value keeps alive; what is larger than a quarter of the budget is answered and not kept. Two threads
    that miss at once both work it out: the values are equal, and none waits for the other.
    """

    _all: ClassVar[weakref.WeakSet[Remembered[Any, Any]]] = weakref.WeakSet()

    def __init__(self, name: str, budget_bytes: int, size_of: Callable[[V], int]) -> None:
        self._name = name
        self._budget_bytes = budget_bytes
        self._size_of = size_of
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = self._hits = self._misses = 0
        Remembered._all.add(self)

    def ask(self, key: K, work_out: Callable[[], V]) -> V:
        """The value for the key, worked out where it is not remembered. Whatever that raises is not remembered."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._hits += 1
                self._kept.move_to_end(key)
                return found[0]
            self._misses += 1
        value = work_out()
        self.keep(key, value)
        return value

    def keep(self, key: K, value: V) -> None:
        """Remember a value, or weigh it again: what a value keeps alive may have grown since."""
        size = _ENTRY_BYTES + self._size_of(value)
        with self._lock:
            self._drop(key)
            if size * _LARGEST_SHARE > self._budget_bytes:
                return
            self._kept[key] = (value, size)
            self._bytes += size
            while self._bytes > self._budget_bytes:
                self._drop(next(iter(self._kept)))

    def recall(self, key: K) -> V | None:
        """What was kept for the key; None where it is not remembered."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._kept.move_to_end(key)
            return found[0]

    def forget(self, key: K) -> None:
        """The value is not true any more."""
        with self._lock:
            self._drop(key)

    def cache_clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def figures(self) -> Kept:
        """How full it is and how often it helped."""
        with self._lock:
            return Kept(
                name=self._name,
                budget_bytes=self._budget_bytes,
                kept_bytes=self._bytes,
                entries=len(self._kept),
                hits=self._hits,
                misses=self._misses,
            )

    def _drop(self, key: K) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._bytes -= gone[1]


def all_figures() -> list[Kept]:
    """Of every memory of this process, by name."""
    return sorted((memory.figures() for memory in list(Remembered._all)), key=lambda kept: kept.name)


def forget_everything() -> None:
    """Empty every memory of this process: for measurements."""
    for memory in list(Remembered._all):
        memory.cache_clear()


def kept_bytes(value: object) -> int:
    """What a tree of plain values keeps alive: containers, text, numbers, dataclasses and models. Shared parts count each time."""
    total = 0
    open_values: list[Any] = [value]
    while open_values:
        found = open_values.pop()
        if found is None or isinstance(found, bool | Enum | type):
            continue
        total += getsizeof(found)
        if isinstance(found, str | bytes | int | float):
            continue
        if isinstance(found, Mapping):
            open_values.extend(found.keys())
            open_values.extend(found.values())
        elif isinstance(found, list | tuple | set | frozenset):
            open_values.extend(found)
        elif dataclasses.is_dataclass(found):
            open_values.extend(getattr(found, field.name) for field in dataclasses.fields(found))
        elif hasattr(found, "__dict__"):
            open_values.append(vars(found))
    return total
