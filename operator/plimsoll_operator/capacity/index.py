"""Pools of alike GPUs, kept up to date event by event: a node or pod event costs O(1), never a walk over the cluster.

Fed by the controller's informer and by the CLI from files; read as DerivedPools. Nodes that are not believed form pools of
their own with the reasons, and nothing is planned on those. Knows no API client and no clock; bookings and GPUPools' corrections
are handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from plimsoll_operator.capacity.booking import Booking, book_nodes
from plimsoll_operator.capacity.carriers import Carriers
from plimsoll_operator.capacity.corrections import Correction
from plimsoll_operator.capacity.derived import DerivedPool, NodeGpus, PoolKey, Selection, pool_name
from plimsoll_operator.capacity.nodes import NodeFacts, parse_node
from plimsoll_operator.capacity.pods import BoundPod, parse_pod, pod_key
from plimsoll_operator.capacity.seats import NOTHING, Seat, Used, place_of, seat_of
from plimsoll_operator.capacity.tally import Tally, bump
from plimsoll_operator.facts import FreeNodes
from plimsoll_operator.names import PRODUCT_LABEL

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Bookings: TypeAlias = Mapping[str, Iterable[Booking]]
_NONE: Final[Bookings] = MappingProxyType({})


class _Pool:
    """One pool: what makes it one, the names it may have, and the counts of its nodes.

    `base` is the pool without the labels that users select by: while it is not split by them it is called like that.
    """

    __slots__ = ("base", "base_name", "key", "own_name", "tally")

    def __init__(self, key: PoolKey) -> None:
        self.key = key
        self.base = replace(key, labels=tuple(pair for pair in key.labels if pair[0] == PRODUCT_LABEL))
        self.own_name, self.base_name = pool_name(key), pool_name(self.base)
        self.tally = Tally()


class _Selected:
    """What one GPUPool's selector selects: whole nodes once, their groups added up."""

    __slots__ = ("gpus", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.gpus = 0


class CapacityIndex:
    """The cluster's GPU capacity, incrementally. Not thread-safe: one owner feeds and reads it.

    `free_is_known` is false where pods of others cannot be seen: then nothing is called free.
    """

    def __init__(self, label_keys: Iterable[str] = (), *, corrections: Iterable[Correction] = (), free_is_known: bool = True) -> None:
        self._label_keys = tuple(sorted({PRODUCT_LABEL, *label_keys}))
        self._corrections = tuple(corrections)
        self._free_is_known = free_is_known
        self._nodes: dict[str, NodeFacts] = {}
        self._bound: dict[str, BoundPod] = {}
        self._used: dict[str, Used] = {}
        self._seats: dict[str, tuple[Seat, ...]] = {}
        self._at: dict[str, tuple[_Pool, ...]] = {}
        self._pools: dict[PoolKey, _Pool] = {}
        self._splits: Counter[PoolKey] = Counter()
        self._carriers = Carriers()
        self._selected: dict[str, _Selected] = {row.name: _Selected() for row in self._corrections}
        self.version = 0
        """Another number after each change of a pool, be it only of what is free."""

    @property
    def label_keys(self) -> tuple[str, ...]:
        """The node label keys by which pools are split at present."""
        return self._label_keys

    def node_event(self, kind: EventType, node: Mapping[str, Any]) -> None:
        """Take in one node event; content that cannot be read counts as a node without GPUs."""
        facts = parse_node(node)
        if facts is None:
            return
        if kind == "DELETED":
            self._nodes.pop(facts.name, None)
            self._carriers.changed(facts.name, None)
            self._seat(facts.name, ())
            return
        if self._nodes.get(facts.name) != facts:
            self._nodes[facts.name] = facts
            self._carriers.changed(facts.name, facts.labels if facts.groups else None)
            self._reseat(facts.name)

    def pod_event(self, kind: EventType, pod: Mapping[str, Any], *, planned: bool = False) -> None:
        """Take in one pod event: bound, live pods hold what they ask for; everything else gives back what it held.

        `planned`: whether an InferenceDeployment has planned it.
        """
        metadata = pod.get("metadata")
        uid = pod_key(metadata) if isinstance(metadata, Mapping) else None
        if uid is None:
            return
        new = None if kind == "DELETED" else parse_pod(pod, planned=planned)
        old = self._bound.get(uid)
        if new == old:
            return
        if old is not None:
            self._occupy(old, -1)
            del self._bound[uid]
        if new is not None:
            self._occupy(new, 1)
            self._bound[uid] = new
        for name in {pod.node for pod in (old, new) if pod is not None}:
            self._refill(name)

    def set_label_keys(self, label_keys: Iterable[str]) -> bool:
        """Split pools by these node label keys (and the product's) from now on; a change walks all nodes once. Says whether it was one."""
        keys = tuple(sorted({PRODUCT_LABEL, *label_keys}))
        if keys == self._label_keys:
            return False
        self._label_keys = keys
        self._reseat_all()
        return True

    def set_corrections(self, corrections: Iterable[Correction]) -> bool:
        """Correct nodes by these GPUPools from now on; a change walks all nodes once. Says whether it was one."""
        new = tuple(sorted(corrections, key=lambda row: row.name))
        if new == self._corrections:
            return False
        self._corrections = new
        for name in {row.name for row in new} - self._selected.keys():
            self._selected[name] = _Selected()
        self._reseat_all()
        for name in self._selected.keys() - {row.name for row in new}:
            del self._selected[name]
        return True

    def pools(self, bookings: Bookings = _NONE, *, without: Iterable[str] = ()) -> tuple[DerivedPool, ...]:
        """All pools, by name; independent of the order in which events came.

        `bookings` are the room, by pool name, for applied plans whose pods are not bound to a node yet; `without` are pods, by
        `pod_key`, that are looked past. Asking changes nothing.
        """
        tallies = self._tallies(self._freed(without))
        found = (self._derived(pool, tallies.get(pool.key, pool.tally), bookings) for pool in self._pools.values())
        return tuple(sorted(found, key=lambda pool: pool.name))

    def values_of(self, label_key: str) -> int:
        """How many values of the label the GPU nodes carry."""
        return self._carriers.values(label_key)

    @property
    def gpu_nodes(self) -> int:
        """GPU nodes there are."""
        return self._carriers.nodes

    def narrowed(
        self, pairs: Iterable[tuple[str, str]], bookings: Bookings = _NONE, *, without: Iterable[str] = ()
    ) -> dict[str, DerivedPool]:
        """Of each pool, by name, the part whose nodes have all of these labels; pools without such a node are left out.

        Everything that is booked in the pool is taken to want these nodes: what is free of them is a lower bound. Else as `pools`.
        """
        freed, parts = self._freed(without), dict[PoolKey, Tally]()
        for node in self._carriers.nodes_with(pairs):
            for pool, seat in zip(self._at.get(node, ()), freed.get(node) or self._seats.get(node, ()), strict=True):
                parts.setdefault(pool.key, Tally()).add(seat.free, seat.findings, 1, foreign=seat.foreign)
        found = (self._derived(self._pools[key], tally, bookings) for key, tally in parts.items())
        return {pool.name: pool for pool in found}

    def _freed(self, without: Iterable[str]) -> dict[str, tuple[Seat, ...]]:
        """Nodes of these pods by name, seated as if they were not there."""
        gone: dict[str, list[BoundPod]] = {}
        for uid in without:
            if (pod := self._bound.get(uid)) is not None:
                gone.setdefault(pod.node, []).append(pod)
        freed: dict[str, tuple[Seat, ...]] = {}
        for name, pods in gone.items():
            node, seats = self._nodes.get(name), self._seats.get(name)
            if node is not None and seats is not None:
                used = self._used[name].without(pods)
                freed[name] = tuple(seat_of(node, seat.place, used) for seat in seats)
        return freed

    def _tallies(self, freed: Mapping[str, tuple[Seat, ...]]) -> dict[PoolKey, Tally]:
        """The counts of those pools that stand differently with these nodes so."""
        changed: dict[PoolKey, Tally] = {}
        for name, seats in freed.items():
            for pool, before, after in zip(self._at[name], self._seats[name], seats, strict=True):
                if before != after:
                    tally = changed[pool.key] = changed.get(pool.key) or pool.tally.copy()
                    tally.add(before.free, before.findings, -1, foreign=before.foreign)
                    tally.add(after.free, after.findings, 1, foreign=after.foreign)
        return changed

    def selections(self) -> tuple[Selection, ...]:
        """What each correcting GPUPool selects, by name; also those that select nothing."""
        return tuple(
            Selection(
                name=name,
                nodes=row.tally.nodes,
                gpus=row.gpus,
                free_gpus=row.tally.free_gpus if self._free_is_known else 0,
                free_is_known=self._free_is_known,
                problems=row.tally.problems(),
            )
            for name, row in sorted(self._selected.items())
        )

    def node_gpus(self) -> Iterator[NodeGpus]:
        """The GPUs of every node that has any, by the node's name."""
        for name in sorted(self._seats):
            for pool, seat in zip(self._at[name], self._seats[name], strict=True):
                yield NodeGpus(node=name, pool=self._name(pool), key=pool.key, findings=seat.findings)

    def _name(self, pool: _Pool) -> str:
        return pool.own_name if self._splits[pool.base] > 1 else pool.base_name

    def _derived(self, pool: _Pool, tally: Tally, booked_here: Bookings) -> DerivedPool:
        key, name = pool.key, self._name(pool)
        rows: tuple[FreeNodes, ...] = ()
        booked = 0
        if self._free_is_known:
            rows = tally.rows(key.host)
            if bookings := booked_here.get(name):
                rows, booked = book_nodes(rows, bookings)
        return DerivedPool(
            name=name,
            key=key,
            nodes=tally.nodes,
            gpus=tally.nodes * key.gpus_per_node,
            free_gpus=sum(row.gpus * row.nodes for row in rows),
            booked_gpus=booked,
            foreign_gpus=tally.foreign_gpus,
            free_nodes=rows,
            problems=tally.problems(),
            indexed_label_keys=self._label_keys,
            free_is_known=self._free_is_known,
        )

    def _occupy(self, pod: BoundPod, sign: int) -> None:
        used = self._used.get(pod.node)
        if used is None:
            used = self._used[pod.node] = Used()
        used.add(pod, sign)
        if used.pods == 0:
            del self._used[pod.node]

    def _reseat_all(self) -> None:
        for name in tuple(self._nodes):
            self._reseat(name)

    def _reseat(self, name: str) -> None:
        """Work a node out anew and count it where it now belongs."""
        node = self._nodes.get(name)
        if node is not None:
            used = self._used.get(name, NOTHING)
            selecting = tuple(row for row in self._corrections if row.selects(node.labels)) if node.groups else ()
            self._seat(name, tuple(seat_of(node, place_of(node, group, self._label_keys, selecting), used) for group in node.groups))

    def _refill(self, name: str) -> None:
        """Count anew what a node's pods leave free: its pools stay the same."""
        node, old = self._nodes.get(name), self._seats.get(name)
        if node is None or old is None:
            return
        used = self._used.get(name, NOTHING)
        new = tuple(seat_of(node, seat.place, used) for seat in old)
        for number, (pool, before, after) in enumerate(zip(self._at[name], old, new, strict=True)):
            if before != after:
                self._count(pool, before, number, -1)
                self._count(pool, after, number, 1)
        self._seats[name] = new

    def _seat(self, name: str, seats: tuple[Seat, ...]) -> None:
        old = self._seats.pop(name, ())
        pools = self._at.pop(name, ())
        if seats == old:
            if seats:
                self._seats[name], self._at[name] = seats, pools
            return
        for number, (pool, seat) in enumerate(zip(pools, old, strict=True)):
            self._count(pool, seat, number, -1)
            if pool.tally.nodes == 0 and self._pools.pop(pool.key, None) is not None:
                bump(self._splits, pool.base, -1)
        if seats:
            self._seats[name], self._at[name] = seats, tuple(self._pool(seat.place.key) for seat in seats)
            for number, (pool, seat) in enumerate(zip(self._at[name], seats, strict=True)):
                self._count(pool, seat, number, 1)

    def _pool(self, key: PoolKey) -> _Pool:
        found = self._pools.get(key)
        if found is None:
            found = self._pools[key] = _Pool(key)
            bump(self._splits, found.base, 1)
        return found

    def _count(self, pool: _Pool, seat: Seat, number: int, sign: int) -> None:
        """Count the node's group of this number in its pool and for the GPUPools that select the node, or take it back."""
        self.version += 1
        pool.tally.add(seat.free, seat.findings, sign, foreign=seat.foreign)
        for selector in seat.place.selected_by:
            selected = self._selected[selector]
            selected.tally.add(seat.free, seat.findings, sign)
            selected.tally.nodes -= sign if number else 0  # a node of several groups is one node
            selected.gpus += sign * pool.key.gpus_per_node
