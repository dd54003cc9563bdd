"""Nodes whose hosts are taken by pods, as pools that a decision is made on."""

from __future__ import annotations

from collections.abc import Iterable

from tests.plimsoll_operator.decision_world import Files
from tests.plimsoll_operator.nodes import index_of, pools_of

from plimsoll_operator.ports import Manifest

CPU, MEM, DISK, GPU = "cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"


def store_of(*nodes: Manifest, pods: Iterable[Manifest] = ()) -> Files:
    store = Files()
    store.pools = pools_of(index_of(*nodes, pods=pods))
    return store
