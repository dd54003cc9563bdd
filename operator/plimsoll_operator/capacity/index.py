"""Pools of alike GPUs, kept up to date event by event: a node or pod event costs O(1), never a walk over the cluster.

Fed by the controller's informer and by the CLI from files; read as DerivedPools. Nodes that are not believed form pools of
their own with the reasons, and nothing is planned on those. Knows no API client and no clock; bookings are handed in.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from plimsoll_operator.capacity.booking import Booking, book
from plimsoll_operator.capacity.nodes import NodeFacts, parse_node
from plimsoll_operator.capacity.pods import PodClaim, parse_pod, pod_key
from plimsoll_operator.capacity.sources import PRODUCT_LABEL, GpuGroup, Problem, Sharing

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
_K = TypeVar("_K", int, str)
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    """What makes GPUs alike for planning. Host figures are rounded down to steps, so a node joins or founds a pool, never shrinks one."""

    resource: str
    product: str
    usable_memory_bytes: int
    memory_is_exact: bool
    gpus_per_node: int
    sharing: Sharing
    sharing_replicas: int
    compute_capability: tuple[int, int] | None
    taints: tuple[tuple[str, str, str], ...]
    labels: tuple[tuple[str, str], ...]
    host_memory_bytes: int
    host_cpu_millis: int
    ephemeral_storage_bytes: int
    excluded_for: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedPool:
    """One pool at one moment. `nodes_by_free_gpus` is net of pods and bookings; `problems` counts nodes by problem.

    `foreign_gpus` are held by pods that no InferenceDeployment has planned.
    """

    name: str
    key: PoolKey
    nodes: int
    gpus: int
    free_gpus: int
    booked_gpus: int
    foreign_gpus: int
    nodes_by_free_gpus: tuple[tuple[int, int], ...]
    problems: tuple[tuple[str, int], ...]
    indexed_label_keys: tuple[str, ...]


class _Pool:
    """Counts of one pool: nodes by free GPUs and by problem."""

    __slots__ = ("foreign", "free", "name", "nodes", "problems")

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes = 0
        self.foreign = 0
        self.free: Counter[int] = Counter()
        self.problems: Counter[str] = Counter()

    def add(self, seat: _Seat, sign: int) -> None:
        self.nodes += sign
        self.foreign += sign * seat.foreign
        _bump(self.free, seat.free, sign)
        for problem in seat.problems:
            _bump(self.problems, problem.value, sign)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seat:
    """Where one group of a node is counted, so that it can be taken back exactly."""

    key: PoolKey
    free: int
    foreign: int
    problems: tuple[Problem, ...]


class CapacityIndex:
    """The cluster's GPU capacity, incrementally. Not thread-safe: one owner feeds and reads it."""

    def __init__(self, label_keys: Iterable[str] = ()) -> None:
        self._label_keys = tuple(sorted({PRODUCT_LABEL, *label_keys}))
        self._nodes: dict[str, NodeFacts] = {}
        self._claims: dict[str, PodClaim] = {}
        self._used: dict[str, Counter[str]] = {}
        self._foreign: dict[str, Counter[str]] = {}
        self._seats: dict[str, tuple[_Seat, ...]] = {}
        self._pools: dict[PoolKey, _Pool] = {}
        self._bookings: dict[str, tuple[Booking, ...]] = {}
        self._changed: set[str] = set()

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
            self._seat(facts.name, ())
            return
        if self._nodes.get(facts.name) != facts:
            self._nodes[facts.name] = facts
            self._reseat(facts.name)

    def pod_event(self, kind: EventType, pod: Mapping[str, Any]) -> None:
        """Take in one pod event: bound, live pods hold GPUs; everything else gives back what it held."""
        metadata = pod.get("metadata")
        uid = pod_key(metadata) if isinstance(metadata, Mapping) else None
        if uid is None:
            return
        new = None if kind == "DELETED" else parse_pod(pod)
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
            self._reseat(name)

    def set_bookings(self, bookings: Mapping[str, Iterable[Booking]]) -> None:
        """Replace the bookings, by pool name: GPUs of applied plans whose pods are not bound to a node yet."""
        new = {name: tuple(rows) for name, rows in bookings.items()}
        self._changed |= {name for name in new.keys() | self._bookings.keys() if new.get(name) != self._bookings.get(name)}
        self._bookings = new

    def set_label_keys(self, label_keys: Iterable[str]) -> bool:
        """Split pools by these node label keys (and the product's) from now on; a change walks all nodes once. Says whether it was one."""
        keys = tuple(sorted({PRODUCT_LABEL, *label_keys}))
        if keys == self._label_keys:
            return False
        self._label_keys = keys
        for name in tuple(self._nodes):
            self._reseat(name)
        self._changed |= {pool.name for pool in self._pools.values()}
        return True

    def pools(self) -> tuple[DerivedPool, ...]:
        """All pools, by name; independent of the order in which events came."""
        return tuple(sorted((self._derived(key, pool) for key, pool in self._pools.items()), key=lambda pool: pool.name))

    def drain_changed(self) -> frozenset[str]:
        """Names of pools that changed, appeared or vanished since the last call: what a status writer needs to look at."""
        changed, self._changed = frozenset(self._changed), set()
        return changed

    def _derived(self, key: PoolKey, pool: _Pool) -> DerivedPool:
        histogram = tuple(sorted(pool.free.items()))
        after, booked = book(histogram, self._bookings.get(pool.name, ()))
        return DerivedPool(
            name=pool.name,
            key=key,
            nodes=pool.nodes,
            gpus=pool.nodes * key.gpus_per_node,
            free_gpus=sum(free * nodes for free, nodes in after),
            booked_gpus=booked,
            foreign_gpus=pool.foreign,
            nodes_by_free_gpus=after,
            problems=tuple(sorted(pool.problems.items())),
            indexed_label_keys=self._label_keys,
        )

    def _claim(self, claim: PodClaim, sign: int) -> None:
        for counts in (self._used,) if claim.planned else (self._used, self._foreign):
            used = counts.setdefault(claim.node, Counter())
            for resource, units in claim.gpus:
                _bump(used, resource, sign * units)
            if not used:
                del counts[claim.node]

    def _reseat(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is not None:
            used, foreign = self._used.get(name, Counter()), self._foreign.get(name, Counter())
            counts = [(used.get(group.resource, 0), foreign.get(group.resource, 0)) for group in node.groups]
            self._seat(name, tuple(_seat(node, group, held, self._label_keys) for group, held in zip(node.groups, counts, strict=True)))

    def _seat(self, name: str, seats: tuple[_Seat, ...]) -> None:
        old = self._seats.pop(name, ())
        if seats:
            self._seats[name] = seats
        if seats == old:
            return
        for seat in old:
            pool = self._pools[seat.key]
            pool.add(seat, -1)
            self._changed.add(pool.name)
            if pool.nodes == 0:
                del self._pools[seat.key]
        for seat in seats:
            found = self._pools.get(seat.key)
            if found is None:
                found = self._pools[seat.key] = _Pool(pool_name(seat.key))
            found.add(seat, 1)
            self._changed.add(found.name)


def _seat(node: NodeFacts, group: GpuGroup, held: tuple[int, int], label_keys: tuple[str, ...]) -> _Seat:
    """`held` are the group's units that pods hold, and those of them that nobody here has planned."""
    used, foreign = held
    problems = list(group.problems)
    if node.condition is not None:
        problems.append(node.condition)
    if used > group.schedulable and group.trusted:
        problems.append(Problem.OVERCOMMITTED)
    usable = node.accepts_pods and group.trusted
    key = PoolKey(
        resource=group.resource,
        product=group.product,
        usable_memory_bytes=group.usable_memory_bytes,
        memory_is_exact=group.memory_is_exact,
        gpus_per_node=group.schedulable,
        sharing=group.sharing,
        sharing_replicas=group.sharing_replicas,
        compute_capability=group.compute_capability,
        taints=node.taints,
        labels=tuple((label, node.labels[label]) for label in label_keys if _VALUE.fullmatch(node.labels.get(label, "-"))),
        host_memory_bytes=_step_down(node.host_memory_bytes),
        host_cpu_millis=_step_down(node.host_cpu_millis),
        ephemeral_storage_bytes=_step_down(node.ephemeral_storage_bytes),
        excluded_for=tuple(sorted(problem for problem in group.problems if problem.excludes)),
    )
    free = max(0, group.schedulable - used) if usable else 0
    return _Seat(key=key, free=free, foreign=foreign, problems=tuple(problems))


def _step_down(value: int) -> int:
    """Rounded down by at most 1/16, so that nodes of one machine type, which differ by some MiB, share a pool."""
    step = 1 << max(0, value.bit_length() - 5)
    return value // step * step


def pool_name(key: PoolKey) -> str:
    """A DNS label from product and GPUs per node, with a digest of the whole key so that different pools never share a name."""
    slug = re.sub(r"[^a-z0-9]+", "-", (key.product or "unknown").lower()).strip("-")[:40].rstrip("-") or "unknown"
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:6]
    return f"{slug}-x{key.gpus_per_node}-{digest}"


def _bump(counter: Counter[_K], key: _K, by: int) -> None:
    value = counter[key] + by
    if value == 0:
        counter.pop(key, None)
    else:
        counter[key] = value
