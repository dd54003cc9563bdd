"""Which GPUs are free and which are promised: the capacity index, fed by informers and by the one worker that books.

Bookings are derived, never stored: GPUs of applied plans whose pods are not on a node yet. After a restart the same
bookings follow from the children's plan annotations and the pods. Thread-safe; knows no verdicts and makes no requests.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.api import NAME_LABEL
from plimsoll_operator.capacity import Booking, CapacityIndex, DerivedPool, PoolKey
from plimsoll_operator.decision.caps import use_of_plan
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.ports import Key, Manifest
from plimsoll_operator.verdict import Plan

MAX_LABEL_KEYS: Final = 16
_OVER: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """An applied plan and the replicas that are wanted of it."""

    plan: Plan
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Want:
    """What missing pods of alike plans look for. Promises are counted by it, so that ten thousand of them cost a handful of bookings."""

    pools: tuple[str, ...]
    products: tuple[str, ...]
    resource: str
    sharing: str
    gpus: int


class Ledger:
    """See the module. `changed` is set whenever pools may look different from before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._index = CapacityIndex()
        self._promises: dict[Key, Promise] = {}
        self._pods: dict[Key, dict[str, Manifest]] = {}
        self._missing: dict[Key, tuple[_Want, int]] = {}
        self._wanted: Counter[_Want] = Counter()
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
            if self._promises.get(key) == promise:
                return
            if promise is None:
                self._promises.pop(key, None)
            else:
                self._promises[key] = promise
            self._weigh(key)
        self.changed.set()

    def uses(self, namespace: str) -> dict[str, DeploymentUse]:
        """What the namespace's deployments are promised, by name."""
        with self._lock:
            return {key[1]: use_of_plan(kept.plan, kept.replicas) for key, kept in self._promises.items() if key[0] == namespace}

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
            return self._booked(self._wanted)

    def pools_without(self, key: Key) -> tuple[DerivedPool, ...]:
        """All pools as if this deployment had neither pods nor bookings: what it may plan on."""
        with self._lock:
            own = tuple(self._pods.get(key, {}).values())
            wanted = self._wanted
            if key in self._missing:
                want, pods = self._missing[key]
                wanted = Counter(wanted)
                wanted[want] -= pods
            for pod in own:
                self._index.pod_event("DELETED", pod)
            pools = self._booked(wanted)
            for pod in own:
                self._index.pod_event("MODIFIED", pod)
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
        self._weigh(owner)

    def _weigh(self, key: Key) -> None:
        """Count anew what this deployment misses."""
        if key in self._missing:
            want, pods = self._missing.pop(key)
            self._wanted[want] -= pods
            if not self._wanted[want]:
                del self._wanted[want]
        promise = self._promises.get(key)
        missing = promise.replicas - len(self._pods.get(key, ())) if promise is not None else 0
        if promise is not None and missing > 0:
            plan = promise.plan
            want = _Want(
                pools=plan.pools,
                products=plan.gpu_products or (plan.product,),
                resource=plan.gpu_resource,
                sharing=plan.sharing,
                gpus=plan.gpus_per_replica,
            )
            self._missing[key] = (want, missing)
            self._wanted[want] += missing

    def _booked(self, wanted: Mapping[_Want, int]) -> tuple[DerivedPool, ...]:
        """The index's pools with these bookings on them."""
        self._index.set_bookings({})
        pools = self._index.pools()
        bookings: dict[str, list[Booking]] = {}
        for want, pods in sorted(wanted.items(), key=lambda row: (row[0].pools, row[0].products, row[0].resource, row[0].gpus)):
            for name, count in _spread(want, pods, pools):
                bookings.setdefault(name, []).append(Booking(gpus=want.gpus, pods=count))
        if not bookings:
            return pools
        self._index.set_bookings(bookings)
        return self._index.pools()


def _spread(want: _Want, pods: int, pools: Iterable[DerivedPool]) -> list[tuple[str, int]]:
    """How many of the pods each of the plan's pools takes; pools are found by product when their names have changed."""
    named = [pool for pool in pools if pool.name in want.pools]
    candidates = named or [pool for pool in pools if _serves(pool.key, want)]
    out: list[tuple[str, int]] = []
    for pool in candidates:
        room = sum(nodes * (free // want.gpus) for free, nodes in pool.nodes_by_free_gpus)
        taken = min(pods, room)
        if taken > 0:
            out.append((pool.name, taken))
            pods -= taken
    return out


def _serves(key: PoolKey, want: _Want) -> bool:
    return key.product in want.products and (key.resource, key.sharing) == (want.resource, want.sharing) and not key.excluded_for


def _owner(pod: Manifest) -> Key | None:
    name = (pod["metadata"].get("labels") or {}).get(NAME_LABEL)
    return (pod["metadata"].get("namespace", ""), name) if name else None
