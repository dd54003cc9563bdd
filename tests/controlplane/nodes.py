"""Fake GPU nodes with the labels that GPU feature discovery writes on real ones; kwok plays their kubelets.

Called by tests and the demo. `memory_mib` is what the driver reports as the card's total (`nvidia-smi`, MiB), which is what
the label `nvidia.com/gpu.memory` carries; it is more than CUDA shows to a process. It refuses to know what fits where.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KWOK_ANNOTATION = "kwok.x-k8s.io/node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One product as feature discovery names it."""

    product: str
    memory_mib: int
    family: str
    compute: tuple[int, int]
    mig_capable: bool = False


H100 = Gpu(product="NVIDIA-H100-80GB-HBM3", memory_mib=81559, family="hopper", compute=(9, 0), mig_capable=True)
A100_40 = Gpu(product="NVIDIA-A100-SXM4-40GB", memory_mib=40960, family="ampere", compute=(8, 0), mig_capable=True)
L4 = Gpu(product="NVIDIA-L4", memory_mib=23034, family="ada-lovelace", compute=(8, 9))
A10G = Gpu(product="NVIDIA-A10G", memory_mib=23028, family="ampere", compute=(8, 6))
T4 = Gpu(product="Tesla-T4", memory_mib=15360, family="turing", compute=(7, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeNode:
    """A node with `gpus` cards of one product."""

    name: str
    gpu: Gpu
    gpus: int
    cpu: str = "96"
    memory: str = "768Gi"
    ephemeral_storage: str = "2Ti"
    instance_type: str = "bare-metal"
    extra_labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()

    def labels(self) -> dict[str, str]:
        """Return the labels of kubelet and of GPU feature discovery."""
        return {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": self.instance_type,
            "feature.node.kubernetes.io/pci-10de.present": "true",
            "nvidia.com/cuda.driver-version.full": "580.95.05",
            "nvidia.com/cuda.driver-version.major": "580",
            "nvidia.com/cuda.runtime-version.full": "13.0",
            "nvidia.com/gpu.compute.major": str(self.gpu.compute[0]),
            "nvidia.com/gpu.compute.minor": str(self.gpu.compute[1]),
            "nvidia.com/gpu.count": str(self.gpus),
            "nvidia.com/gpu.deploy.device-plugin": "true",
            "nvidia.com/gpu.family": self.gpu.family,
            "nvidia.com/gpu.memory": str(self.gpu.memory_mib),
            "nvidia.com/gpu.mode": "compute",
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": self.gpu.product,
            "nvidia.com/gpu.replicas": "1",
            "nvidia.com/gpu.sharing-strategy": "none",
            "nvidia.com/mig.capable": str(self.gpu.mig_capable).lower(),
            "nvidia.com/mig.strategy": "single",
            **self.extra_labels,
        }

    def manifest(self) -> dict[str, Any]:
        """Return the Node as the API server takes it, status included."""
        resources = {
            "cpu": self.cpu,
            "memory": self.memory,
            "ephemeral-storage": self.ephemeral_storage,
            "pods": "110",
            "nvidia.com/gpu": str(self.gpus),
        }
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.labels(), "annotations": {KWOK_ANNOTATION: "fake"}},
            "spec": {"taints": [dict(taint) for taint in self.taints]},
            "status": {"capacity": resources, "allocatable": resources},
        }


FAKE_GPU_NODES = (
    FakeNode(name="h100-0", gpu=H100, gpus=8, cpu="192", memory="2Ti"),
    FakeNode(name="a100-0", gpu=A100_40, gpus=8, cpu="96", memory="1Ti", instance_type="p4d.24xlarge"),
    FakeNode(name="l4-0", gpu=L4, gpus=4, cpu="48", memory="192Gi", instance_type="g2-standard-48"),
    FakeNode(name="a10g-0", gpu=A10G, gpus=1, cpu="16", memory="64Gi", instance_type="g5.4xlarge"),
    FakeNode(name="t4-0", gpu=T4, gpus=1, cpu="16", memory="64Gi", instance_type="g4dn.4xlarge"),
)
