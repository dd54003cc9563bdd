"""Nodes whose cards are shared, and a model that fits a part of one."""

from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.ports import Manifest

SMALL = "Qwen/Qwen2.5-0.5B"


def shared(name: str, product: str, count: int, memory: int, replicas: int, strategy: str, *, renamed: bool = False) -> Manifest:
    """A node as the device plugin shows it: allocatable is count x replicas, labels still speak of the physical cards."""
    made = gpu_node(name, product if renamed else f"{product}-SHARED", count, memory, host="180Gi", cpu="47")
    made["metadata"]["labels"] |= {"nvidia.com/gpu.replicas": str(replicas), "nvidia.com/gpu.sharing-strategy": strategy}
    resource = "nvidia.com/gpu.shared" if renamed else "nvidia.com/gpu"
    del made["status"]["allocatable"]["nvidia.com/gpu"]
    made["status"]["allocatable"][resource] = str(count * replicas)
    return made


SLICED = shared("sliced", "NVIDIA-L4", 2, 23034, 2, "time-slicing")
