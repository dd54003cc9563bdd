"""Keeps GPUPool objects in step with the nodes, at a bounded rate, and has deployments judged again when pools come or go.

Runs on a thread of the leader. The webhook decides by these objects, so they are written soon; a storm of pod events
becomes one write per pool and interval. GPUs that come free change no verdict, so they wake nobody here: bookings do.
Users' spec fields are never written (server-side apply owns status and annotations only). A pool of a user's own gets the
status of the nodes its selector selects, or says why there are none. Knows no deployment but by key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Set
from datetime import datetime
from functools import partial
from typing import Any, Final

from plimsoll_operator.api import ApiError, Condition, GPUPool, Unreadable, parse_object
from plimsoll_operator.capacity import pool_manifest, selection_status, status_without_nodes
from plimsoll_operator.capacity.pools import MAX_PROBLEMS
from plimsoll_operator.capacity.problems import Problem
from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.cluster.store import ParsedObjects
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import INDEXED_ANNOTATION, RESOURCE_ANNOTATION
from plimsoll_operator.ports import GPU_POOLS, Kube, Manifest
from plimsoll_operator.reasons import Why

_log = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
_UNREADABLE: Final[Manifest] = {}
_NO_NODES: Final[Manifest] = {"nodes": 0, "trusted": False, "problems": [f"{Why.NO_NODES}: no node is of this pool any more"]}
_OUR_ANNOTATIONS: Final = (INDEXED_ANNOTATION, RESOURCE_ANNOTATION)
_MAX_MESSAGE: Final = 4096
_MAX_LINE: Final = 1024


class PoolWriter:
    """`rejudge` is called after each pass in which a kind of pool appeared or vanished."""

    def __init__(
        self,
        kube: Kube,
        ledger: Ledger,
        objects: ParsedObjects,
        rejudge: Callable[[], None],
        now: Callable[[], datetime],
        border: Border = no_border,
    ) -> None:
        self._kube = kube
        self._border = border
        self._failed = False
        self._ledger = ledger
        self._objects = objects
        self._rejudge = rejudge
        self._now = now
        self._written: dict[str, Manifest] = {}
        self._spoken: dict[str, Manifest] = {}
        self._shape: frozenset[tuple[str, tuple[str, ...]]] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Write whenever something changed, at most once per interval; what fails is tried again, less and less often."""
        self._ledger.changed.set()
        failures = 0
        while not stop.is_set():
            if not self._ledger.changed.wait(1.0):
                continue
            self._ledger.changed.clear()
            pause = self.write_all()
            failures = 0 if pause is None else failures + 1
            if failures:
                self._ledger.changed.set()
            stop.wait(max(pause or 0.0, min(_LONGEST_WAIT_SECONDS, INTERVAL_SECONDS * 2.0 ** min(failures, 10))))

    def write_all(self) -> float | None:
        """One pass behind a border. None where every pool is as it should be, else how many seconds to wait at least before the next."""
        self._failed = False
        try:
            with self._border(Unit.POOL, "all pools") as attempt:
                self.write()
        except ApiFailure as failure:
            _log.warning("pools not written: %s", failure)
            return failure.retry_after_seconds or 0.0
        return None if attempt.bug is None and not self._failed else 0.0

    def write(self) -> None:
        """One pass: a pool that is refused, or at which a bug is met, holds up no other. Raises ApiFailure where nobody answers."""
        derived = self._ledger.pools()
        wanted = {}
        for pool in derived:
            with self._border(Unit.POOL, pool.name) as attempt:
                wanted[pool.name] = self._doubted(pool_manifest(pool))
            if attempt.bug is not None:
                self._failed = True
                wanted[pool.name] = self._written.get(pool.name, _UNREADABLE)
        for name, manifest in wanted.items():
            if manifest is not _UNREADABLE and self._written.get(name) != manifest:
                self._one(name, partial(self._apply, name, manifest))
        for name in self._vanished(wanted):
            self._one(name, partial(self._retire, name))
        self._speak(wanted)
        # A pool's name follows from everything that plans depend on; how many GPUs are free is no part of it. Of a declared pool
        # the nodes that are there already are left to bring no more.
        shape = frozenset((pool.name, pool.indexed_label_keys) for pool in derived)
        shape |= {(selection.name, (str(selection.nodes),)) for selection in self._ledger.selections()}
        if shape != self._shape:
            self._shape = shape
            self._rejudge()

    def _one(self, name: str, write: Callable[[], None]) -> None:
        try:
            with self._border(Unit.POOL, name) as attempt:
                write()
        except ApiFailure as failure:
            if not failure.status:
                raise
            _log.warning("pool %s not written: %s", name, failure)
            self._failed = True
            return
        self._failed |= attempt.bug is not None

    def _apply(self, name: str, manifest: Manifest) -> None:
        before = self._written.get(name)
        if before is None and self._stands(name, manifest):
            self._written[name] = manifest
            return
        generation = None
        if before is None or before["metadata"] != manifest["metadata"]:
            made = self._kube.apply(GPU_POOLS, {part: manifest[part] for part in ("apiVersion", "kind", "metadata")})
            generation = made["metadata"].get("generation")
        self._apply_status(name, manifest["status"], generation)
        self._written[name] = manifest

    def _stands(self, name: str, manifest: Manifest) -> bool:
        """Whether the pool is as an earlier leader would have written it now: a new one does not begin by writing all of them again."""
        known = self._objects.pools.get(("", name))
        notes = known.metadata.annotations if known is not None else {}
        ours = {key: text for key, text in notes.items() if key in _OUR_ANNOTATIONS}
        return ours == manifest["metadata"]["annotations"] and self._says(name, manifest["status"])

    def _says(self, name: str, status: Manifest) -> bool:
        """Whether its status is what would be written, to the time of its conditions."""
        known = self._objects.pools.get(("", name))
        if known is None or known.status is None:
            return False
        status = {**status, "conditions": self._conditions(status, known)}
        asked = {"apiVersion": GPU_POOLS.api_version, "kind": GPU_POOLS.kind, "metadata": {"name": name}, "status": status}
        try:
            return parse_object(GPUPool, asked, newer=True).status == known.status
        except ApiError:
            return False

    def _apply_status(self, name: str, status: Manifest, generation: int | None = None) -> None:
        """`generation` is that of an object made or changed just now, of which nobody has heard yet."""
        identity = {"apiVersion": GPU_POOLS.api_version, "kind": GPU_POOLS.kind, "metadata": {"name": name}}
        known = self._objects.pools.get(("", name))
        complete = {**status, "conditions": self._conditions(status, known, generation)}
        self._kube.apply(GPU_POOLS, {**identity, "status": complete}, subresource="status")

    def _conditions(self, status: Manifest, known: GPUPool | None, generation: int | None = None) -> list[Manifest]:
        """Trusted and FreeKnown; the time of a condition moves only with its status."""
        before = {row.type: row for row in known.status.conditions} if known is not None and known.status is not None else {}
        if generation is None:
            generation = known.metadata.generation if known is not None else 0
        now = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return [
            {**row, "observedGeneration": generation, "lastTransitionTime": _since(before.get(row["type"]), row["status"]) or now}
            for row in (_trusted(status), _free_known(status))
        ]

    def _doubted(self, manifest: Manifest) -> Manifest:
        """The pool as derived, and no longer believed where somebody says something of it that cannot be read."""
        unreadable = self._objects.pools.unreadable(("", manifest["metadata"]["name"]))
        if unreadable is None:
            return manifest
        status = manifest["status"]
        problems = [_unreadable_line(unreadable), *status.get("problems", ())][:MAX_PROBLEMS]
        return {**manifest, "status": {**status, "trusted": False, "problems": problems}}

    def _vanished(self, wanted: dict[str, Manifest]) -> list[str]:
        """Pools that we made and that nothing is derived for any more."""
        made = {pool.metadata.name for pool in self._objects.pools.values() if INDEXED_ANNOTATION in pool.metadata.annotations}
        return sorted((made | set(self._written)) - set(wanted))

    def _retire(self, name: str) -> None:
        """Delete a pool without nodes, or empty its status when a user has put something into its spec."""
        pool = self._objects.pools.get(("", name))
        said = self._objects.pools.unreadable(("", name)) is not None or (pool is not None and bool(pool.spec.model_fields_set))
        if not said:
            self._kube.delete(GPU_POOLS, "", name)
            self._written.pop(name, None)
            return
        status = status_without_nodes(pool.spec) if pool is not None and pool.spec.declared else _NO_NODES
        gone: Manifest = {"metadata": {}, "status": status}
        if self._written.get(name) == gone:
            return
        self._apply_status(name, status)
        self._written[name] = gone

    def _speak(self, derived: dict[str, Manifest]) -> None:
        """Tell users' own pools what their selectors select, what is declared, and why they speak of no node."""
        told: set[str] = set()
        for selection in self._ledger.selections():
            pool = self._objects.pools.get(("", selection.name))
            if pool is None or selection.name in derived:
                continue
            told.add(selection.name)
            self._one(selection.name, partial(self._tell, selection.name, selection_status(selection, pool.spec)))
        for name, pool in self._without_selection(told | derived.keys()):
            told.add(name)
            self._one(name, partial(self._tell, name, status_without_nodes(pool.spec)))
        for row in self._objects.pools.found():
            if isinstance(row, Unreadable) and row.name not in derived:
                told.add(row.name)
                self._one(row.name, partial(self._tell, row.name, {**_NO_NODES, "problems": [_unreadable_line(row)]}))
        self._spoken = {name: status for name, status in self._spoken.items() if name in told}

    def _tell(self, name: str, status: Manifest) -> None:
        before = self._spoken.get(name)
        if before != status:
            if before is not None or not self._says(name, status):
                self._apply_status(name, status)
            self._spoken[name] = status

    def _without_selection(self, known: Set[str]) -> list[tuple[str, GPUPool]]:
        """Users' pools without a selector, that no pool of nodes has the name of and that were never made for nodes."""
        pools = ((pool.metadata.name, pool) for pool in self._objects.pools.values() if INDEXED_ANNOTATION not in pool.metadata.annotations)
        return sorted(((name, pool) for name, pool in pools if name not in known and name not in self._written), key=lambda row: row[0])


