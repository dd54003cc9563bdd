"""An informer's callback behind a border: a bug stops one object's event, and the event is told again later.

Made by the controller for each informer. The callback is told as old what it last took without a bug, so that nothing that it
keeps of an object is left behind. Knows no kind's meaning.
"""

from __future__ import annotations

import threading

from plimsoll_operator.controller.cluster.informer import Change
from plimsoll_operator.controller.loops.quarantine import Border, Unit
from plimsoll_operator.ports import Key, Manifest, Resource


class Listener:
    """Thread-safe. `retry` is called by the timer; what fails again waits for the next turn."""

    def __init__(self, border: Border, resource: Resource, change: Change) -> None:
        self._border = border
        self._resource = resource
        self._change = change
        self._lock = threading.Lock()
        self._failed: dict[Key, tuple[Manifest | None, Manifest | None]] = {}

    def __call__(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback."""
        with self._lock:
            taken, _ = self._failed.pop(key, (old, None))
            self._tell(key, taken, new)

    def retry(self) -> None:
        """Tell again what was not taken."""
        for key in tuple(self._failed):
            with self._lock:
                if key in self._failed:
                    self._tell(key, *self._failed.pop(key))

    def _tell(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        with self._border(Unit.EVENT, f"{self._resource.plural} {key[0]}/{key[1]}") as attempt:
            self._change(key, old, new)
        if attempt.bug is not None:
            self._failed[key] = (old, new)
