"""Pools of alike GPUs, kept up to date event by event: a node or pod event costs O(1), never a walk over the cluster.

Fed by the controller's informer and by the CLI from files; read as DerivedPools. Nodes that are not believed form pools of
their own with the reasons, and nothing is planned on those. Knows no API client and no clock; bookings and GPUPools' corrections
are handed in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from plimsoll_operator.capacity.booking import Booking, book_nodes
from plimsoll_operator.capacity.carriers import Carriers
from plimsoll_operator.capacity.corrections import Correction, corrected
from plimsoll_operator.capacity.derived import DerivedPool, PoolKey, Selection, pool_name
from plimsoll_operator.capacity.groups import GpuGroup
from plimsoll_operator.capacity.nodes import NodeFacts, parse_node
from plimsoll_operator.capacity.pods import PodClaim, parse_pod, pod_key
from plimsoll_operator.capacity.problems import Finding, Problem
from plimsoll_operator.capacity.tally import Free, Tally, bump, free_steps
from plimsoll_operator.facts import FreeNodes
from plimsoll_operator.names import MIG_RESOURCE_PREFIX, PRODUCT_LABEL

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What one group of a node is, whatever its pods hold: worked out when the node changes, and good for every pod event after that.

    `counts`: what is free of it is free for pods. `selected_by` names GPUPools.
    """

    key: PoolKey
    counts: bool
    findings: tuple[Finding, ...]
    selected_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seat:
    """Where one group of a node is counted, so that it can be taken back exactly."""

    place: _Place
    free: Free
    foreign: int
    findings: tuple[Finding, ...]


class _Used:
    """What the pods of one node hold."""

    __slots__ = ("cpu_millis", "foreign", "gpus", "memory_bytes", "pods", "storage_bytes")

    def __init__(self) -> None:
        self.gpus: Counter[str] = Counter()
        self.foreign: Counter[str] = Counter()
        self.pods = self.memory_bytes = self.cpu_millis = self.storage_bytes = 0

    def add(self, claim: PodClaim, sign: int) -> None:
        for resource, units in claim.gpus:
            bump(self.gpus, resource, sign * units)
            if not claim.planned:
                bump(self.foreign, resource, sign * units)
        self.pods += sign
        self.memory_bytes += sign * claim.host_memory_bytes
        self.cpu_millis += sign * claim.host_cpu_millis
        self.storage_bytes += sign * claim.ephemeral_storage_bytes


