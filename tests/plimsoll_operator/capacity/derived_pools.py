"""Pools as the index derives them from any cluster, and pools of any figures and texts at all, for laws about what follows from them."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod, index_of

from plimsoll_operator.api import GPUPoolSpec
from plimsoll_operator.capacity import Booking, DerivedPool, PoolKey
from plimsoll_operator.capacity.groups import Source
from plimsoll_operator.capacity.problems import CountedFinding, Problem
from plimsoll_operator.facts import FreeNodes
from plimsoll_operator.pod import PodRequests

AMOUNTS: Final = st.sampled_from(["0", "1", "2", "8", "64Gi", "1000m", "2147483648", "9223372036854775807", "1Ei", "-1", "x"])
RESOURCES: Final = st.fixed_dictionaries({}, optional=dict.fromkeys(("cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"), AMOUNTS))
PRODUCTS: Final = st.sampled_from(
    [("NVIDIA-L4", 23034), ("NVIDIA-H100-80GB-HBM3", 81559), ("Tesla-T4", 15360), ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 4864), ("ACME", 1)]
)
NODE_LABELS: Final = st.fixed_dictionaries(
    {},
    optional={
        "zone": st.sampled_from(["a", "b"]),
        "nvidia.com/gpu.compute.major": st.sampled_from(["8", "9", "x"]),
        "nvidia.com/gpu.compute.minor": st.sampled_from(["0", "9"]),
        "nvidia.com/gpu.replicas": st.sampled_from(["1", "4"]),
        "nvidia.com/gpu.sharing-strategy": st.sampled_from(["none", "time-slicing", "mps"]),
        "cloud.google.com/gke-accelerator": st.sampled_from(["nvidia-l4", "nvidia-h100-80gb"]),
    },
)
TAINTS: Final = st.lists(
    st.sampled_from([{"key": "a", "effect": "NoSchedule"}, {"key": "b/c", "value": "v", "effect": "NoExecute"}]), max_size=2
)
SPECS: Final = tuple(
    GPUPoolSpec.model_validate(spec)
    for spec in (
        {},
        {"usableMemoryBytes": "15Gi"},
        {"product": "NVIDIA-L4", "usableMemoryBytes": 20 << 30, "gpusPerNode": 2, "cost": 0},
        {"product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"},
        {"computeCapability": "8.9", "sharing": "mps", "sharingReplicas": 2},
        {"selector": {"zone": "a"}, "product": "NVIDIA-L40S"},
        {
            "declared": True, "product": "NVIDIA-L4", "gpusPerNode": 4, "maxNodes": 2, "selector": {"zone": "a"},
            "node": {"cpu": "1500m", "labels": {"zone": "z"}, "taints": [{"key": "t", "effect": "NoSchedule"}], "hostMemoryBytes": "64Gi"},
        },
    )
)  # fmt: skip


@st.composite
def clusters(draw: st.DrawFn) -> tuple[DerivedPool, ...]:
    """Pools of up to four nodes with pods of strangers and bookings on them, whatever nodes and pods say of themselves."""
    nodes = []
    for number in range(draw(st.integers(1, 4))):
        product, memory = draw(PRODUCTS)
        found = gpu_node(f"n{number}", product, draw(st.sampled_from([1, 4, 8])), memory, labels=draw(NODE_LABELS), taints=draw(TAINTS))
        found["status"]["allocatable"] |= draw(RESOURCES)
        nodes.append(found)
    asked = draw(st.lists(st.tuples(st.integers(0, 3), AMOUNTS), max_size=3))
    pods = [gpu_pod(f"p{number}", f"n{node}", gpus) for number, (node, gpus) in enumerate(asked)]
    index = index_of(*nodes, pods=pods, keys=draw(st.sampled_from([(), ("zone",)])))
    each = PodRequests(gpus=1, host_memory_bytes=1 << 30, host_cpu_millis=1, ephemeral_storage_bytes=1)
    booking = Booking(pods=draw(st.integers(0, 3)), each=each)
    return index.pools({pool.name: [booking] for pool in index.pools()})


_FIGURES: Final = st.one_of(st.integers(0, 16), st.sampled_from([(1 << 31) + 1, (1 << 50) + 1, (1 << 60) + 1]))
_TEXTS: Final = st.one_of(st.sampled_from(["", "NVIDIA-L4", "a b", "x" * 300, "\ud800", "é"]))
_LABELS: Final = st.dictionaries(st.sampled_from(["zone", "a/b", "c"]), st.sampled_from(["", "x", "a b", "y" * 64]), max_size=3).map(
    lambda found: tuple(sorted(found.items()))
)


@st.composite
def any_pool(draw: st.DrawFn) -> DerivedPool:
    """A pool of any figures and texts, most of which no cluster makes and some of which no object can hold."""

    def some(strategy: st.SearchStrategy[Any], usual: Any) -> Any:
        """Usually the usual: a pool in which everything is odd is refused for the first thing."""
        return draw(strategy) if draw(st.integers(0, 5)) == 0 else usual

    key = PoolKey(
        resource=some(_TEXTS, "nvidia.com/gpu"),
        product=some(_TEXTS, "NVIDIA-L4"),
        usable_memory_bytes=some(_FIGURES, 22 << 30),
        memory_is_exact=draw(st.booleans()),
        gpus_per_node=some(_FIGURES, 4),
        sharing=draw(st.sampled_from(["none", "time-slicing", "mps", "mig"])),
        sharing_replicas=some(_FIGURES, 1),
        compute_capability=some(st.sampled_from([None, (8, 9), (10, 0), (10, 12), (100, 0)]), (8, 9)),
        source=draw(st.sampled_from(Source)),
        selects=some(_LABELS, (("zone", "a"),)),
        corrected_by=some(_TEXTS, ""),
        cost=some(st.one_of(st.none(), _FIGURES), None),
        taints=some(
            st.lists(st.sampled_from([("b", "", "NoSchedule"), ("a", "v", "NoExecute"), ("a b", "", "x")]), max_size=2).map(tuple), ()
        ),
        labels=some(_LABELS, ()),
        host_memory_bytes=some(_FIGURES, 64 << 30),
        host_cpu_millis=some(_FIGURES, 8000),
        ephemeral_storage_bytes=some(_FIGURES, 0),
        excluded_for=draw(st.sampled_from([(), (Problem.GPU_POOL_UNREADABLE,)])),
    )
    row = st.builds(FreeNodes, gpus=_FIGURES, nodes=_FIGURES, host_memory_bytes=st.one_of(st.none(), _FIGURES), host_cpu_millis=_FIGURES)
    finding = CountedFinding(problem=Problem.GPU_POOL_UNREADABLE, detail="it is odd", nodes=1)
    return DerivedPool(
        name="pool",
        key=key,
        nodes=some(_FIGURES, 3),
        gpus=some(_FIGURES, 12),
        free_gpus=some(_FIGURES, 4),
        booked_gpus=some(_FIGURES, 0),
        foreign_gpus=some(_FIGURES, 0),
        free_nodes=draw(st.lists(row, max_size=3).map(tuple)),
        problems=(finding,) * draw(st.sampled_from([0, 1, 17])),
        indexed_label_keys=draw(st.sampled_from([(), ("zone",), ("b", "a")])),
        free_is_known=draw(st.booleans()),
    )
