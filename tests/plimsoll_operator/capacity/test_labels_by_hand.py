"""Labels that people write by hand, MIG's rarer resources, and GPUPools that name a slice: what they say and what they leave open."""

from typing import Any

import pytest

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.capacity import CapacityIndex, DerivedPool, corrections_of, pool_facts
from plimsoll_operator.capacity.memory import _profiles, usable_by_product
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest

GB = 10**9
PRODUCT, COUNT, MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.count", "nvidia.com/gpu.memory"


def node(labels: dict[str, str], allocatable: dict[str, str], capacity: dict[str, str] | None = None) -> Manifest:
    amounts = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "500Gi"}
    return {
        "metadata": {"name": "n", "labels": labels},
        "status": {
            "allocatable": amounts | allocatable,
            "capacity": amounts | (capacity or allocatable),
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pools_of(item: Manifest, *gpu_pools: Manifest) -> tuple[DerivedPool, ...]:
    index = CapacityIndex(corrections=corrections_of([parse_object(GPUPool, one) for one in gpu_pools]))
    index.node_event("ADDED", item)
    return index.pools()


def problems(pool: DerivedPool) -> set[str]:
    return {row.problem.value for row in pool.problems}


L4 = {PRODUCT: "NVIDIA-L4", MEMORY: "23034"}
BY_HAND = [  # why, labels, allocatable, capacity, problems, trusted
    ("a product without a number, over time-sliced cards", L4, {"nvidia.com/gpu": "4"}, None, {"CountUnknown"}, False),
    ("the number of the instance type does as well",
     L4 | {"node.kubernetes.io/instance-type": "g6.12xlarge"}, {"nvidia.com/gpu": "4"}, None, set(), True),
    ("and shows that cards are shared",
     L4 | {"node.kubernetes.io/instance-type": "g6.xlarge"}, {"nvidia.com/gpu": "4"}, None, {"MixedProducts"}, False),
    ("a number that agrees", L4 | {COUNT: "4"}, {"nvidia.com/gpu": "4"}, None, set(), True),
    ("a node that has more than the number, of which some are gone for now",
     L4 | {COUNT: "1"}, {"nvidia.com/gpu": "1"}, {"nvidia.com/gpu": "4"}, {"MixedProducts"}, False),
    ("a node that has the number, of which one is gone",
     L4 | {COUNT: "4"}, {"nvidia.com/gpu": "3"}, {"nvidia.com/gpu": "4"}, {"FewerAllocatableThanLabelled", "UnhealthyGpus"}, True),
    ("slices without a number",
     {"nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/mig-1g.10gb.memory": "9728"},
     {"nvidia.com/mig-1g.10gb": "7"}, None, {"CountUnknown"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("why", "labels", "allocatable", "capacity", "found", "trusted"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_a_product_without_its_number_is_doubted_as_a_clouds_is(
    why: str, labels: dict[str, str], allocatable: dict[str, str], capacity: dict[str, str] | None, found: set[str], trusted: bool
) -> None:
    (pool,) = pools_of(node(labels, allocatable, capacity))
    assert (problems(pool), not pool.key.excluded_for) == (found, trusted)


def mig(
    profile: str, count: str = "4", memory: str = "24000", product: str = "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"
) -> dict[str, str]:
    name = f"nvidia.com/mig-{profile}"
    return {f"{name}.product": f"{product}-MIG-{profile}", f"{name}.count": count, f"{name}.memory": memory}


MIXED = [  # why, labels, allocatable, {resource: (trusted, problems)}
    ("whole GPUs beside slices are not what is left of more",
     {PRODUCT: "NVIDIA-H100-80GB-HBM3", COUNT: "8", MEMORY: "81559"} | mig("1g.10gb", "14", "9728", "NVIDIA-H100-80GB-HBM3"),
     {"nvidia.com/gpu": "6", "nvidia.com/mig-1g.10gb": "14"},
     {"nvidia.com/gpu": (True, set()), "nvidia.com/mig-1g.10gb": (True, set())}),
    ("whole GPUs that are cut are no whole GPUs, whatever the plugin still offers",
     {PRODUCT: "NVIDIA-H100-80GB-HBM3", COUNT: "8", MEMORY: "81559"} | mig("1g.10gb", "15", "9728", "NVIDIA-H100-80GB-HBM3"),
     {"nvidia.com/gpu": "6", "nvidia.com/mig-1g.10gb": "15"},
     {"nvidia.com/gpu": (False, {"MixedProducts"}), "nvidia.com/mig-1g.10gb": (True, set())}),
    ("shared slices are one card's, however many units there are of them",
     {PRODUCT: "NVIDIA-H100-80GB-HBM3", COUNT: "8", MEMORY: "81559", "nvidia.com/mig-1g.10gb.replicas": "4"}
     | mig("1g.10gb", "7", "9728", "NVIDIA-H100-80GB-HBM3"),
     {"nvidia.com/gpu": "7", "nvidia.com/mig-1g.10gb": "28"},
     {"nvidia.com/gpu": (True, set()), "nvidia.com/mig-1g.10gb": (False, {"SharedWithoutStrategy"})}),
    ("by a resource that says so in its name",
     {PRODUCT: "NVIDIA-H100-80GB-HBM3", COUNT: "8", MEMORY: "81559", "nvidia.com/mig-1g.10gb.replicas": "4"}
     | mig("1g.10gb", "7", "9728", "NVIDIA-H100-80GB-HBM3"),
     {"nvidia.com/gpu": "7", "nvidia.com/mig-1g.10gb.shared": "28"},
     {"nvidia.com/gpu": (True, set()), "nvidia.com/mig-1g.10gb.shared": (False, {"SharedWithoutStrategy"})}),
    ("and of which no label says how many share one",
     {PRODUCT: "NVIDIA-H100-80GB-HBM3", COUNT: "8", MEMORY: "81559"}, {"nvidia.com/gpu": "7", "nvidia.com/mig-1g.10gb.shared": "28"},
     {"nvidia.com/gpu": (True, set()), "nvidia.com/mig-1g.10gb.shared": (False, {"NoProduct", "SharedWithoutStrategy"})}),
    ("profiles that there are not are cards that are cut too, and no more than a node has",
     {PRODUCT: "NVIDIA-H100-80GB-HBM3", COUNT: "8", MEMORY: "81559"},
     {"nvidia.com/gpu": "8", "nvidia.com/mig-0g.10gb": "7", "nvidia.com/mig-99g.10gb": "999999999999"},
     {"nvidia.com/gpu": (False, {"MixedProducts"}), "nvidia.com/mig-0g.10gb": (False, {"NoProduct"}),
      "nvidia.com/mig-99g.10gb": (False, {"NoProduct", "CountAbsurd"})}),
    ("a slice without a memory label has what such slices have",
     {PRODUCT: "NVIDIA-H200-MIG-1g.18gb", COUNT: "56"}, {"nvidia.com/gpu": "56"}, {"nvidia.com/gpu": (True, set())}),
    ("without media engines", mig("1g.24gb-me"), {"nvidia.com/mig-1g.24gb-me": "4"}, {"nvidia.com/mig-1g.24gb-me": (True, set())}),
    ("a profile with them", mig("1g.24gb.me"), {"nvidia.com/mig-1g.24gb.me": "4"}, {"nvidia.com/mig-1g.24gb.me": (True, set())}),
    ("compute instances share the memory of their slice",
     mig("1c.3g.40gb", "6", "40192", "NVIDIA-H100-80GB-HBM3"), {"nvidia.com/mig-1c.3g.40gb": "6"},
     {"nvidia.com/mig-1c.3g.40gb": (False, {"SharedWithoutStrategy"})}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "labels", "allocatable", "found"), MIXED, ids=[row[0] for row in MIXED])
def test_every_resource_of_mig_is_a_pool_of_its_own(why: str, labels: dict[str, str], allocatable: dict[str, str], found: Manifest) -> None:
    pools = pools_of(node(labels, allocatable))
    assert {pool.key.resource: (not pool.key.excluded_for, problems(pool)) for pool in pools} == found
    assert all(pool.key.sharing == "mig" for pool in pools if "mig" in pool.key.resource)


def test_a_slice_without_a_memory_label_has_the_memory_of_its_profile() -> None:
    (pool,) = pools_of(node({PRODUCT: "NVIDIA-H200-MIG-1g.18gb", COUNT: "56"}, {"nvidia.com/gpu": "56"}))
    assert pool.key.usable_memory_bytes == 16384 << 20
    (absurd,) = pools_of(node({PRODUCT: "NVIDIA-L4-MIG-7g.80gb", COUNT: "7"}, {"nvidia.com/gpu": "7"}))
    assert absurd.key.excluded_for == ("MemoryContradictsProduct",)


def gpu_pool(**spec: Any) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "g"}, "spec": spec}


SLICE = "NVIDIA-A100-SXM4-40GB-MIG-3g.20gb"


def test_a_gpu_pool_that_names_a_slice_makes_slices_of_what_it_selects() -> None:
    item = node({"rack": "a", PRODUCT: "NVIDIA-A100-SXM4-40GB", COUNT: "2", MEMORY: "40960"}, {"nvidia.com/gpu": "2"})
    (pool,) = pools_of(item, gpu_pool(selector={"rack": "a"}, product=SLICE))
    assert (pool.key.product, pool.key.sharing, pool.key.sharing_replicas) == (SLICE, "mig", 1)
    assert pool.key.usable_memory_bytes == 20 * GB
    assert pool.key.compute_capability == (8, 0)
    (said,) = pools_of(item, gpu_pool(selector={"rack": "a"}, product=SLICE, usableMemoryBytes="19Gi"))
    assert said.key.usable_memory_bytes == 19 << 30


def test_a_declared_slice_is_a_slice_too() -> None:
    facts = pool_facts(parse_object(GPUPool, gpu_pool(declared=True, product=SLICE, gpusPerNode=2, maxNodes=1)))
    assert (facts.sharing, facts.usable_memory_bytes) == ("mig", 20 * GB)


def test_a_slice_has_at_most_what_its_profile_names_and_never_more_than_the_card() -> None:
    assert usable_by_product("NVIDIA-H100-80GB-HBM3-MIG-1c.3g.40gb") == (40 * GB, False)
    assert usable_by_product("NVIDIA-A100-SXM4-40GB-MIG-7g.80gb") == (0, False)
    assert usable_by_product("NVIDIA-Unheard-Of-MIG-1g.10gb") == (0, False)
    # Of a small profile that nobody has measured: five sixths, which is what the worst of the others has.
    assert usable_by_product("NVIDIA-A30-MIG-2g.12gb") == (10 << 30, False)


def test_the_bound_of_a_small_slice_is_below_every_slice_that_was_seen() -> None:
    for profile, mib in _profiles().items():
        gigabytes = int(profile.partition(".")[2].removesuffix("gb"))
        assert gigabytes << 10 >= mib >= (gigabytes << 10) * 5 // 6, profile
