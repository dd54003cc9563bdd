"""What the pod takes of its node beside GPUs: host memory, CPU and ephemeral storage of the pod that would be rendered.

Called by `search` for candidates whose GPUs fit. Knows how `render` sizes a pod, no engine arithmetic.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.resolved import Estimate
from plimsoll_estimator.units import GIB
from plimsoll_operator.decision.miss import Miss
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.verdict import Reason

# Where the estimator names no figure: API server, engine core and one worker process per GPU with its CUDA runtime.
_BASE_BYTES: Final = 6 * GIB
_WORKER_BYTES: Final = 2 * GIB


def host_memory_bytes(estimate: Estimate, gpus: int) -> int:
    """Memory request of the pod: the engine's processes and pinned buffers, and /dev/shm, which counts against the pod."""
    shared = (1 + gpus) * GIB
    if estimate.host_memory_bytes is not None:
        return estimate.host_memory_bytes + shared
    resolved = estimate.resolved
    pinned = 4 * resolved.max_num_seqs * resolved.max_model_len if resolved is not None else 0
    return _BASE_BYTES + gpus * (_WORKER_BYTES + pinned) + shared


def cpu_millis(gpus: int) -> int:
    """CPU request of the pod: a core for each worker and one for API server and scheduler."""
    return 1000 * (gpus + 1)


def shortage(pool: PoolFacts, memory_bytes: int, millis: int) -> Miss | None:
    """What a node of the pool lacks for the pod; figures the pool does not know (0) are not checked."""
    if 0 < pool.host_memory_bytes < memory_bytes:
        return Miss(
            reason=Reason.HOST_MEMORY,
            message=f"nodes of pool {pool.name} have too little host memory",
            component="host memory",
            needed_bytes=memory_bytes,
            available_bytes=pool.host_memory_bytes,
        )
    if 0 < pool.host_cpu_millis < millis:
        return Miss(
            reason=Reason.HOST_CPU,
            message=f"the pod asks for {millis}m CPU, nodes of pool {pool.name} have {pool.host_cpu_millis}m",
            component="host CPU",
        )
    return None