def _unreadable_line(pool: Unreadable) -> str:
    return f"{Problem.GPU_POOL_UNREADABLE}: {pool} cannot be read by this release, so nothing is planned on it: {pool.problem}"[:_MAX_LINE]


def _trusted(status: Manifest) -> dict[str, Any]:
    problems: list[str] = status.get("problems") or []
    trusted = bool(status.get("trusted"))
    if trusted and not status.get("nodes"):
        message = "No node is there yet: plans count on those that an autoscaler may bring, up to maxNodes."
        return {"type": "Trusted", "status": "True", "reason": str(Why.DECLARED), "message": message}
    reason = problems[0].partition(":")[0] if problems else str(Why.NO_DOUBTS)
    message = "; ".join(problems)[:_MAX_MESSAGE] or "Labels, counts and memory agree."
    return {"type": "Trusted", "status": "True" if trusted else "False", "reason": reason, "message": message}


def _free_known(status: Manifest) -> dict[str, Any]:
    if status.get("freeIsKnown", True):
        return {"type": "FreeKnown", "status": "True", "reason": str(Why.PODS_SEEN), "message": "Pods of all namespaces are counted."}
    message = "Pods of other namespaces may not be listed: how many GPUs are free is not known."
    return {"type": "FreeKnown", "status": "False", "reason": str(Why.FOREIGN_PODS_HIDDEN), "message": message}


def _since(before: Condition | None, status: str) -> str | None:
    return before.last_transition_time if before is not None and before.status == status else None


def offered(pool: Manifest | None) -> tuple[Manifest, int]:
    """What a user has put into a GPUPool, and of one that selects nodes, how many: those are left of what it may bring."""
    spec = (pool or {}).get("spec") or {}
    return spec, ((pool or {}).get("status") or {}).get("nodes", 0) if spec.get("selector") else 0
