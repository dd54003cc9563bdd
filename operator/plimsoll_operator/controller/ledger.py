"""Which GPUs are free and which are promised: the capacity index, fed by informers and by the one worker that books.

Bookings are derived, never stored: GPUs of applied plans whose pods are not on a node yet. After a restart the same
bookings follow from the children's plan annotations and the pods. Thread-safe; knows no verdicts and makes no requests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.capacity import Booking, CapacityIndex, DerivedPool
from plimsoll_operator.controller.ports import Key, Manifest
from plimsoll_operator.render import NAME_LABEL
from plimsoll_operator.verdict import Plan

MAX_LABEL_KEYS: Final = 16
_OVER: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """An applied plan and the replicas that are wanted of it."""

    plan: Plan
    replicas: int


class Ledger:
    """See the module. `changed` is set whenever pools may look different from before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._index = CapacityIndex()
        self._promises: dict[Key, Promise] = {}
        self._pods: dict[Key, dict[str, Manifest]] = {}
        self.changed = threading.Event()

    def node_changed(self, _key: Key, old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for nodes."""
        with self._lock:
            if new is not None:
                self._index.node_event("MODIFIED" if old else "ADDED", new)
            elif old is not None:
                self._index.node_event("DELETED", old)
        self.changed.set()

    def pod_changed(self, _key: Key, old: Manifest | None, new: Manifest | None) -> Key | None:
        """An informer's callback for pods. Returns the InferenceDeployment that it belongs to, if any."""
        latest = new if new is not None else old
        if latest is None:
            return None
        owner = _owner(latest)
        with self._lock:
            self._index.pod_event("DELETED" if new is None else "MODIFIED", latest)
            if owner is not None:
                self._count(owner, latest, new)
        self.changed.set()
        return owner

    def promise(self, key: Key, promise: Promise | None) -> None:
        """Book what this plan's missing pods will take; None takes the booking back."""
        with self._lock:
            if promise is None:
                self._promises.pop(key, None)
            else:
                self._promises[key] = promise
            self._book(without=None)
        self.changed.set()

    def bound(self, key: Key) -> int:
        """Live pods of the deployment that are on a node."""
        with self._lock:
            return len(self._pods.get(key, ()))

    def use_label_keys(self, keys: Iterable[str]) -> None:
        """Split pools by these node labels too, from now on; beyond MAX_LABEL_KEYS further ones are not taken."""
        with self._lock:
            wanted = sorted({*self._index.label_keys, *keys})
            if len(wanted) <= MAX_LABEL_KEYS and self._index.set_label_keys(wanted):
                self.changed.set()

    def pools(self) -> tuple[DerivedPool, ...]:
        """All pools, net of pods and of every booking."""
        with self._lock:
            return self._index.pools()

    def pools_without(self, key: Key) -> tuple[DerivedPool, ...]:
        """All pools as if this deployment had neither pods nor bookings: what it may plan on."""
        with self._lock:
            own = tuple(self._pods.get(key, {}).values())
            if not own and key not in self._promises:
                return self._index.pools()
            for pod in own:
                self._index.pod_event("DELETED", pod)
            self._book(without=key)
            pools = self._index.pools()
            for pod in own:
                self._index.pod_event("MODIFIED", pod)
            self._book(without=None)
            return pools

    def _count(self, owner: Key, pod: Manifest, new: Manifest | None) -> None:
        pods = self._pods.setdefault(owner, {})
        uid = str(pod["metadata"].get("uid") or pod["metadata"]["name"])
        bound = new is not None and bool(new["spec"].get("nodeName")) and new["status"].get("phase") not in _OVER
        if bound and new is not None:
            pods[uid] = new
        else:
            pods.pop(uid, None)
        if not pods:
            del self._pods[owner]
        if owner in self._promises:
            self._book(without=None)

    def _book(self, *, without: Key | None) -> None:
        """Tell the index what is promised and not yet on a node."""
        missing = [
            (promise.plan, promise.replicas - len(self._pods.get(key, ())))
            for key, promise in self._promises.items()
            if key != without and promise.replicas > len(self._pods.get(key, ()))
        ]
        bookings: dict[str, list[Booking]] = {}
        if missing:
            self._index.set_bookings({})
            pools = self._index.pools()
            for plan, pods in missing:
                for name, count in _spread(plan, pods, pools):
                    bookings.setdefault(name, []).append(Booking(gpus=plan.gpus_per_replica, pods=count))
        self._index.set_bookings(bookings)


def _spread(plan: Plan, pods: int, pools: Iterable[DerivedPool]) -> list[tuple[str, int]]:
    """How many of the pods each of the plan's pools takes; pools are found by product when their names have changed."""
    products = plan.gpu_products or (plan.product,)
    named = [pool for pool in pools if pool.name in plan.pools]
    candidates = named or [pool for pool in pools if pool.key.product in products and not pool.key.excluded_for]
    out: list[tuple[str, int]] = []
    for pool in candidates:
        room = sum(nodes * (free // plan.gpus_per_replica) for free, nodes in pool.nodes_by_free_gpus)
        taken = min(pods, room)
        if taken > 0:
            out.append((pool.name, taken))
            pods -= taken
    return out


def _owner(pod: Manifest) -> Key | None:
    name = (pod["metadata"].get("labels") or {}).get(NAME_LABEL)
    return (pod["metadata"].get("namespace", ""), name) if name else None
