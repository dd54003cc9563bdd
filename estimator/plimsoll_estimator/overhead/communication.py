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
    base = constant("non_torch_gib", resolved) * GIB
    message = resolved.max_num_batched_tokens * shape.hidden_size * 2
    return int(base + constant("non_torch_messages", resolved) * message)


def pre_snapshot_bytes(resolved: ResolvedArgs) -> int:
    """Contexts and communicators that exist before vLLM's first snapshot, at their 95th percentile."""
    return int(constant("pre_snapshot_p95_gib", resolved) * GIB)


def usual_pre_snapshot_bytes(resolved: ResolvedArgs) -> int:
    """The same, as it usually is: what a start that states no free memory is taken to find in use."""
    return int(constant("pre_snapshot_gib", resolved) * GIB)
