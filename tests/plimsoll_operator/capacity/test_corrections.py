"""GPUPools with a selector: what an administrator says of nodes, over what their labels say; and nodes that two GPUPools select."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, planned, undecided, verdict
from tests.plimsoll_operator.nodes import H100, L4, gpu_node

from plimsoll_operator.api import ApiError, GPUPool, parse_object
from plimsoll_operator.capacity import CapacityIndex, corrections_of, is_offer, pool_facts, pool_manifest, selection_status
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest

GIB = 1 << 30
ODD = gpu_node("odd", "NVIDIA-L4", 4, 23034, labels={"rack": "a"})
ODD["status"]["allocatable"]["nvidia.com/gpu"] = "6"
BARE = gpu_node("bare", "x", 4, 0, labels={"rack": "a"})
for key in ("product", "count", "memory"):
    del BARE["metadata"]["labels"][f"nvidia.com/gpu.{key}"]
BYTES = gpu_node("bytes", "NVIDIA-L4", 4, 23034 << 20, labels={"rack": "a"})
GOOD = gpu_node("good", "NVIDIA-L4", 4, 23034, labels={"rack": "a"})
NONE = gpu_node("none", "NVIDIA-L4", 4, 23034, labels={"rack": "a"})
NONE["status"]["allocatable"]["nvidia.com/gpu"] = "0"


def gpu_pool(name: str = "mine", **spec: Any) -> GPUPool:
    return parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": name}, "spec": spec})


def index_of(*nodes: Manifest, pools: Sequence[GPUPool] = ()) -> CapacityIndex:
    index = CapacityIndex(corrections=corrections_of(pools))
    for item in nodes:
        index.node_event("ADDED", item)
    return index


RACK_A: Manifest = {"selector": {"rack": "a"}}
CORRECTIONS = [  # why, node, what is said, product, GiB or None, GPUs, problems that remain and exclude, sentences
    ("product and memory settle a node of two products", ODD, {"product": "NVIDIA-L4", "usableMemoryBytes": "21Gi"}, "NVIDIA-L4", 21, 4,
     set(), {"GPUPool mine overrules MixedProducts"}),
    ("the product alone does not", ODD, {"product": "NVIDIA-L4"}, "NVIDIA-L4", 22.03, 4, {"MixedProducts"}, set()),
    ("a node without labels is what it is said to be", BARE, {"product": "NVIDIA-L4"}, "NVIDIA-L4", 22.03, 4, set(),
     {"GPUPool mine overrules NoProduct"}),
    ("an unknown product needs its memory said", BARE, {"product": "ACME-1"}, "ACME-1", None, 4, {"MemoryUnknown"},
     {"GPUPool mine overrules NoProduct"}),
    ("memory settles a label of bytes", BYTES, {"usableMemoryBytes": "22Gi"}, "NVIDIA-L4", 22, 4, set(),
     {"GPUPool mine overrules MemoryAbsurd"}),
    ("less memory than CUDA reports is no disagreement", GOOD, {"usableMemoryBytes": "20Gi"}, "NVIDIA-L4", 20, 4, set(), set()),
    ("more memory than CUDA reports is one", GOOD, {"usableMemoryBytes": "24Gi"}, "NVIDIA-L4", 24, 4, set(),
     {"GPUPool mine says 24.00 GiB, GpuFeatureDiscovery says 22.03 GiB"}),
    ("another product than the label's is one", GOOD, {"product": "NVIDIA-L40S"}, "NVIDIA-L40S", 44.4, 4, set(),
     {"GPUPool mine says NVIDIA-L40S, GpuFeatureDiscovery says NVIDIA-L4"}),
    ("fewer GPUs are handed out than the node has", GOOD, {"gpusPerNode": 2}, "NVIDIA-L4", 22.03, 2, set(), set()),
    ("more are not, whatever is said", GOOD, {"gpusPerNode": 8}, "NVIDIA-L4", 22.03, 4, set(), set()),
    ("nothing makes GPUs that are not allocatable", NONE, {"product": "NVIDIA-L4", "usableMemoryBytes": "21Gi", "gpusPerNode": 4},
     "NVIDIA-L4", 21, 0, {"NoAllocatableGpus"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "item", "said", "product", "gib", "gpus", "excluded", "sentences"), CORRECTIONS, ids=[row[0] for row in CORRECTIONS]
)
def test_a_selector_corrects_the_nodes_it_selects_and_hides_nothing(
    why: str, item: Manifest, said: Manifest, product: str, gib: float | None, gpus: int, excluded: set[str], sentences: set[str]
) -> None:
    (pool,) = index_of(item, pools=[gpu_pool(**RACK_A, **said)]).pools()
    key = pool.key
    assert (key.product, key.usable_memory_bytes, key.gpus_per_node) == (product, int((gib or 0) * GIB), gpus)
    assert set(key.excluded_for) == excluded
    assert {row.detail for row in pool.problems if row.problem == "SourcesDisagree"} == sentences
    assert (key.source, key.corrected_by) == ("GPUPool", "mine")


def test_other_nodes_are_left_as_they_are() -> None:
    correction = gpu_pool(**RACK_A, usableMemoryBytes="20Gi")
    pools = index_of(GOOD, L4, pools=[correction]).pools()
    assert {(pool.key.corrected_by, pool.key.usable_memory_bytes // GIB) for pool in pools} == {("mine", 20), ("", 22)}


def test_a_correction_that_comes_changes_or_goes_walks_the_nodes_once() -> None:
    index = index_of(GOOD)
    before = index.pools()
    first = corrections_of([gpu_pool(**RACK_A, usableMemoryBytes="20Gi")])
    assert index.set_corrections(first)
    assert not index.set_corrections(first)
    assert index.pools()[0].key.usable_memory_bytes == 20 * GIB
    assert index.pools()[0].name != before[0].name
    assert index.set_corrections(())
    assert index.pools() == before
    assert index.selections() == ()


def test_a_node_that_several_gpu_pools_select_follows_none_of_them() -> None:
    both = [gpu_pool("one", **RACK_A, cost=1), gpu_pool("two", selector={"rack": "a"}, usableMemoryBytes="20Gi")]
    index = index_of(GOOD, L4, pools=both)
    excluded, fine = sorted(index.pools(), key=lambda pool: not pool.key.excluded_for)
    assert excluded.key.excluded_for == ("SeveralGpuPools",)
    assert (excluded.key.usable_memory_bytes, excluded.key.corrected_by) == (fine.key.usable_memory_bytes, "")
    for selection in index.selections():
        assert (selection.nodes, selection.trusted, selection.free_gpus) == (1, False, 0)
        assert "GPUPools one, two" in selection.problems[0].detail


def test_a_gpu_pool_is_told_what_it_selects() -> None:
    index = index_of(ODD, GOOD, L4, pools=[gpu_pool(**RACK_A, product="NVIDIA-L4", usableMemoryBytes="21Gi")])
    index.pod_event("ADDED", {"metadata": {"uid": "u"}, "spec": {"nodeName": "good", "containers": [
        {"resources": {"limits": {"nvidia.com/gpu": "3"}}}]}, "status": {"phase": "Running"}})  # fmt: skip
    (selection,) = index.selections()
    status = selection_status(selection, gpu_pool(**RACK_A, product="NVIDIA-L4", usableMemoryBytes="21Gi").spec)
    assert (status["nodes"], status["totalGpus"], status["freeGpus"], status["trusted"]) == (2, 8, 5, True)
    assert status["problems"] == ["SourcesDisagree: GPUPool mine overrules MixedProducts (1 of 2 nodes)"]


def test_a_node_of_several_groups_is_one_node() -> None:
    mig = gpu_node("mig", "NVIDIA-A100-SXM4-40GB", 2, 40960, labels={
        "rack": "a", "nvidia.com/gpu.count": "3", "nvidia.com/mig-1g.5gb.count": "4",
        "nvidia.com/mig-1g.5gb.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "nvidia.com/mig-1g.5gb.memory": "4864"})  # fmt: skip
    mig["status"]["allocatable"]["nvidia.com/mig-1g.5gb"] = "4"
    index = index_of(mig, pools=[gpu_pool(**RACK_A, usableMemoryBytes="30Gi")])
    (selection,) = index.selections()
    assert (selection.nodes, selection.gpus) == (1, 6)
    # What is said is said of whole GPUs: the slices keep their own memory.
    assert {pool.key.usable_memory_bytes for pool in index.pools()} == {30 * GIB, 4864 << 20}
    index.node_event("DELETED", mig)
    assert index.selections()[0].nodes == 0


# What the decision makes of it


def store_of(*nodes: Manifest, pools: Sequence[GPUPool] = ()) -> Files:
    store = Files(*nodes)
    index = index_of(*nodes, pools=pools)
    store.pools = [*pools, *(parse_object(GPUPool, pool_manifest(pool)) for pool in index.pools())]
    return store


def test_plans_are_made_for_corrected_nodes_and_steered_by_the_selector() -> None:
    correction = gpu_pool(**RACK_A, product="NVIDIA-L4", usableMemoryBytes="21Gi", cost=7)
    plan = planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=store_of(ODD, pools=[correction])))
    # vLLM multiplies what the card has, 22.03 GiB, whatever is granted of it.
    assert (plan.product, plan.gpu_total_bytes, plan.available_now) == ("NVIDIA-L4", int(22.03 * GIB), True)
    assert plan.allocated_bytes < 21 * GIB
    assert plan.node_selectors == ((("rack", "a"),),)


def test_a_gpu_pool_that_only_corrects_offers_nothing_of_its_own() -> None:
    correction = gpu_pool(**RACK_A, product="NVIDIA-L4", usableMemoryBytes="21Gi", gpusPerNode=4)
    assert not is_offer(correction)
    assert undecided(verdict(LLAMA_8B, store=store_of(pools=[correction]))).reason == "NoCapacityKnown"


DECLARED: Manifest = {"declared": True, "product": "NVIDIA-L4", "gpusPerNode": 4, "maxNodes": 2, "usableMemoryBytes": "21Gi", **RACK_A}


@pytest.mark.parametrize(("nodes", "offered"), [(0, True), (1, True), (2, False), (3, False)])
def test_nodes_that_a_declared_pool_s_selector_selects_count_against_its_most(nodes: int, offered: bool) -> None:
    declared = gpu_pool(**DECLARED)
    facts = pool_facts(declared.model_copy(update={"status": parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool",
        "metadata": {"name": "x"}, "status": {"nodes": nodes}}).status}))  # fmt: skip
    assert (facts.declared, facts.nodes, facts.nodes_by_free_gpus) == (offered, 0, ())


def test_a_declared_pool_takes_its_memory_from_the_table_where_none_is_said() -> None:
    facts = pool_facts(gpu_pool(declared=True, product="NVIDIA-L4", gpusPerNode=4, maxNodes=2))
    assert facts.usable_memory_bytes == int(22.03 * GIB)
    assert pool_facts(gpu_pool(declared=True, product="ACME-1", gpusPerNode=4, maxNodes=2)).usable_memory_bytes == 0


def test_a_declared_pool_is_steered_to_by_what_its_nodes_will_be_labelled_with() -> None:
    labels = {"karpenter.k8s.aws/instance-gpu-name": "l4", "karpenter.sh/nodepool": "gpu"}
    declared = gpu_pool(declared=True, product="NVIDIA-L4", gpusPerNode=4, maxNodes=2, node={"labels": labels})
    plan = planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=store_of(pools=[declared])))
    assert (plan.available_now, plan.node_selectors) == (False, ((("karpenter.k8s.aws/instance-gpu-name", "l4"),),))
    plain = gpu_pool(declared=True, product="NVIDIA-L4", gpusPerNode=4, maxNodes=2)
    assert planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=store_of(pools=[plain]))).node_selectors == ()


def test_a_resource_can_be_declared_and_not_corrected() -> None:
    assert pool_facts(gpu_pool(declared=True, product="A", gpusPerNode=8, maxNodes=1, resource="amd.com/gpu")).vendor == "amd"
    with pytest.raises(ApiError, match="can only be declared"):
        gpu_pool(**RACK_A, resource="amd.com/gpu")


def test_of_two_clouds_one_plan_asks_for_either_label() -> None:
    gke = gpu_node(
        "gke", "x", 8, 0, labels={"cloud.google.com/gke-accelerator": "nvidia-h100-80gb", "cloud.google.com/gke-accelerator-count": "8"}
    )
    for key in ("product", "count", "memory"):
        del gke["metadata"]["labels"][f"nvidia.com/gpu.{key}"]
    plan = planned(
        verdict(LLAMA_8B, engine={"maxModelLen": 8192}, placement={"gpuProducts": ["NVIDIA-H100-80GB-HBM3"]}, store=store_of(H100, gke))
    )
    assert plan.node_selectors == (
        (("cloud.google.com/gke-accelerator", "nvidia-h100-80gb"),), (("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),))  # fmt: skip
    again = type(plan).from_json(plan.canonical_json())
    assert (again, again.digest) == (plan, plan.digest)


AMD_NODE = gpu_node("mi300x", "x", 0, 0)
AMD_NODE["metadata"]["labels"] = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}
AMD_NODE["status"]["allocatable"]["amd.com/gpu"] = "8"
VENDORS = [  # why, nodes, wish, reason (None: admitted)
    ("a cluster of AMD GPUs alone", [AMD_NODE], {}, "VendorUnsupported"),
    ("an AMD product that placement names", [AMD_NODE, H100], {"placement": {"gpuProducts": ["AMD_Instinct_MI300X_OAM"]}},
     "VendorUnsupported"),
    ("an image built for ROCm, also beside NVIDIA GPUs", [AMD_NODE, H100], {"image": "vllm/vllm-openai-rocm:v0.19.0"}, "VendorUnsupported"),
    ("an image built for TPUs", [H100], {"image": "vllm/vllm-tpu:v0.19.0", "engine": {"version": "0.19.0"}}, "VendorUnsupported"),
    ("NVIDIA GPUs beside AMD's are planned with", [AMD_NODE, H100], {}, None),
    ("what NVIDIA GPUs cannot hold is refused: the image is for them", [AMD_NODE, L4], {"engine": {"tensorParallelSize": 1,
        "maxModelLen": 131072}}, "InsufficientKvCache"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "nodes", "wish", "reason"), VENDORS, ids=[row[0] for row in VENDORS])
def test_of_a_vendor_without_rules_nothing_is_said_to_fit(why: str, nodes: list[Manifest], wish: Manifest, reason: str | None) -> None:
    engine = {"maxModelLen": 8192, **wish.get("engine", {})} | ({"image": wish["image"]} if "image" in wish else {})
    found = verdict(LLAMA_8B, engine=engine, placement=wish.get("placement", {}), store=Files(*nodes))
    assert getattr(found, "reason", None) == reason
    if reason == "VendorUnsupported":
        assert type(found).__name__ == "Undecided"
