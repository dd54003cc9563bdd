"""InferenceDeployments as they were last read or written, packed: so that looking again at one that nobody has changed asks nobody.

The reconciler puts in what it reads and what its writes are answered, recovery and resync what they list; the watcher's events say which
version is the newest. A copy counts while its version is the one that was heard last: otherwise, and of what the budget has no room for,
the API server is asked. Thread-safe; makes no request. Nothing here is the only copy of anything.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterable
from typing import Final

from plimsoll_operator.ports import Key, Manifest, key_of
from plimsoll_operator.remembered import Remembered

BUDGET_BYTES: Final = 64 << 20
"""Some twenty thousand deployments of the usual size. One that is larger than a MiB when packed is read each time."""
_LARGEST: Final = 1 << 20
_FASTEST: Final = 1


class Copies:
    """Of every deployment the newest."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._kept: Remembered[Key, tuple[str, bytes]] = Remembered("deployments", budget_bytes, lambda row: len(row[1]))
        self._lock = threading.Lock()
        self._heard: dict[Key, str] = {}

    def keep(self, raw: Manifest) -> None:
        """What the API server has just answered for this object."""
        shown = {**raw, "metadata": {name: value for name, value in raw["metadata"].items() if name != "managedFields"}}
        packed = zlib.compress(json.dumps(shown, separators=(",", ":")).encode(), _FASTEST)
        if len(packed) <= _LARGEST:
            self._kept.keep(key_of(raw), (_version(raw), packed))
        else:
            self._kept.forget(key_of(raw))

    def keep_listed(self, raw: Manifest) -> None:
        """The same of a list, which is as new as anything that was heard before it."""
        self.keep(raw)
        self.hear(key_of(raw), _version(raw))

    def hear(self, key: Key, version: str) -> bool:
        """Take the version that the watcher tells of. Returns whether it is the one that is kept, so that nothing of it is new."""
        with self._lock:
            self._heard[key] = version
        kept = self._kept.recall(key)
        return kept is not None and kept[0] == version

    def newest(self, key: Key) -> Manifest | None:
        """The object, if what is kept is what was heard last."""
        kept = self._kept.recall(key)
        with self._lock:
            if kept is None or kept[0] != self._heard.get(key):
                return None
        found: Manifest = json.loads(zlib.decompress(kept[1]))
        return found

    def forget(self, key: Key) -> None:
        """The object is gone, or may be: the API server is asked."""
        self._kept.forget(key)
        with self._lock:
            self._heard.pop(key, None)

    def forget_all_but(self, keys: Iterable[Key]) -> None:
        """What a whole list did not have may be gone."""
        listed = frozenset(keys)
        with self._lock:
            gone = [key for key in self._heard if key not in listed]
        for key in gone:
            self.forget(key)


def _version(raw: Manifest) -> str:
    return str(raw["metadata"].get("resourceVersion") or "")
