"""Memory outside torch's allocator: lazy growth of collectives and kernels inside the budget, contexts before the snapshot.

Called by `overhead`. Keyed on interconnect, parallel sizes, release and capability.
"""

from __future__ import annotations

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.shape import ModelShape
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB


def non_torch_bytes(shape: ModelShape, resolved: ResolvedArgs) -> int:
    """Growth outside torch during the profile run, one rank, charged to the budget."""
    return int(constant("non_torch_gib", resolved) * GIB)


def pre_snapshot_bytes(resolved: ResolvedArgs) -> int:
    """Contexts and communicators that exist before vLLM's first snapshot, at their 95th percentile."""
    return int(constant("pre_snapshot_gib", resolved) * GIB)