class _Selected:
    """What one GPUPool's selector selects: whole nodes once, their groups added up."""

    __slots__ = ("gpus", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.gpus = 0


_NOTHING: Final = _Used()


class CapacityIndex:
    """The cluster's GPU capacity, incrementally. Not thread-safe: one owner feeds and reads it.

    `free_is_known` is false where pods of others cannot be seen: then nothing is called free.
    """

    def __init__(self, label_keys: Iterable[str] = (), *, corrections: Iterable[Correction] = (), free_is_known: bool = True) -> None:
        self._label_keys = tuple(sorted({PRODUCT_LABEL, *label_keys}))
        self._corrections = tuple(corrections)
        self._free_is_known = free_is_known
        self._nodes: dict[str, NodeFacts] = {}
        self._claims: dict[str, PodClaim] = {}
        self._used: dict[str, _Used] = {}
        self._seats: dict[str, tuple[_Seat, ...]] = {}
        self._at: dict[str, tuple[_Pool, ...]] = {}
        self._pools: dict[PoolKey, _Pool] = {}
        self._splits: Counter[PoolKey] = Counter()
        self._carriers = Carriers()
        self._selected: dict[str, _Selected] = {row.name: _Selected() for row in self._corrections}
        self._bookings: dict[str, tuple[Booking, ...]] = {}

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
        old = self._claims.get(uid)
        if new == old:
            return
        if old is not None:
            self._claim(old, -1)
            del self._claims[uid]
        if new is not None:
            self._claim(new, 1)
            self._claims[uid] = new
        for name in {claim.node for claim in (old, new) if claim is not None}:
            self._refill(name)

    def set_bookings(self, bookings: Mapping[str, Iterable[Booking]]) -> None:
        """Replace the bookings, by pool name: room for applied plans whose pods are not bound to a node yet."""
        self._bookings = {name: tuple(rows) for name, rows in bookings.items()}

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

    def pools(self) -> tuple[DerivedPool, ...]:
        """All pools, by name; independent of the order in which events came."""
        found = (self._derived(pool, pool.tally) for pool in self._pools.values())
        return tuple(sorted(found, key=lambda pool: pool.name))

    def values_of(self, label_key: str) -> int:
        """How many values of the label the GPU nodes carry."""
        return self._carriers.values(label_key)

    @property
    def gpu_nodes(self) -> int:
        """GPU nodes there are."""
        return self._carriers.nodes

    def narrowed(self, pairs: Iterable[tuple[str, str]]) -> dict[str, DerivedPool]:
        """Of each pool, by name, the part whose nodes have all of these labels; pools without such a node are left out.

        Everything that is booked in the pool is taken to want these nodes: what is free of them is a lower bound.
        """
        parts: dict[PoolKey, Tally] = {}
        for node in self._carriers.nodes_with(pairs):
            for pool, seat in zip(self._at.get(node, ()), self._seats.get(node, ()), strict=True):
                parts.setdefault(pool.key, Tally()).add(seat.free, seat.findings, 1, foreign=seat.foreign)
        found = (self._derived(self._pools[key], tally) for key, tally in parts.items())
        return {pool.name: pool for pool in found}

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

    def _derived(self, pool: _Pool, tally: Tally) -> DerivedPool:
        key, name = pool.key, pool.own_name if self._splits[pool.base] > 1 else pool.base_name
        rows: tuple[FreeNodes, ...] = ()
        booked = 0
        if self._free_is_known:
            rows = tally.rows(key.host)
            bookings = self._bookings.get(name, ())
            if bookings:
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

    def _claim(self, claim: PodClaim, sign: int) -> None:
        used = self._used.get(claim.node)
        if used is None:
            used = self._used[claim.node] = _Used()
        used.add(claim, sign)
        if used.pods == 0:
            del self._used[claim.node]

    def _reseat_all(self) -> None:
        for name in tuple(self._nodes):
            self._reseat(name)

    def _reseat(self, name: str) -> None:
        """Work a node out anew and count it where it now belongs."""
        node = self._nodes.get(name)
        if node is not None:
            used = self._used.get(name, _NOTHING)
            selecting = tuple(row for row in self._corrections if row.selects(node.labels)) if node.groups else ()
            self._seat(name, tuple(_seat(node, _place(node, group, self._label_keys, selecting), used) for group in node.groups))

    def _refill(self, name: str) -> None:
        """Count anew what a node's pods leave free: its pools stay the same."""
        node, old = self._nodes.get(name), self._seats.get(name)
        if node is None or old is None:
            return
        used = self._used.get(name, _NOTHING)
        new = tuple(_seat(node, seat.place, used) for seat in old)
        for number, (pool, before, after) in enumerate(zip(self._at[name], old, new, strict=True)):
            if before != after:
                self._count(pool, before, number, -1)
                self._count(pool, after, number, 1)
        self._seats[name] = new

    def _seat(self, name: str, seats: tuple[_Seat, ...]) -> None:
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

    def _count(self, pool: _Pool, seat: _Seat, number: int, sign: int) -> None:
        """Count the node's group of this number in its pool and for the GPUPools that select the node, or take it back."""
        pool.tally.add(seat.free, seat.findings, sign, foreign=seat.foreign)
        for selector in seat.place.selected_by:
            selected = self._selected[selector]
            selected.tally.add(seat.free, seat.findings, sign)
            selected.tally.nodes -= sign if number else 0  # a node of several groups is one node
            selected.gpus += sign * pool.key.gpus_per_node


def _place(node: NodeFacts, group: GpuGroup, label_keys: tuple[str, ...], selecting: tuple[Correction, ...]) -> _Place:
    by = selecting[0] if len(selecting) == 1 and not selecting[0].unreadable and _is_meant(node, group) else None
    if by is not None:
        group = corrected(group, by)
    findings = list(group.findings)
    if len(selecting) > 1:
        names = ", ".join(row.name for row in selecting[:4])
        findings.append(Finding(problem=Problem.SEVERAL_GPU_POOLS, detail=f"selected by GPUPools {names}: none of them is followed"))
    findings += [Finding(problem=Problem.GPU_POOL_UNREADABLE, detail=row.unreadable) for row in selecting if row.unreadable]
    if node.condition is not None:
        findings.append(Finding(problem=node.condition))
    excluded = tuple(sorted({finding.problem for finding in findings if finding.problem.excludes}))
    key = PoolKey(
        resource=group.resource,
        product=group.product,
        usable_memory_bytes=group.usable_memory_bytes,
        memory_is_exact=group.memory_is_exact,
        gpus_per_node=group.schedulable,
        sharing=group.sharing,
        sharing_replicas=group.sharing_replicas,
        compute_capability=group.compute_capability,
        source=group.source,
        selects=group.selects,
        corrected_by=by.name if by is not None else "",
        cost=by.cost if by is not None else None,
        taints=node.taints,
        labels=tuple((label, node.labels[label]) for label in label_keys if _VALUE.fullmatch(node.labels.get(label, "-"))),
        host_memory_bytes=_step_down(node.host_memory_bytes),
        host_cpu_millis=_step_down(node.host_cpu_millis),
        ephemeral_storage_bytes=_step_down(node.ephemeral_storage_bytes),
        excluded_for=excluded,
    )
    return _Place(
        key=key,
        # GPUs that only lack an engine's rules are shown as free; what is not believed is not.
        counts=node.condition is None and set(excluded) <= {Problem.VENDOR_UNSUPPORTED},
        findings=tuple(findings),
        selected_by=tuple(row.name for row in selecting),
    )


def _seat(node: NodeFacts, place: _Place, used: _Used) -> _Seat:
    key, findings = place.key, place.findings
    held = used.gpus.get(key.resource, 0)
    if not key.excluded_for and (held > key.gpus_per_node or _overcommitted(node, used)):
        findings = (*findings, Finding(problem=Problem.OVERCOMMITTED))
    full = node.max_pods > 0 and used.pods >= node.max_pods
    free = Free(
        gpus=max(0, key.gpus_per_node - held) if place.counts and not full else 0,
        memory_steps=free_steps(key.host_memory_bytes, node.host_memory_bytes - used.memory_bytes),
        cpu_steps=free_steps(key.host_cpu_millis, node.host_cpu_millis - used.cpu_millis),
        storage_steps=free_steps(key.ephemeral_storage_bytes, node.ephemeral_storage_bytes - used.storage_bytes),
    )
    # Whoever may bind a pod by hand may ask for any number in it; of a node it holds at most what the node has.
    foreign = min(used.foreign.get(key.resource, 0), key.gpus_per_node)
    return _Seat(place=place, free=free, foreign=foreign, findings=findings)


def _is_meant(node: NodeFacts, group: GpuGroup) -> bool:
    """A GPUPool speaks of the whole GPUs, or of the only group there is."""
    return len(node.groups) == 1 or not group.resource.startswith(MIG_RESOURCE_PREFIX)


def _overcommitted(node: NodeFacts, used: _Used) -> bool:
    pairs = (
        (node.host_memory_bytes, used.memory_bytes),
        (node.host_cpu_millis, used.cpu_millis),
        (node.ephemeral_storage_bytes, used.storage_bytes),
    )
    return any(0 < whole < held for whole, held in pairs)


def _step_down(value: int) -> int:
    """Rounded down by at most 1/16, so that nodes of one machine type, which differ by some MiB, share a pool."""
    step = 1 << max(0, value.bit_length() - 5)
    return value // step * step
