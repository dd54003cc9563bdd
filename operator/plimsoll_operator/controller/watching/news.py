"""Which InferenceDeployments have changed since they were last heard of, and which are only heard of again.

Told by the controller at recovery and at each event of its watcher, from one thread each: what has changed is worked on first. Every
status that is written comes back as an event, and a new leader is told of all there is. Remembers a number an object; decides nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from plimsoll_operator.ports import Key, Manifest, key_of

_OF_USERS = ("uid", "generation", "deletionTimestamp", "labels", "annotations")


class News:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[Key, int] = {}

    def hear(self, key: Key, metadata: Mapping[str, Any], *, gone: bool = False) -> bool:
        """Remember what is said of the object now. Returns whether what users write of it is as it was when it was last heard of."""
        if gone:
            self.forget(key)
            return False
        now = _digest(metadata)
        with self._lock:
            before, self._heard[key] = self._heard.get(key), now
        return before == now

    def forget(self, key: Key) -> None:
        """The object is gone, and nobody may have said so: a watch that begins anew lists only what is there."""
        with self._lock:
            self._heard.pop(key, None)

    def hear_listed(self, item: Manifest) -> bool:
        """Take an object as a new leader finds it. Returns whether its status speaks of what it asks for now; it is remembered then."""
        status, generation = item.get("status"), item["metadata"].get("generation")
        rows = status.get("conditions") if isinstance(status, dict) else None
        rows = rows if isinstance(rows, list) else []
        said = [row.get("observedGeneration") for row in rows if isinstance(row, dict) and row.get("type") == "Feasible"]
        if said != [generation] or item["metadata"].get("deletionTimestamp"):
            return False
        self.hear(key_of(item), item["metadata"])
        return True


def _digest(metadata: Mapping[str, Any]) -> int:
    return hash(json.dumps([metadata.get(field) for field in _OF_USERS], sort_keys=True))
