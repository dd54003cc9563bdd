"""Who may count on free GPUs, and in which order pods are shown to the scheduler.

A booking is certain: its pods find nodes in whatever order kube-scheduler takes the pods that it can see, and wherever it
puts each of them. So before a deployment's pods are shown, one of three things is decided, in decision order:

* Booked: all are certain to find GPUs beside everything that is booked or visible already.
* Waiting for their turn: they might be, once what is booked before them is on nodes. Until then neither they nor what comes after them
  is shown.
* Waiting: nothing booked is on its way and they are not certain. They are shown all the same (autoscalers and preemption
  must see them) or stay behind their scheduling gate, and count as available only when they are bound.

Nobody waits for what does not happen: pods that are not made contend for nothing (`demand`), a namespace whose pods did not come stands
behind the others (`debts`), and GPUs that nobody has taken for a while are lent to gated pods without a booking (`idle`).

Called by the ledger under its lock. Derived, never stored: after a restart the same follows from children and pods. Knows
no plans, no objects and makes no requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from plimsoll_operator.capacity import Booking, certain_pods, placeable, possible_pods
from plimsoll_operator.controller.booking.debts import Debts
from plimsoll_operator.controller.booking.demand import Entry, PodDemand, PodShape, Standing
from plimsoll_operator.controller.booking.idle import IDLE_SECONDS, Idle
from plimsoll_operator.ports import Key

Histogram = tuple[tuple[int, int], ...]
# One settling judges so many deployments of a namespace in vain: each that asks for something else costs a walk over all contenders.
IN_VAIN_A_NAMESPACE: Final = 32
MANY_KINDS: Final = 512


class Bookings:
    """All deployments that miss pods. `clock` is monotonic seconds. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[Key, Entry] = {}
        self._queue: set[Key] = set()
        self._in_flight: set[Key] = set()
        self._believed: set[Key] = set()
        self._lent: set[Key] = set()
        self._missing: Counter[PodShape] = Counter()
        self._flying: Counter[PodShape] = Counter()
        self._contenders: Counter[PodShape] = Counter()
        self._debts = Debts()
        self._idle = Idle()

    def standing(self, key: Key) -> Standing:
        """Where the deployment stands; SETTLED when it misses nothing."""
        entry = self._entries.get(key)
        return entry.standing if entry is not None else Standing.SETTLED

    def may_show(self, key: Key) -> int:
        """Pods of the deployment, not on nodes yet, that may be behind no gate: their GPUs are booked, or nobody else takes them."""
        entry = self._entries.get(key)
        return max(entry.booked, entry.lent) if entry is not None else 0

    def missing(self, key: Key) -> tuple[PodShape, int] | None:
        """What the deployment's missing pods look for, and how many they are."""
        entry = self._entries.get(key)
        return (entry.demand.shape, entry.missing) if entry is not None and entry.missing else None

    def all_missing(self) -> Mapping[PodShape, int]:
        """The same of all deployments."""
        return self._missing

    def put(self, key: Key, demand: PodDemand) -> None:
        """A deployment as it is now."""
        now = self._clock()
        entry = self._entries.get(key)
        if entry is not None and entry.demand == demand:
            return
        if entry is None or entry.demand.shape != demand.shape or entry.demand.gated != demand.gated:
            self.drop(key)
            self._count(key, Entry(demand=demand, asked_at=now, appeared_at=now), now)
            return
        self._uncount(key, entry)
        before, existed, booked = entry.phantoms, entry.demand.exist, entry.booked
        entry.follow(demand, now)
        self._count(key, entry, now)
        if entry.phantoms < before and demand.exist <= existed:
            self._debts.add(key[0], now - (entry.booked_at if booked else entry.asked_at), now)

    def few(self, shape: PodShape) -> PodShape:
        """This shape, or where contenders are of too many kinds already one that takes at least as much and is like others."""
        return shape if shape in self._contenders or len(self._contenders) < MANY_KINDS else shape.coarse()

    def contend_beside(self, shape: PodShape, pods: int) -> None:
        """Pods that the scheduler sees and that are nobody's missing ones (negative: no longer)."""
        self._contenders[shape] += pods
        if self._contenders[shape] <= 0:
            del self._contenders[shape]

    def drop(self, key: Key) -> None:
        """The deployment wants nothing any more."""
        entry = self._entries.get(key)
        if entry is None:
            return
        now = self._clock()
        if entry.phantoms:
            self._debts.add(key[0], now - (entry.booked_at if entry.booked else entry.asked_at), now)
        self._uncount(key, entry)

    def settle(self, free: Callable[[PodShape], Mapping[str, Histogram]]) -> list[Key]:
        """Judge anew who may count on GPUs. `free` gives the pools a shape may use, each with its nodes by GPUs free of bound pods.

        Returns the deployments that stand differently now, in decision order.
        """
        now = self._clock()
        self._debts.forget(now)
        changed = {key for key in tuple(self._believed) if self._disbelieve(key, now)}
        if self._queue or self._in_flight:
            room = _Room(free)
            self._idle.look({self._entries[key].demand.shape for key in self._queue if self._entries[key].demand.gated}, room.idle, now)
            for key in tuple(self._in_flight):
                if self._let_go(key, room, now):
                    changed.add(key)
                    room.forget_certain()
            changed |= self._admit(room, now)
        return sorted(changed, key=self._order)

    def _order(self, key: Key) -> tuple[str, Key]:
        entry = self._entries.get(key)
        return (entry.demand.decided if entry is not None else "", key)

    def _turn(self, key: Key, now: float) -> tuple[int, str, Key]:
        return (self._debts.rank(key[0], now), *self._order(key))

    def _disbelieve(self, key: Key, now: float) -> bool:
        """Whether pods that were asked for and do not come have been given up just now."""
        entry = self._entries[key]
        if now < entry.believed_until():
            return False
        standing, phantoms, since = entry.standing, entry.phantoms, entry.booked_at if entry.booked else entry.asked_at
        self._uncount(key, entry)
        self._count(key, entry, now)
        if entry.phantoms < phantoms:
            self._debts.add(key[0], now - since, now)
        return entry.standing is not standing

    def _let_go(self, key: Key, room: _Room, now: float) -> bool:
        """Take a booking back that is overdue, or that has become uncertain because GPUs went away."""
        entry = self._entries[key]
        overdue = now > entry.due
        if not overdue and room.still_certain(entry.demand.shape, self._contenders):
            return False
        if overdue:
            self._debts.add(key[0], now - entry.booked_at, now)
        self._uncount(key, entry)
        entry.booked, entry.late = 0, overdue
        entry.release(now)
        self._count(key, entry, now)
        return True

    def _admit(self, room: _Room, now: float) -> set[Key]:
        """Book, hold, release or lend to what is queued: in decision order, but first who owes nothing."""
        changed: set[Key] = set()
        closed: set[str] = set()
        hopeless: dict[PodShape, int] = {}
        in_vain: Counter[str] = Counter()
        for key in sorted(self._queue, key=lambda one: self._turn(one, now)):
            entry = self._entries[key]
            pools = room.pools(entry.demand.shape)
            if pools & closed or in_vain[key[0]] >= IN_VAIN_A_NAMESPACE:
                continue
            known = len(hopeless)
            pods = self._bookable(entry, room, hopeless)
            in_vain[key[0]] += len(hopeless) > known
            self._uncount(key, entry)
            entry.untried = False
            if pods:
                entry.book(pods, now)
                changed.add(key)
            self._count(key, entry, now)
            if not entry.hidden:
                continue
            if self._on_its_way(pools, room):
                if not entry.demand.gated or self._idle.pods(entry.demand.shape) or self._may_fit(entry, room):
                    closed |= pools
            elif self._show(key, entry, now):
                changed.add(key)
        return changed

    def _show(self, key: Key, entry: Entry, now: float) -> bool:
        """Nothing is on its way and they are not certain: release them, or lift gates for GPUs that nobody takes."""
        pods = self._lendable(key, entry, now) if entry.demand.gated else 0
        if entry.demand.gated and not pods:
            return False
        self._uncount(key, entry)
        if entry.demand.gated:
            entry.lent, entry.lent_at = entry.contending + pods, now
        else:
            entry.release(now)
        self._count(key, entry, now)
        return True

    def _lendable(self, key: Key, entry: Entry, now: float) -> int:
        """Pods for which GPUs lie idle, less what their namespace was lent of late, in whole replicas."""
        shape, each = entry.demand.shape, entry.demand.pods_per_replica
        others = (self._entries[other] for other in self._lent if other[0] == key[0])
        recent = sum(-(-other.lent * other.demand.shape.gpus // shape.gpus) for other in others if now - other.lent_at < IDLE_SECONDS)
        return max(0, min(entry.missing - entry.contending, self._idle.pods(shape) - recent)) // each * each

    def _on_its_way(self, pools: frozenset[str], room: _Room) -> bool:
        return any(pools & room.pools(shape) for shape in self._flying)

    def _may_fit(self, entry: Entry, room: _Room) -> bool:
        """Whether one more of its pods could find GPUs once all that is booked has: else there is nothing to wait for."""
        flying = Counter({shape: pods for shape, pods in self._flying.items() if shape != entry.demand.shape})
        return room.possible(entry.demand.shape, flying) > self._flying[entry.demand.shape]

    def _bookable(self, entry: Entry, room: _Room, hopeless: dict[PodShape, int]) -> int:
        """How many further pods can be booked: all or none of them, but replica by replica behind a gate."""
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

    def _stays_certain(self, entry: Entry, pods: int, room: _Room, hopeless: dict[PodShape, int]) -> bool:
        """Whether everything that is booked keeps its certainty beside `pods` more of this one, and these are certain too."""
        shape = entry.demand.shape
        more = max(entry.shown, entry.booked + pods) - entry.contending
        if more >= hopeless.get(shape, more + 1):
            return False
        contenders = self._contenders.copy()
        contenders[shape] += more
        touched = [one for one in self._flying if one != shape and room.pools(one) & room.pools(shape)]
        if all(room.certain(one, contenders) for one in (shape, *touched)):
            return True
        hopeless[shape] = more
        return False

    def _count(self, key: Key, entry: Entry, now: float) -> None:
        entry.disbelieve(now, trusted=not self._debts.rank(key[0], now))
        if not (entry.missing or entry.absent):
            return
        self._entries[key] = entry
        for counter, pods in self._counters(entry):
            if pods:
                counter[entry.demand.shape] += pods
        for keys, belongs in self._sets(entry):
            if belongs:
                keys.add(key)

    def _uncount(self, key: Key, entry: Entry) -> None:
        if self._entries.pop(key, None) is None:
            return
        for keys, _ in self._sets(entry):
            keys.discard(key)
        for counter, pods in self._counters(entry):
            counter[entry.demand.shape] -= pods
            if counter[entry.demand.shape] <= 0:
                del counter[entry.demand.shape]

    def _counters(self, entry: Entry) -> tuple[tuple[Counter[PodShape], int], ...]:
        return ((self._missing, entry.missing), (self._contenders, entry.contending), (self._flying, entry.booked))

    def _sets(self, entry: Entry) -> tuple[tuple[set[Key], bool], ...]:
        return (
            (self._in_flight, entry.booked > 0),
            (self._queue, entry.queued),
            (self._believed, entry.gone > 0 and not entry.given_up),
            (self._lent, entry.lent > 0),
        )


class _Room:
    """What each shape may use, looked up once for one settling."""

    def __init__(self, free: Callable[[PodShape], Mapping[str, Histogram]]) -> None:
        self._free = free
        self._known: dict[PodShape, tuple[frozenset[str], Histogram]] = {}
        self._certain: dict[PodShape, bool] = {}

    def pools(self, shape: PodShape) -> frozenset[str]:
        """Names of the pools whose nodes its pods may use."""
        return self._of(shape)[0]

    def certain(self, shape: PodShape, contenders: Mapping[PodShape, int]) -> bool:
        """Whether all contenders of this shape find nodes, in every order and wherever the others go."""
        return certain_pods(self._of(shape)[1], self._beside(shape, contenders), shape.requests) >= contenders.get(shape, 0)

    def still_certain(self, shape: PodShape, contenders: Mapping[PodShape, int]) -> bool:
        """The same, worked out once for all deployments of the shape until the contenders are others."""
        if shape not in self._certain:
            self._certain[shape] = self.certain(shape, contenders)
        return self._certain[shape]

    def forget_certain(self) -> None:
        """The contenders are others now."""
        self._certain.clear()

    def possible(self, shape: PodShape, contenders: Mapping[PodShape, int]) -> int:
        """Pods of this shape that could find nodes beside other contenders."""
        return possible_pods(self._of(shape)[1], self._beside(shape, contenders), shape.gpus)

    def idle(self, shape: PodShape) -> int:
        """Pods of this shape for which GPUs are held by no pod on a node."""
        return self.possible(shape, {})

    def _beside(self, shape: PodShape, contenders: Mapping[PodShape, int]) -> list[Booking]:
        pools = self.pools(shape)
        beside = [(one, pods) for one, pods in contenders.items() if one != shape and self.pools(one) & pools]
        return [placeable(self._of(one)[1], Booking(pods=pods, each=one.requests)) for one, pods in beside]

    def _of(self, shape: PodShape) -> tuple[frozenset[str], Histogram]:
        if shape not in self._known:
            found = self._free(shape)
            merged: Counter[int] = Counter()
            for histogram in found.values():
                merged.update(dict(histogram))
            self._known[shape] = (frozenset(found), tuple(sorted(merged.items())))
        return self._known[shape]
