"""GPU products: the pools of one product and resource, and the GPU that they can all be counted on for.

Made of the pools that placement allows, once a decision. Knows memory and counts of pools, no layouts' order.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from plimsoll_estimator import Gpu, InvalidInput, Unsupported, gpu_from, known_gpus
from plimsoll_operator.capacity.groups import Source
from plimsoll_operator.decision.fit.utilisation import Room
from plimsoll_operator.decision.search.layouts import Layout
from plimsoll_operator.facts import PoolFacts

# Of memory that the host and the GPU share, for the system: owners of GB10s find 101 to 102 of 121.7 GiB free at vLLM's start.
_SYSTEM_SHARE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Pools of one product and resource, and the GPU they can all be counted on for: the least usable memory over them."""

    gpu: Gpu
    pools: tuple[PoolFacts, ...]
    room: Room

    @property
    def parts(self) -> int:
        """Into how many parts the pools' cards are time-sliced, at most."""
        return max(pool.parts for pool in self.pools)

    def large_enough(self, gpus: int) -> tuple[PoolFacts, ...]:
        """Pools whose nodes have that many GPUs."""
        return tuple(pool for pool in self.pools if pool.gpus_per_node >= gpus)

    def large_enough_for(self, layout: Layout) -> tuple[PoolFacts, ...]:
        """Pools whose nodes have room for a node's share; for a replica over nodes, empty unless together they have or get enough."""
        pools = self.large_enough(layout.gpus_per_node)
        if layout.nodes > 1:
            room = sum(pool.most_pods(layout.gpus_per_node) for pool in pools)
            return pools if room >= layout.nodes else ()
        return pools


def products_of(pools: tuple[PoolFacts, ...]) -> tuple[tuple[Product, ...], tuple[str, ...]]:
    """Pools by product, and a sentence for each product whose generation nothing tells."""
    found: list[Product] = []
    unknown: list[str] = []
    # A pod asks for one resource, so pools of one product that are offered under different resources are different products here.
    ordered = sorted(pools, key=lambda pool: (pool.product, pool.resource, pool.name))
    for (name, _), group in groupby(ordered, key=lambda pool: (pool.product, pool.resource)):
        members = tuple(group)
        gpu = _gpu(name, members)
        if gpu is None:
            unknown.append(f"the generation of GPU {name} is not known")
        else:
            found.append(Product(gpu=gpu, pools=members, room=_room(gpu, members)))
    return tuple(found), tuple(unknown)


def _room(gpu: Gpu, pools: tuple[PoolFacts, ...]) -> Room:
    """What of one GPU may be used: no more than pools say is usable, and of memory that is the host's too no more than pods may have."""
    limit = min(gpu.total_memory_bytes, *(pool.usable_memory_bytes for pool in pools))
    if gpu.memory != "unified":
        return Room(limit_bytes=limit)
    total = gpu.total_memory_bytes
    shared = min(total, *(pool.host_memory_bytes or total for pool in pools))
    # What a node does not call allocatable is the system's already.
    return Room(limit_bytes=limit, shared_bytes=shared, kept_bytes=max(0, shared - total + total // _SYSTEM_SHARE))


def _card_bytes(name: str, pool: PoolFacts) -> int:
    """What vLLM's share is of. A GPUPool that grants less than a known card has makes the card no smaller."""
    known = known_gpus().get(name)
    if pool.source != Source.GPU_POOL or known is None or pool.sharing in ("mig", "mps"):
        return pool.usable_memory_bytes
    return max(pool.usable_memory_bytes, known.total_memory_bytes)


def _gpu(name: str, pools: tuple[PoolFacts, ...]) -> Gpu | None:
    least = min(pools, key=lambda pool: _card_bytes(name, pool))
    told = None if least.compute_capability is None else "{}.{}".format(*least.compute_capability)
    for stated in (None, told):
        with suppress(Unsupported, InvalidInput):
            gpu = gpu_from(name, total_memory_bytes=_card_bytes(name, least), compute_capability=stated)
            return replace(gpu, total_is_exact=least.memory_is_exact)
    if least.compute_capability is None:
        return None
    known = known_gpus().get(name)
    return Gpu(
        product=name,
        total_memory_bytes=least.usable_memory_bytes,
        interconnect=known.interconnect if known else "pcie",
        compute_capability=least.compute_capability,
        total_is_exact=least.memory_is_exact,
    )
