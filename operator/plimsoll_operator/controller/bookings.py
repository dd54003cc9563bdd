"""Who may count on free GPUs, and in which order pods are shown to the scheduler.

A booking is a promise: its pods find nodes in whatever order kube-scheduler takes the pods that it can see, and wherever it
puts each of them. So before a deployment's pods are shown, one of three things is decided, in decision order:

* Booked: all are certain to find GPUs beside everything that is booked or visible already.
* Held: they might be, once what is booked before them is on nodes. Until then neither they nor what comes after them is shown.
* Waiting: nothing booked is on its way and they are not certain. They are shown all the same (autoscalers and preemption
  must see them) or stay behind their scheduling gate, and count as available only when they are bound.

Called by the ledger under its lock. Derived, never stored: after a restart the same follows from children and pods. Knows
no plans, no objects and makes no requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from plimsoll_operator.capacity import Booking, certain_pods, placeable, possible_pods
from plimsoll_operator.ports import Key

# The scheduler binds within a fraction of a second: what takes longer is not going to happen, and must not hold up the others.
BIND_SECONDS: Final = 10.0
Histogram = tuple[tuple[int, int], ...]


class Standing(StrEnum):
    """Where a deployment's missing pods stand. LATE is waiting although GPUs were booked: the scheduler did not take them."""

    SETTLED = "Settled"
    BOOKED = "Booked"
    HELD = "Held"
    WAITING = "Waiting"
    LATE = "Late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What missing pods of alike plans look for; claims are counted by it, so that ten thousand of them cost a handful.

    Without pools and products it may be any node that has the resource.
    """

    pools: tuple[str, ...]
    products: tuple[str, ...]
    gpus: int
    resource: str = "nvidia.com/gpu"
    sharing: str = "none"
    host_memory_bytes: int = 0
    host_cpu_millis: int = 0
    ephemeral_storage_bytes: int = 0

    def booking(self, pods: int) -> Booking:
        """So many of these pods."""
        return Booking(
            gpus=self.gpus,
            pods=pods,
            host_memory_bytes=self.host_memory_bytes,
            host_cpu_millis=self.host_cpu_millis,
            ephemeral_storage_bytes=self.ephemeral_storage_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One deployment: pods wanted and on nodes, `shown` ones that the scheduler may see, and its place in the decision order.

    Of a gated deployment `shown` counts pods without a node whose gate is lifted; of others, those that its child asks for.
    A replica over several nodes is `pods_per_replica` pods, of which none is of use without the others.
    """

    want: Want
    wanted: int
    bound: int
    shown: int
    gated: bool
    decided: str
    pods_per_replica: int = 1


@dataclass(slots=True)
class _Entry:
    """`untried` until its pods have been judged as they are now; `released` replicas may be asked for by the child."""

    demand: Demand
    booked: int = 0
    booked_at: float = 0.0
    released: int = 0
    late: bool = False
    untried: bool = True

    @property
    def missing(self) -> int:
        return max(0, self.demand.wanted - self.demand.bound)

    @property
    def shown(self) -> int:
        """Pods the scheduler may see by now: what is released is shown at any moment."""
        released = 0 if self.demand.gated else self.released - self.demand.bound
        return min(self.missing, max(self.demand.shown, released, 0))

    @property
    def claim(self) -> int:
        return max(self.shown, self.booked)

    @property
    def hidden(self) -> bool:
        """Whether some of its pods are not shown and have no booking."""
        return self.missing > self.claim

    @property
    def queued(self) -> bool:
        return (self.hidden or self.untried) and self.booked < self.missing and not self.late

    @property
    def standing(self) -> Standing:
        if not self.missing:
            return Standing.SETTLED
        if self.booked >= self.missing:
            return Standing.BOOKED
        if self.late:
            return Standing.LATE
        return Standing.HELD if self.hidden and not self.demand.gated else Standing.WAITING


