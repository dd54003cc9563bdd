"""What arguments without an exact rule may take on each GPU: stated reserves, connectors of the cache, and moving experts.

Called by `overhead.stage` for the budget and by `overhead.uncertainty` for the interval: what may be more by as much may be nothing.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.connectors import held_by
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div

_EXPERT_ITEM: Final = 2
"""Bytes of an expert's element: never more than in 16 bits."""


def stated_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Bytes held on one rank of every stage."""
    given = resolved.given
    connector = held_by(given.kv_transfer_config) if given.kv_transfer_config else None
    of_connector = connector.gpu_bytes if connector is not None else 0
    return (given.reserved_gpu_bytes or 0) + of_connector + _moving_experts_bytes(widths, resolved)


def _moving_experts_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """EPLB: redundant experts in every layer, and buffers as large as one layer's (distributed/eplb/rebalance_execute.py)."""
    given = resolved.given
    if not given.enable_eplb or not widths.experts:
        return 0
    asked = given.redundant_experts
    redundant = asked if 0 <= asked <= widths.experts * resolved.collective_ranks else 0
    ranks = resolved.tensor_parallel_size * resolved.data_parallel_size
    expert = 3 * widths.hidden_size * widths.moe_intermediate_size * _EXPERT_ITEM
    layers = ceil_div(widths.layers, resolved.pipeline_parallel_size)
    return expert * (layers * ceil_div(redundant, ranks) + ceil_div(widths.experts + redundant, ranks))
