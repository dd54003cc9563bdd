"""Memory outside torch's allocator: lazy growth of collectives and kernels inside the budget, contexts before the snapshot.

Called by `overhead`. Keyed on interconnect, parallel sizes, release and capability.
"""

from __future__ import annotations

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB


def non_torch_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Growth outside torch during the profile run, one rank, charged to the budget.

    Each further group with collectives of its own (the ranks that share experts beside tensor parallel ones, decode context
    parallel) grows once more: its communicator is used first in the profile run too. Not measured: on the safe side.

    Where GPU and host share one memory the budget pays for what the host's processes take between the engine's two looks as well: free
    memory is the host's there (utils/mem_utils.py: MemorySnapshot, psutil).

    From 0.18 the profile run tunes the chunked kernels of Gated DeltaNet (qwen3_next.py: _warmup_prefill_kernels), which leaves memory
    with the driver.
    """
    ranks = resolved.collective_ranks
    groups = 1 + (1 < resolved.tensor_parallel_size < ranks) + (resolved.decode_context_parallel_size > 1)
    base = constant("non_torch_gib", resolved, ranks=ranks) * GIB * groups
    message = resolved.max_num_batched_tokens * widths.hidden_size * 2
    hands_over = resolved.nnodes > 1 and resolved.pipeline_parallel_size > 1 and not resolved.collectives_leave_node
    network = constant("between_nodes_gib", resolved) * GIB if hands_over else 0
    tuning = constant("delta_net_tuning_gib", resolved) * GIB if widths.gated_delta_net else 0
    host = constant("unified_host_gib", resolved) * GIB if resolved.gpu.memory == "unified" else 0
    return int(base + constant("non_torch_messages", resolved, ranks=ranks) * message + network + tuning + host)


def host_doubt_bytes(resolved: ResolvedArgs) -> int:
    """What the processes of a host that shares its memory with the GPU may take more while the engine measures."""
    return int(constant("unified_host_doubt_gib", resolved) * GIB) if resolved.gpu.memory == "unified" else 0


def tuning_doubt_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What the tuning of Gated DeltaNet's kernels may leave where it was not measured."""
    return int(constant("delta_net_tuning_doubt_gib", resolved) * GIB) if widths.gated_delta_net else 0


def pre_snapshot_bytes(resolved: ResolvedArgs) -> int:
    """Contexts and communicators that exist before vLLM's first snapshot, at their 95th percentile."""
    return int(constant("pre_snapshot_p95_gib", resolved, ranks=resolved.collective_ranks) * GIB)


def usual_pre_snapshot_bytes(resolved: ResolvedArgs) -> int:
    """The same, as it usually is: what a start that states no free memory is taken to find in use."""
    return int(constant("pre_snapshot_gib", resolved, ranks=resolved.collective_ranks) * GIB)


def free_at_start_bytes(resolved: ResolvedArgs) -> int:
    """Free bytes at vLLM's first snapshot: as stated, else the total less what a process alone on the card has in use."""
    if resolved.gpu.free_memory_bytes is not None:
        return resolved.gpu.free_memory_bytes
    return max(0, resolved.gpu.total_memory_bytes - usual_pre_snapshot_bytes(resolved))


def budgeted_before_bytes(resolved: ResolvedArgs) -> int:
    """What is in use before the first snapshot and the budget pays for all the same: contexts, and what other processes hold."""
    if not overhead_rules(resolved.version).budgets_whole_device:
        return 0
    return resolved.gpu.total_memory_bytes - free_at_start_bytes(resolved)
