"""What the cluster's GPUs really offer: nodes and pods in, pools of alike GPUs out.

The controller and the CLI feed a CapacityIndex; webhook, controller and CLI read GPUPool objects through `pool_facts`.
"""

from plimsoll_operator.capacity.booking import Booking, book, fits_now
from plimsoll_operator.capacity.certain import certain_pods, possible_pods
from plimsoll_operator.capacity.index import CapacityIndex, DerivedPool, PoolKey
from plimsoll_operator.capacity.pools import pool_facts, pool_manifest

__all__ = [
    "Booking",
    "CapacityIndex",
    "DerivedPool",
    "PoolKey",
    "book",
    "certain_pods",
    "fits_now",
    "pool_facts",
    "pool_manifest",
    "possible_pods",
]
