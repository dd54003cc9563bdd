"""GPUPool objects: what is written is what is read, and what users correct or declare counts."""

import copy
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import Files, admitted, planned, refused, verdict
from tests.plimsoll_operator.nodes import H100, L4, T4, gpu_node, status_of

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.capacity import CapacityIndex, DerivedPool, pool_facts, pool_manifest
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest

STRANGE = gpu_node("odd", "NVIDIA-L4", 4, 23034)
STRANGE["status"]["allocatable"]["nvidia.com/gpu"] = "6"


def pools(*nodes: Manifest) -> tuple[DerivedPool, ...]:
    index = CapacityIndex()
    for item in nodes:
        index.node_event("ADDED", item)
    return index.pools()


def user_pool(name: str = "mine", **spec: Any) -> GPUPool:
    return parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": name}, "spec": spec})


@pytest.mark.parametrize("item", [H100, L4, T4, STRANGE], ids=lambda item: item["metadata"]["name"])
def test_a_written_pool_reads_back(item: Manifest) -> None:
    (derived,) = pools(item)
    facts = pool_facts(parse_object(GPUPool, pool_manifest(derived)))
    key = derived.key
    assert (facts.name, facts.product, facts.usable_memory_bytes) == (derived.name, key.product, key.usable_memory_bytes)
    assert (facts.gpus_per_node, facts.nodes, facts.nodes_by_free_gpus) == (key.gpus_per_node, 1, derived.nodes_by_free_gpus)
    assert (facts.host_memory_bytes, facts.host_cpu_millis, facts.taints) == (key.host_memory_bytes, key.host_cpu_millis, key.taints)
    assert facts.trusted == (not key.excluded_for)
    assert len(facts.problems) == len(derived.problems)


def test_names_are_dns_labels_and_stable() -> None:
    (one,), (same,) = pools(L4), pools(L4)
    assert one.name == same.name
    assert one.name.replace("-", "").isalnum()
    assert len(one.name) <= 63


def corrected(item: Manifest, **spec: Any) -> Files:
    """The store with the one derived pool corrected by its name, as a user edits it."""
    store = Files(item)
    (derived,) = pools(item)
    written = pool_manifest(derived)
    store.pools = [parse_object(GPUPool, written | {"spec": spec})]
    return store


IS_L4 = {"product": "NVIDIA-L4", "usableMemoryBytes": "21Gi", "gpusPerNode": 4}
CORRECTIONS = [
    ("less memory than the table says", {"usableMemoryBytes": "15Gi"}, L4, "InsufficientGpuMemory"),
    ("an empty correction changes nothing", {}, L4, None),
    (
        "product and memory make a doubtful node trusted",
        {"product": "NVIDIA-L4", "usableMemoryBytes": "21Gi", "gpusPerNode": 4},
        STRANGE,
        None,
    ),
    ("memory alone does not", {"usableMemoryBytes": "21Gi"}, STRANGE, "NoMatchingPool"),
]


@pytest.mark.parametrize(("why", "spec", "item", "reason"), CORRECTIONS, ids=[row[0] for row in CORRECTIONS])
def test_users_correct_what_nodes_say(why: str, spec: Manifest, item: Manifest, reason: str | None) -> None:
    found = verdict(engine={"maxModelLen": 8192, "tensorParallelSize": 1}, store=corrected(item, **spec))
    assert getattr(found, "reason", None) == reason


def declared(**spec: Any) -> Files:
    store = Files()
    store.pools = [user_pool(**spec)]
    return store


DECLARED: Manifest = {"declared": True, "product": "NVIDIA-L4", "gpusPerNode": 4, "maxNodes": 3, "usableMemoryBytes": "21Gi"}


def test_a_declared_pool_is_planned_with_and_not_free() -> None:
    found = admitted(verdict(engine={"maxModelLen": 8192}, store=declared(**DECLARED)))
    assert (found.plan.pools, found.plan.available_now) == (("mine",), False)


def test_a_declared_pool_that_may_have_no_node_is_none() -> None:
    assert refused(verdict(engine={"maxModelLen": 8192}, store=declared(**DECLARED | {"maxNodes": 0}))).reason == "NoMatchingPool"


def test_a_cheaper_pool_by_declared_cost_is_preferred() -> None:
    store = Files(H100, L4)
    costs = {"NVIDIA-H100-80GB-HBM3": 1, "NVIDIA-L4": 5}
    store.pools = [
        pool.model_copy(update={"spec": pool.spec.model_copy(update={"cost": costs[str(status_of(pool).product)]})}) for pool in store.pools
    ]
    assert planned(verdict(engine={"maxModelLen": 8192}, store=store)).product == "NVIDIA-H100-80GB-HBM3"


HUGE = ["1Ei", "9223372036854775807", "1e30", "999999999999999999999", 1 << 62, "0", "-1", "x"]


@pytest.mark.parametrize("amount", HUGE)
@pytest.mark.parametrize("resource", ["cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"])
def test_whatever_a_node_says_of_itself_its_pool_can_be_written_and_no_other_suffers(resource: str, amount: str | int) -> None:
    odd = copy.deepcopy(gpu_node("odd", "Tesla-T4", 1, 15360))
    odd["status"]["allocatable"][resource] = amount
    derived = pools(odd, L4)
    assert len(derived) == 2
    for pool in derived:
        parse_object(GPUPool, pool_manifest(pool))


@pytest.mark.parametrize("amount", HUGE)
@pytest.mark.parametrize("resource", ["cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"])
def test_whatever_a_pod_asks_for_the_pools_can_be_written(resource: str, amount: str | int) -> None:
    index = CapacityIndex()
    index.node_event("ADDED", L4)
    for number in range(3):
        container = {"name": "c", "resources": {"requests": {resource: amount}, "limits": {resource: amount}}}
        metadata = {"namespace": "evil", "name": f"p{number}", "uid": f"u{number}"}
        spec = {"nodeName": "l4", "containers": [container]}
        index.pod_event("ADDED", {"metadata": metadata, "spec": spec, "status": {"phase": "Running"}})
    (pool,) = index.pools()
    read = parse_object(GPUPool, pool_manifest(pool))
    assert read.status is not None
    assert read.status.foreign_gpus <= read.status.total_gpus
