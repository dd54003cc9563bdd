"""What the cluster's GPUs really offer: nodes and pods in, pools of alike GPUs out.

The controller and the CLI feed a CapacityIndex; webhook, controller and CLI decide from the facts of pools that `offers` makes.
"""

from plimsoll_operator.capacity.booking import Booking, fits_now, gpus_for
from plimsoll_operator.capacity.certain import certain_pods, placeable, possible_pods
from plimsoll_operator.capacity.corrections import Correction, corrections_of
from plimsoll_operator.capacity.derived import DerivedPool, NodeGpus, PoolKey, Selection
from plimsoll_operator.capacity.index import CapacityIndex
from plimsoll_operator.capacity.offers import by_name, check_writable, derived_facts, is_offer, offered, pool_facts
from plimsoll_operator.capacity.pools import MAX_LABEL_KEYS, pool_manifest, selection_status, status_without_nodes
from plimsoll_operator.capacity.problems import Problem, closed_lines

__all__ = [
    "MAX_LABEL_KEYS",
    "Booking",
    "CapacityIndex",
    "Correction",
    "DerivedPool",
    "NodeGpus",
    "PoolKey",
    "Problem",
    "Selection",
    "by_name",
    "certain_pods",
    "check_writable",
    "closed_lines",
    "corrections_of",
    "derived_facts",
    "fits_now",
    "gpus_for",
    "is_offer",
    "offered",
    "placeable",
    "pool_facts",
    "pool_manifest",
    "possible_pods",
    "selection_status",
    "status_without_nodes",
]
