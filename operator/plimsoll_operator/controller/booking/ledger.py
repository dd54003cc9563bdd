"""Which GPUs are free and which are booked: the capacity index, fed by informers, and the bookings of the serial step.

Bookings are derived, never stored: GPUs of applied plans whose pods are not on a node yet. After a restart the same
bookings follow from the children's annotations and the pods. Thread-safe; knows no verdicts and makes no requests.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from plimsoll_operator.api import MAX_POOLS, GPUPool, Unreadable
from plimsoll_operator.capacity import Booking, CapacityIndex, DerivedPool, Selection, corrections_of, gpus_for
from plimsoll_operator.capacity.groups import Labels
from plimsoll_operator.capacity.pods import pod_key
from plimsoll_operator.conditions import PodsFail
from plimsoll_operator.controller.booking.beside import Beside, summed
from plimsoll_operator.controller.booking.bookings import Bookings, Histogram
from plimsoll_operator.controller.booking.demand import PodDemand, PodShape, Standing
from plimsoll_operator.controller.booking.engine_start import EngineStart, engine_starts
from plimsoll_operator.controller.booking.label_keys import LabelKeys
from plimsoll_operator.controller.booking.pod_trouble import pods_fail
from plimsoll_operator.controller.booking.reservation import Reservation, use_of
from plimsoll_operator.controller.booking.seen_pods import SeenPods, contenders_of_stranger, uid_of
from plimsoll_operator.controller.booking.spread import candidates, spread
from plimsoll_operator.facts import DeploymentUse, NamespaceUse, PoolFacts, narrowed
from plimsoll_operator.group import GROUP_INDEX_LABEL
from plimsoll_operator.owner import deployment_of
from plimsoll_operator.ports import Key, Manifest

_LOOK_AT_KEYS_SECONDS: Final = 60.0


class Ledger:
    """See the module. `changed` is set whenever pools may look different from before.

    `wake` is called, without the lock, with deployments that stand differently than they last knew. `sees_all_pods` is false where
    the controller may not list the pods of every namespace: then it never says what is free, and books nothing.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wake: Callable[[Iterable[Key]], None] = lambda _keys: None,
        *,
        sees_all_pods: bool = True,
    ) -> None:
        self._lock = threading.Lock()
        self._wake = wake
        self._index = CapacityIndex(free_is_known=sees_all_pods)
        self._bookings = Bookings(clock)
        self._reservations: dict[Key, Reservation] = {}
        self._used: dict[str, NamespaceUse] = {}
        self._standing: tuple[int, tuple[DerivedPool, ...]] = (-1, ())
        self._seen = SeenPods()
        self._not_ready: dict[str, str] = {}
        self._beside = Beside(self._bookings)
        self._label_keys = LabelKeys()
        self._looked_at_keys = clock()
        self._clock = clock
        self.changed = threading.Event()

    def node_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for nodes."""
        with self._lock:
            if new is not None:
                self._index.node_event("MODIFIED" if old else "ADDED", new)
            elif old is not None:
                self._index.node_event("DELETED", old)
            self._beside.node_changed(key, new)
            woken = [*self._settle(), *self._hear(key[1], new)]
        self.changed.set()
        self._wake(woken)

    def pod_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> Key | None:
        """An informer's callback for pods. Returns the InferenceDeployment that it belongs to, if any."""
        with self._lock:
            if old is not None and (new is None or uid_of(old) != uid_of(new)):
                self._index.pod_event("DELETED", old)
            touched = self._seen.change(old, new)
            self._beside.contend(("pod", key), contenders_of_stranger(new))
            for owner in touched:
                self._weigh(owner)
            owner_now = deployment_of(new["metadata"]) if new is not None else None
            if new is not None:
                self._index.pod_event("MODIFIED", new, planned=owner_now in self._reservations)
            for owner in touched:
                self._mark(owner, anew=False)
            woken = self._settle()
        self.changed.set()
        self._wake(woken)
        return owner_now or next(iter(touched), None)

    def _hear(self, node: str, new: Manifest | None) -> list[Key]:
        """Keep whether the node is ready. Returns the deployments with pods on it where that has changed."""
        rows = (new or {}).get("status", {}).get("conditions") or ()
        ready = next((str(row.get("status")) for row in rows if row.get("type") == "Ready"), "Unknown")
        before = self._not_ready.pop(node, "True")
        if new is not None and ready != "True":
            self._not_ready[node] = ready
        return self._seen.on_node(node) if before != self._not_ready.get(node, "True") else []

    def reserve(self, key: Key, reservation: Reservation | None) -> Standing:
        """Keep GPUs for this plan's missing pods, and say how they stand; None takes the reservation back.

        The same reservation again changes nothing: what time alone changes is seen to by `expire`.
        """
        with self._lock:
            if self._reservations.get(key) == reservation:
                return self._bookings.standing(key)
            self._reserve(key, reservation)
            woken = [other for other in self._settle() if other != key]
            standing = self._bookings.standing(key)
        self.changed.set()
        self._wake(woken)
        return standing

    def recover(self, reservations: Mapping[Key, Reservation]) -> None:
        """Take over what an earlier leader has reserved, all of it before anything new is decided."""
        with self._lock:
            for key, reservation in reservations.items():
                self._reserve(key, reservation)
            self._settle()
        self.changed.set()

    def expire(self) -> None:
        """Time has passed: take back bookings that the scheduler did not follow, and look anew at what pools are split by."""
        with self._lock:
            if self._clock() - self._looked_at_keys >= _LOOK_AT_KEYS_SECONDS:
                self._split()
            woken = self._settle()
        self._wake(woken)

    def reserved(self, key: Key) -> Reservation | None:
        """What is reserved for the deployment at this moment."""
        with self._lock:
            return self._reservations.get(key)

    def standing(self, key: Key) -> Standing:
        """How its missing pods stand."""
        with self._lock:
            return self._bookings.standing(key)

    def gated(self, key: Key) -> tuple[Manifest, ...]:
        """Its pods behind the capacity gate, trimmed: the oldest first, but those of one replica over nodes together.

        A group that is not whole yet is left out: leaders are made before their workers, and alone they would hold GPUs for nothing.
        """

        def place(pod: Manifest) -> tuple[int, str, str]:
            metadata, group = pod["metadata"], _group(pod)
            return (int(group) if group.isdecimal() else 0, metadata.get("creationTimestamp", ""), metadata["name"])

        with self._lock:
            reservation = self._reservations.get(key)
            whole = reservation.plan.nodes_per_replica if reservation is not None else 1
            waiting = self._seen.waiting(key).values()
            alive = (*self._seen.bound(key).values(), *(row.pod for row in waiting))
            members = Counter(_group(pod) for pod in alive if "deletionTimestamp" not in pod["metadata"])
            return tuple(sorted((row.pod for row in waiting if row.gated and members[_group(row.pod)] >= whole), key=place))

    def gates_to_lift(self, key: Key) -> int:
        """How many of them may go to the scheduler beyond those it sees already."""
        with self._lock:
            return max(0, self._bookings.may_show(key) - sum(not row.gated for row in self._seen.waiting(key).values()))

    def waits_for_us(self, key: Key) -> bool:
        """Whether a pod of it stands behind its gate though GPUs for it are booked: a booking lasts some seconds only."""
        booked = self.gates_to_lift(key)
        with self._lock:
            return booked > 0 and any(row.gated for row in self._seen.waiting(key).values())

    def use_beside(self, key: Key) -> NamespaceUse:
        """What is reserved for the namespace's other deployments together."""
        with self._lock:
            return self._used.get(key[0], NamespaceUse()).without(use_of(self._reservations.get(key)))

    def bound(self, key: Key) -> int:
        """Live pods of the deployment that are on a node."""
        with self._lock:
            return len(self._seen.bound(key))

    def failing(self, key: Key) -> PodsFail | None:
        """Why pods of the deployment that are on nodes do not come to serve, if any say so."""
        with self._lock:
            if self._not_ready:
                return pods_fail(self._seen.bound(key).values(), self._not_ready)
            return self._seen.once(key, "fails", lambda: pods_fail(self._seen.bound(key).values(), {}))

    def engine_starts(self, key: Key) -> tuple[EngineStart, ...]:
        """Which start each of the deployment's engines is at that run."""
        with self._lock:
            return self._seen.once(key, "starts", lambda: engine_starts(self._seen.staying(key)))

    def bound_replicas(self, key: Key, pods_per_replica: int) -> int:
        """Replicas all of whose pods are on nodes, to stay. Pods of a replica over nodes tell which group they are of."""
        with self._lock:
            groups = self._seen.once(key, "groups", lambda: Counter(map(_group, self._seen.staying(key)))).copy()
        alone = groups.pop("", 0)
        return alone // pods_per_replica + sum(count >= pods_per_replica for count in groups.values())

    def use_label_keys(self, key: Key, label_keys: Iterable[str]) -> None:
        """Split pools by the node labels that this deployment selects by too, as far as LabelKeys allows; none when it is gone."""
        with self._lock:
            if self._label_keys.use(key, label_keys):
                self._split()

    def narrow(self, key: Key | None, selector: Mapping[str, str], pools: tuple[PoolFacts, ...]) -> tuple[PoolFacts, ...]:
        """The pools as the nodes that this selector selects make them up, where pools are not split by its labels.

        Without a key nobody asks what is free of them.
        """
        with self._lock:
            pairs = self._unsplit(sorted(selector.items()))
            if not pairs:
                return pools
            derived = {pool.name for pool in self._index.pools()}
            missing, own = self._but(key) if key is not None else ({}, ())
            parts = self._index.narrowed(pairs, self._spread(missing, own), without=own)
        return tuple(narrowed(pool, parts.get(pool.name), pairs) if pool.name in derived else pool for pool in pools)

    def _unsplit(self, selector: Iterable[tuple[str, str]]) -> Labels:
        """What of a selector no pool's name tells."""
        return tuple(pair for pair in selector if pair[0] not in self._index.label_keys)

    def _split(self) -> None:
        self._looked_at_keys = now = self._clock()
        if self._index.set_label_keys(self._label_keys.chosen(self._index.values_of, self._index.gpu_nodes, now)):
            self.changed.set()

    def correct(self, pools: Iterable[GPUPool | Unreadable]) -> None:
        """Follow the selectors of these GPUPools from now on; the same ones again cost nothing."""
        with self._lock:
            if self._index.set_corrections(corrections_of(pools)):
                self.changed.set()

    def selections(self) -> tuple[Selection, ...]:
        """What each GPUPool with a selector selects."""
        with self._lock:
            return self._index.selections()

    def pools(self) -> tuple[DerivedPool, ...]:
        """All pools, net of pods and of every booking."""
        with self._lock:
            return self._booked(self._bookings.all_missing())

    def standing_pools(self) -> tuple[DerivedPool, ...]:
        """All pools, for who does not ask what is free of them: one tuple until the next change of a pool."""
        with self._lock:
            if self._standing[0] != self._index.version:
                self._standing = (self._index.version, self._index.pools())
            return self._standing[1]

    def pools_without(self, key: Key) -> tuple[DerivedPool, ...]:
        """All pools as if this deployment had neither pods nor bookings: what it may plan on."""
        with self._lock:
            return self._booked(*self._but(key))

    def _but(self, key: Key) -> tuple[Mapping[PodShape, int], tuple[str, ...]]:
        """What the others still miss, and this deployment's own pods on nodes, by `pod_key`."""
        missing = Counter(self._bookings.all_missing())
        if (mine := self._bookings.missing(key)) is not None:
            missing[mine[0]] -= mine[1]
        own = (pod_key(pod["metadata"]) for pod in self._seen.bound(key).values())
        return +missing, tuple(uid for uid in own if uid is not None)

    def _reserve(self, key: Key, reservation: Reservation | None) -> None:
        planned_before = key in self._reservations
        self._count(key[0], use_of(self._reservations.get(key)), use_of(reservation))
        if reservation is None:
            self._reservations.pop(key, None)
        else:
            self._reservations[key] = reservation
        self._mark(key, anew=planned_before != (reservation is not None))
        self._weigh(key)

    def _count(self, namespace: str, before: DeploymentUse | None, after: DeploymentUse | None) -> None:
        """Keep what is reserved in the namespace together, so that a cap costs the same however many deployments there are."""
        used = self._used.pop(namespace, NamespaceUse()).without(before)
        used = used if after is None else used.with_use(after)
        if used != NamespaceUse():
            self._used[namespace] = used

    def _weigh(self, key: Key) -> None:
        """Count anew what this deployment misses, and what else its pods may take."""
        reservation, waiting = self._reservations.get(key), self._seen.waiting(key).values()
        if reservation is None:
            self._bookings.drop(key)
            self._beside.contend(("deployment", key), summed(row.may_take for row in waiting))
            return
        shape, bound = reservation.shape, len(self._seen.staying(key))
        # A replica over several nodes is as many pods.
        desired, child_pods = (
            replicas * reservation.plan.nodes_per_replica for replicas in (reservation.replicas, reservation.child_replicas)
        )
        fitting = [row for row in waiting if row.fits(shape)]
        visible = sum(not row.gated for row in fitting)
        # While a rollout surges, the scheduler sees more pods than are missing.
        surplus = visible - max(0, desired - bound)
        others = summed(row.may_take for row in waiting if not row.fits(shape))
        self._beside.contend(("deployment", key), (*others, *(((shape, surplus),) if surplus > 0 else ())))
        demand = PodDemand(
            shape=shape,
            desired=desired,
            bound=bound,
            waiting=len(fitting),
            visible=visible,
            child_pods=child_pods,
            gated=reservation.gated,
            decided=reservation.decided,
            refused=reservation.refused,
            pods_per_replica=reservation.plan.nodes_per_replica,
        )
        self._bookings.put(key, demand)

    def _mark(self, key: Key, *, anew: bool) -> None:
        """Tell the index which of its pods on nodes are planned: all, but on time-sliced cards no more than its plan has and one beside."""
        reservation, pods = self._reservations.get(key), self._seen.bound(key)
        limit = len(pods) if reservation is not None else 0
        if reservation is not None and reservation.plan.sharing == "time-slicing":
            limit = (max(reservation.replicas, reservation.child_replicas) + 1) * reservation.plan.nodes_per_replica
        elif not anew:
            return
        for number, uid in enumerate(sorted(pods)):
            self._index.pod_event("MODIFIED", pods[uid], planned=number < limit)

    def _settle(self) -> list[Key]:
        pools: list[DerivedPool] = []

        def free(shape: PodShape) -> dict[str, Histogram]:
            if not pools:
                pools.extend(self._index.pools())
            found = candidates(shape, pools)
            parts = self._index.narrowed(pairs) if (pairs := self._unsplit(shape.selector)) else {pool.name: pool for pool in found}
            kept = {pool.name: gpus_for(parts[pool.name].free_nodes, shape.requests) for pool in found if pool.name in parts}
            # A plan names only so many pools; who may land in the others of its product is in its way all the same.
            beyond = candidates(replace(shape, pools=()), pools) if len(shape.pools) >= MAX_POOLS else []
            return {**{pool.name: () for pool in beyond}, **kept}

        return self._bookings.settle(free)

    def _booked(self, wanted: Mapping[PodShape, int], without: tuple[str, ...] = ()) -> tuple[DerivedPool, ...]:
        """All pools with these bookings on them and without these pods."""
        return self._index.pools(self._spread(wanted, without), without=without)

    def _spread(self, wanted: Mapping[PodShape, int], without: tuple[str, ...]) -> dict[str, list[Booking]]:
        """Bookings by the name of the pool that they are taken from."""
        bookings: dict[str, list[Booking]] = {}
        pools = self._index.pools(without=without) if wanted else ()
        for shape, pods in sorted(wanted.items(), key=lambda row: (row[0].pools, row[0].products, row[0].resource, row[0].gpus)):
            for name, count in spread(shape, pods, pools):
                bookings.setdefault(name, []).append(Booking(pods=count, each=shape.requests))
        return bookings


def _group(pod: Manifest) -> str:
    """Which replica over nodes the pod is of, empty where its replica is this pod alone."""
    group: str = pod["metadata"]["labels"].get(GROUP_INDEX_LABEL, "")
    return group
