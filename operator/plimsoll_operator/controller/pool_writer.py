"""Keeps GPUPool objects in step with derived pools, at a bounded rate, and wakes the deployments that wait for capacity.

Runs on a thread of the leader. The webhook decides by these objects, so they are written soon; a storm of pod events
becomes one write per pool and interval. Users' spec fields are never written (server-side apply owns status and
annotations only). Knows no deployment but by key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from plimsoll_operator.capacity import pool_manifest
from plimsoll_operator.capacity.pools import INDEXED_ANNOTATION
from plimsoll_operator.controller.ledger import Ledger
from plimsoll_operator.controller.ports import GPU_POOLS, Key, Kube, Manifest
from plimsoll_operator.controller.store import ParsedObjects
from plimsoll_operator.errors import ApiFailure

_log = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 0.5


class PoolWriter:
    """`wake` is called with nothing after each pass in which a pool changed."""

    def __init__(self, kube: Kube, ledger: Ledger, objects: ParsedObjects, wake: Callable[[], None]) -> None:
        self._kube = kube
        self._ledger = ledger
        self._objects = objects
        self._wake = wake
        self._written: dict[str, Manifest] = {}

    def run(self, stop: threading.Event) -> None:
        """Write whenever something changed, at most once per interval; a refused pass is tried again."""
        self._ledger.changed.set()
        while not stop.is_set():
            if not self._ledger.changed.wait(1.0):
                continue
            self._ledger.changed.clear()
            try:
                if self.write():
                    self._wake()
            except ApiFailure as failure:
                _log.warning("pools not written: %s", failure)
                self._ledger.changed.set()
            stop.wait(INTERVAL_SECONDS)

    def write(self) -> bool:
        """One pass. Returns whether any pool differed from what was written last. Raises ApiFailure."""
        wanted = {pool.name: pool_manifest(pool) for pool in self._ledger.pools()}
        changed = False
        for name, manifest in wanted.items():
            if self._written.get(name) == manifest:
                continue
            self._apply(name, manifest)
            changed = True
        for key in self._stale(wanted):
            self._kube.delete(GPU_POOLS, *key)
            self._written.pop(key[1], None)
            changed = True
        return changed

    def _apply(self, name: str, manifest: Manifest) -> None:
        before = self._written.get(name)
        identity = {part: manifest[part] for part in ("apiVersion", "kind", "metadata")}
        if before is None or before["metadata"] != manifest["metadata"]:
            self._kube.apply(GPU_POOLS, identity)
        self._kube.apply(GPU_POOLS, {**identity, "metadata": {"name": name}, "status": manifest["status"]}, subresource="status")
        self._written[name] = manifest

    def _stale(self, wanted: dict[str, Manifest]) -> list[Key]:
        """Pools that we made, that nothing is derived for any more, and that no user has put anything into."""
        stale = {name for name in self._written if name not in wanted}
        for pool in self._objects.pools.values():
            ours = INDEXED_ANNOTATION in pool.metadata.annotations
            if ours and pool.metadata.name not in wanted and not pool.spec.model_fields_set:
                stale.add(pool.metadata.name)
        return [("", name) for name in sorted(stale)]