class Bookings:
    """All deployments that miss pods. `clock` is monotonic seconds. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[Key, _Entry] = {}
        self._queue: set[Key] = set()
        self._in_flight: set[Key] = set()
        self._flying: Counter[Want] = Counter()
        self._claims: Counter[Want] = Counter()

    def standing(self, key: Key) -> Standing:
        """Where the deployment stands; SETTLED when it misses nothing."""
        entry = self._entries.get(key)
        return entry.standing if entry is not None else Standing.SETTLED

    def booked(self, key: Key) -> int:
        """Pods of the deployment whose GPUs are booked and that are not on nodes yet."""
        entry = self._entries.get(key)
        return entry.booked if entry is not None else 0

    def put(self, key: Key, demand: Demand) -> None:
        """A deployment as it is now. Pods that have reached a node take their booking with them."""
        entry = self._entries.get(key)
        if entry is None or entry.demand.want != demand.want or entry.demand.gated != demand.gated:
            self.drop(key)
            self._count(key, _Entry(demand=demand))
            return
        before = entry.demand
        if before == demand:
            return
        self._uncount(key, entry)
        entry.demand = demand
        entry.booked = min(entry.missing, max(0, entry.booked - max(0, demand.bound - before.bound)))
        entry.released = min(entry.released, demand.wanted)
        if (demand.bound, demand.wanted) != (before.bound, before.wanted):
            entry.late = False
            entry.untried = True
            entry.booked_at = self._clock()
        self._count(key, entry)

    def claim_beside(self, want: Want, pods: int) -> None:
        """Pods that the scheduler sees and that are nobody's missing ones (negative: no longer)."""
        self._claims[want] += pods
        if self._claims[want] <= 0:
            del self._claims[want]

    def drop(self, key: Key) -> None:
        """The deployment wants nothing any more."""
        entry = self._entries.get(key)
        if entry is not None:
            self._uncount(key, entry)

    def settle(self, free: Callable[[Want], Mapping[str, Histogram]]) -> list[Key]:
        """Judge anew who may count on GPUs. `free` gives the pools a want may use, each with its nodes by GPUs free of bound pods.

        Returns the deployments that stand differently now, in decision order.
        """
        if not (self._queue or self._in_flight):
            return []
        room = _Room(free)
        changed = {key for key in tuple(self._in_flight) if self._let_go(key, room)}
        changed |= self._admit(room)
        return sorted(changed, key=self._order)

    def _order(self, key: Key) -> tuple[str, Key]:
        return (self._entries[key].demand.decided, key)

    def _let_go(self, key: Key, room: _Room) -> bool:
        """Take a booking back that is overdue, or that has become uncertain because GPUs went away."""
        entry = self._entries[key]
        overdue = self._clock() - entry.booked_at > BIND_SECONDS
        if not overdue and room.certain(entry.demand.want, self._claims):
            return False
        self._uncount(key, entry)
        entry.booked, entry.late = 0, overdue
        entry.released = entry.demand.wanted
        self._count(key, entry)
        return True

    def _admit(self, room: _Room) -> set[Key]:
        """Book, hold or release what is queued, in decision order."""
        changed: set[Key] = set()
        closed: set[str] = set()
        hopeless: dict[Want, int] = {}
        for key in sorted(self._queue, key=self._order):
            entry = self._entries[key]
            pools = room.pools(entry.demand.want)
            if pools & closed:
                continue
            pods = self._bookable(entry, room, hopeless)
            self._uncount(key, entry)
            entry.untried = False
            if pods:
                entry.booked += pods
                entry.booked_at = self._clock()
                entry.released = entry.demand.wanted
                changed.add(key)
            self._count(key, entry)
            if not entry.hidden:
                continue
            if self._on_its_way(pools, room):
                if not entry.demand.gated or self._may_fit(entry, room):
                    closed |= pools
            elif not entry.demand.gated:
                self._uncount(key, entry)
                entry.released = entry.demand.wanted
                self._count(key, entry)
                changed.add(key)
        return changed

    def _on_its_way(self, pools: frozenset[str], room: _Room) -> bool:
        return any(pools & room.pools(want) for want in self._flying)

    def _may_fit(self, entry: _Entry, room: _Room) -> bool:
        """Whether one more of its pods could find GPUs once all that is booked has: else there is nothing to wait for."""
        flying = Counter({want: pods for want, pods in self._flying.items() if want != entry.demand.want})
        return room.possible(entry.demand.want, flying) > self._flying[entry.demand.want]

    def _bookable(self, entry: _Entry, room: _Room, hopeless: dict[Want, int]) -> int:
        """How many further pods can be promised: all or none of them, but replica by replica behind a gate."""
        most, each = entry.missing - entry.booked, entry.demand.pods_per_replica
        if self._stays_certain(entry, most, room, hopeless):
            return most
        least, beyond = 0, -(-most // each)
        while entry.demand.gated and beyond - least > 1:
            middle = (least + beyond) // 2
            if self._stays_certain(entry, middle * each, room, hopeless):
                least = middle
            else:
                beyond = middle
        return least * each

    def _stays_certain(self, entry: _Entry, pods: int, room: _Room, hopeless: dict[Want, int]) -> bool:
        """Whether everything that is booked keeps its certainty beside `pods` more of this one, and these are certain too."""
        want = entry.demand.want
        more = max(entry.shown, entry.booked + pods) - entry.claim
        if more >= hopeless.get(want, more + 1):
            return False
        claims = self._claims.copy()
        claims[want] += more
        touched = [one for one in self._flying if one != want and room.pools(one) & room.pools(want)]
        if all(room.certain(one, claims) for one in (want, *touched)):
            return True
        hopeless[want] = more
        return False

    def _count(self, key: Key, entry: _Entry) -> None:
        if not entry.missing:
            return
        self._entries[key] = entry
        self._claims[entry.demand.want] += entry.claim
        if entry.booked:
            self._in_flight.add(key)
            self._flying[entry.demand.want] += entry.booked
        if entry.queued:
            self._queue.add(key)

    def _uncount(self, key: Key, entry: _Entry) -> None:
        del self._entries[key]
        self._in_flight.discard(key)
        self._queue.discard(key)
        for counter, pods in ((self._claims, entry.claim), (self._flying, entry.booked)):
            counter[entry.demand.want] -= pods
            if counter[entry.demand.want] <= 0:
                del counter[entry.demand.want]


class _Room:
    """What each want may use, looked up once for one settling."""

    def __init__(self, free: Callable[[Want], Mapping[str, Histogram]]) -> None:
        self._free = free
        self._known: dict[Want, tuple[frozenset[str], Histogram]] = {}

    def pools(self, want: Want) -> frozenset[str]:
        """Names of the pools whose nodes its pods may use."""
        return self._of(want)[0]

    def certain(self, want: Want, claims: Mapping[Want, int]) -> bool:
        """Whether all pods that claim this want find nodes, in every order and wherever the others go."""
        return certain_pods(self._of(want)[1], self._beside(want, claims), want.booking(1)) >= claims.get(want, 0)

    def possible(self, want: Want, claims: Mapping[Want, int]) -> int:
        """Pods of this want that could find nodes beside the claims of others."""
        return possible_pods(self._of(want)[1], self._beside(want, claims), want.gpus)

    def _beside(self, want: Want, claims: Mapping[Want, int]) -> list[Booking]:
        pools = self.pools(want)
        beside = [(one, pods) for one, pods in claims.items() if one != want and self.pools(one) & pools]
        return [placeable(self._of(one)[1], one.booking(pods)) for one, pods in beside]

    def _of(self, want: Want) -> tuple[frozenset[str], Histogram]:
        if want not in self._known:
            found = self._free(want)
            merged: Counter[int] = Counter()
            for histogram in found.values():
                merged.update(dict(histogram))
            self._known[want] = (frozenset(found), tuple(sorted(merged.items())))
        return self._known[want]
