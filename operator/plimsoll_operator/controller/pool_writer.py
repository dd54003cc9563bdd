"""Keeps GPUPool objects in step with derived pools, at a bounded rate, and has deployments judged again when pools come or go.

Runs on a thread of the leader. The webhook decides by these objects, so they are written soon; a storm of pod events
becomes one write per pool and interval. GPUs that come free change no verdict, so they wake nobody here: bookings do.
Users' spec fields are never written (server-side apply owns status and annotations only). Knows no deployment but by key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from plimsoll_operator.capacity import pool_manifest
from plimsoll_operator.capacity.pools import INDEXED_ANNOTATION
from plimsoll_operator.controller.ledger import Ledger
from plimsoll_operator.controller.store import ParsedObjects
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import GPU_POOLS, Kube, Manifest

_log = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 0.5
_NO_NODES: Final[Manifest] = {
    "metadata": {},
    "status": {"nodes": 0, "trusted": False, "problems": ["NoNodes: no node is of this pool any more"]},
}


class PoolWriter:
    """`rejudge` is called after each pass in which a kind of pool appeared or vanished."""

    def __init__(self, kube: Kube, ledger: Ledger, objects: ParsedObjects, rejudge: Callable[[], None]) -> None:
        self._kube = kube
        self._ledger = ledger
        self._objects = objects
        self._rejudge = rejudge
        self._written: dict[str, Manifest] = {}
        self._shape: frozenset[tuple[str, tuple[str, ...]]] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Write whenever something changed, at most once per interval; a refused pass is tried again."""
        self._ledger.changed.set()
        while not stop.is_set():
            if not self._ledger.changed.wait(1.0):
                continue
            self._ledger.changed.clear()
            try:
                self.write()
            except ApiFailure as failure:
                _log.warning("pools not written: %s", failure)
                self._ledger.changed.set()
            stop.wait(INTERVAL_SECONDS)

    def write(self) -> None:
        """One pass. Raises ApiFailure."""
        derived = self._ledger.pools()
        wanted = {pool.name: pool_manifest(pool) for pool in derived}
        for name, manifest in wanted.items():
            if self._written.get(name) != manifest:
                self._apply(name, manifest)
        for name in self._vanished(wanted):
            self._retire(name)
        # A pool's name follows from everything that plans depend on; how many GPUs are free is no part of it.
        shape = frozenset((pool.name, pool.indexed_label_keys) for pool in derived)
        if shape != self._shape:
            self._shape = shape
            self._rejudge()

    def _apply(self, name: str, manifest: Manifest) -> None:
        before = self._written.get(name)
        identity = {part: manifest[part] for part in ("apiVersion", "kind", "metadata")}
        if before is None or before["metadata"] != manifest["metadata"]:
            self._kube.apply(GPU_POOLS, identity)
        self._kube.apply(GPU_POOLS, {**identity, "metadata": {"name": name}, "status": manifest["status"]}, subresource="status")
        self._written[name] = manifest

    def _vanished(self, wanted: dict[str, Manifest]) -> list[str]:
        """Pools that we made and that nothing is derived for any more."""
        made = {pool.metadata.name for pool in self._objects.pools.values() if INDEXED_ANNOTATION in pool.metadata.annotations}
        return sorted((made | set(self._written)) - set(wanted))

    def _retire(self, name: str) -> None:
        """Delete a pool without nodes, or empty its status when a user has put something into its spec."""
        pool = self._objects.pools.get(("", name))
        if pool is None or not pool.spec.model_fields_set:
            self._kube.delete(GPU_POOLS, "", name)
            self._written.pop(name, None)
            return
        if self._written.get(name) == _NO_NODES:
            return
        identity = {"apiVersion": GPU_POOLS.api_version, "kind": GPU_POOLS.kind, "metadata": {"name": name}}
        self._kube.apply(GPU_POOLS, {**identity, "status": _NO_NODES["status"]}, subresource="status")
        self._written[name] = _NO_NODES
