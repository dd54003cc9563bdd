"""The engine's pod, as far as several parts must agree on it: where it keeps its files, what it asks of its node, and what by its GPUs.

Read by the decision, which looks for room, by `render`, which asks for it, by the controller, which books it, and by the API, which lets
nobody mount over it. Knows no plan and no spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import GIB

SHARED_MEMORY_MOUNT: Final = "/dev/shm"
WEIGHTS_MOUNT: Final = "/models"
CACHE_MOUNT: Final = "/root/.cache/huggingface"
"""Where huggingface_hub keeps files and xet chunks (its documentation, "Environment variables") for the root of vLLM's images."""
HOME_MOUNT: Final = "/home/vllm"
"""Home of an engine that is not root or cannot write to its image's folders: the hub's cache is below it, where libraries look."""

COMPILE_MOUNT: Final = "/root/.cache/vllm"
"""VLLM_CACHE_ROOT where nobody says another (vllm/envs.py): compiled graphs and kernels of root's engine."""
HOME_CACHE_MOUNT: Final = f"{HOME_MOUNT}/.cache/huggingface"
"""The hub's cache of such an engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequests:
    """What one pod asks of its node, all its containers together: GPUs by the unit of which they count, and its share of the host."""

    gpus: int
    host_memory_bytes: int = 0
    host_cpu_millis: int = 0
    ephemeral_storage_bytes: int = 0


def shared_memory_bytes(gpus: int) -> int:
    """Size of /dev/shm, which counts against the pod's memory.

    NCCL and the workers' message queues use it; the container runtime's default is 64 MiB.
    """
    return (1 + gpus) * GIB


def cpu_millis(gpus: int) -> int:
    """CPU request of the engine's container: a core for each worker process and one for API server and scheduler."""
    return 1000 * (gpus + 1)
