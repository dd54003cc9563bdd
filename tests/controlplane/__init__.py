"""A real Kubernetes control plane as plain processes, for the end-to-end tests, the demo and the benchmarks.

No container engine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok run on loopback with a PKI of
their own. Pods are bound by the real scheduler; kwok only plays the kubelet of fake GPU nodes. It knows nothing of Plimsoll
but the API group whose reviews it audits.
"""

from tests.controlplane.assets import Assets, AssetsError, obtain
from tests.controlplane.cluster import Cluster, ExistingCluster, KubectlError
from tests.controlplane.nodes import FAKE_GPU_NODES, FakeNode
from tests.controlplane.plane import ControlPlane

__all__ = [
    "FAKE_GPU_NODES",
    "Assets",
    "AssetsError",
    "Cluster",
    "ControlPlane",
    "ExistingCluster",
    "FakeNode",
    "KubectlError",
    "obtain",
]
