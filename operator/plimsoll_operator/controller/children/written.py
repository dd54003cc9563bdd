"""Which children's caches are still behind what the controller has written itself: until then the API server is asked.

The children note what they write, the informers tell what they have heard. Versions are compared as numbers, as Kubernetes counts them
("API concepts", resource versions). Thread-safe; makes no request.
"""

from __future__ import annotations

import threading

from plimsoll_operator.ports import Key, Manifest, key_of


class Written:
    """Of one kind of child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: dict[Key, int] = {}

    def wrote(self, child: Manifest) -> None:
        """This is the API server's answer to a write of ours."""
        with self._lock:
            self._expected[key_of(child)] = _version(child)

    def told(self, key: Key, child: Manifest | None) -> None:
        """The cache has the child as it is here, or knows that it is gone."""
        with self._lock:
            expected = self._expected.get(key)
            if expected is not None and (child is None or _version(child) >= expected):
                del self._expected[key]

    def behind(self, key: Key) -> bool:
        """Whether the cache has not heard of our last write yet."""
        with self._lock:
            return key in self._expected


def _version(child: Manifest) -> int:
    """0 for what is no number: then the cache is never thought to have it before it is told so."""
    text = str(child["metadata"].get("resourceVersion") or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0
