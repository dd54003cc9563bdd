"""Which pools the pods of a plan may land in, and how many each of them takes. Pure; asked by the ledger for every booking."""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll_operator.capacity import DerivedPool, PoolKey, gpus_for
from plimsoll_operator.capacity.groups import Labels
from plimsoll_operator.controller.booking.demand import PodShape


def spread(shape: PodShape, pods: int, pools: Iterable[DerivedPool]) -> list[tuple[str, int]]:
    """How many of the pods each of the plan's pools takes."""
    out: list[tuple[str, int]] = []
    for pool in candidates(shape, pools):
        room = sum(nodes * (free // shape.gpus) for free, nodes in gpus_for(pool.free_nodes, shape.requests))
        taken = min(pods, room)
        if taken > 0:
            out.append((pool.name, taken))
            pods -= taken
    return out


def candidates(shape: PodShape, pools: Iterable[DerivedPool]) -> list[DerivedPool]:
    """The plan's pools; found by product and labels when their names have changed. For pods of others, all that have the resource."""
    pools = tuple(pools)
    if not shape.products:
        return [pool for pool in pools if pool.key.resource == shape.resource]
    named = [pool for pool in pools if pool.name in shape.pools]
    return [pool for pool in named or (one for one in pools if _serves(one.key, shape)) if _has(pool, shape.selector)]


def _has(pool: DerivedPool, selector: Labels) -> bool:
    labels = dict(pool.key.labels)
    return all(labels.get(key) == value for key, value in selector if key in pool.indexed_label_keys)


def _serves(key: PoolKey, shape: PodShape) -> bool:
    return key.product in shape.products and (key.resource, key.sharing) == (shape.resource, shape.sharing) and not key.excluded_for
