"""A mixed cluster and what twelve models must get on it, derived by hand; and the mistakes of others as cases.

Cluster: 8 H100-80 (79.2 GiB as CUDA has it, about 73.9 of them for the engine), 8 A100-40 (39.5 / 36), 4 L4 (22.0 / 20.3), and at zero
8 H200 (139.8 / 131). Not to be planned with: an A100 cut into MIG slices, time-sliced T4, MI300X, a node of two products.
"""

import pytest
from tests.plimsoll_operator.decision_world import H100, L4, LLAMA_8B, LLAMA_70B, T4, Files, deployment, node, verdict

from plimsoll_operator.api import API_VERSION, GPUPool, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.verdict import Admit, Reject

A100 = node("a100", "NVIDIA-A100-SXM4-40GB", 8, 40960)
H200_AT_ZERO = parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "karpenter-h200"}, "spec": {
    "declared": True, "product": "NVIDIA-H200", "gpusPerNode": 8, "maxNodes": 2, "usableMemoryBytes": 143165 << 20,
    "node": {"hostMemoryBytes": "1800Gi", "cpu": "190"}}})  # fmt: skip


def mixed():
    sliced = node(
        "t4", "Tesla-T4-SHARED", 1, 15360, labels={"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
    )
    sliced["status"]["allocatable"]["nvidia.com/gpu"] = "4"
    ambiguous = node("odd", "NVIDIA-L4", 4, 23034)
    ambiguous["status"]["allocatable"]["nvidia.com/gpu"] = "6"
    mig = node("mig", "NVIDIA-A100-SXM4-80GB", 0, 81920, labels={
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "nvidia.com/mig-1g.10gb.count": "56",
        "nvidia.com/mig-1g.10gb.memory": "9728"})  # fmt: skip
    mig["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "56"
    amd = node("mi300x", "x", 0, 0)
    amd["metadata"]["labels"] = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}
    amd["status"]["allocatable"] |= {"amd.com/gpu": "8"}
    store = Files(H100, A100, L4, sliced, ambiguous, mig, amd)
    store.pools.append(H200_AT_ZERO)
    return store


MODELS = [  # model, GPU, tensor parallel size, free now, why: bf16 weights in GiB unless said otherwise
    ("Qwen/Qwen2.5-0.5B", "NVIDIA-L4", 1, True, "0.9: the cheapest GPU"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "NVIDIA-L4", 1, True, "13.5 and 1.0 of cache: one L4"),
    (LLAMA_8B, "NVIDIA-L4", 1, True, "15.0 and 1.0 of cache: one L4"),
    ("Qwen/Qwen3-14B", "NVIDIA-A100-SXM4-40GB", 1, True, "27.5: above an L4, below an A100"),
    ("google/gemma-2-27b-it", "NVIDIA-H100-80GB-HBM3", 1, True, "50.7: one H100 rather than two A100"),
    ("Qwen/Qwen3-30B-A3B", "NVIDIA-H100-80GB-HBM3", 1, True, "56.9: all experts stay in memory"),
    ("Qwen/Qwen3-32B", "NVIDIA-H100-80GB-HBM3", 1, True, "61.0: one H100"),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", "NVIDIA-H100-80GB-HBM3", 2, True, "87: two H100; half is above an A100"),
    (LLAMA_70B, "NVIDIA-H100-80GB-HBM3", 2, True, "131: 65.7 on each of two H100"),
    ("meta-llama/Llama-3.1-405B", "NVIDIA-H200", 8, False, "756: an eighth is above an H100, so the pool at zero"),
    ("deepseek-ai/DeepSeek-V3", "NVIDIA-H200", 8, False, "641 in fp8: an eighth is above an H100, so the pool at zero"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "product", "tp", "free", "why"), MODELS, ids=[row[0] for row in MODELS])
def test_each_model_gets_what_was_derived_by_hand(model, product, tp, free, why):
    found = verdict(model, engine={"maxModelLen": 8192}, store=mixed())
    assert isinstance(found, Admit), found
    plan = found.plan
    assert (plan.product, plan.tensor_parallel_size, plan.available_now) == (product, tp, free), why


def test_the_twelfth_is_not_known():
    assert verdict("acme/in-house-13b", store=mixed()).reason == "UnknownModel"


def test_every_pool_that_is_not_planned_with_says_why():
    nowhere = verdict(LLAMA_70B, placement={"gpuProducts": ["NVIDIA-GB200"]}, store=mixed())
    shared = ["Tesla-T4", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"]
    refused = verdict(LLAMA_8B, placement={"gpuProducts": shared}, store=mixed())
    text = " ".join(nowhere.details + refused.details)
    for word in ("VendorUnsupported", "MixedProducts", "shares its GPUs (time-slicing)", "shares its GPUs (mig)"):
        assert word in text


# The mistakes of others, one case each.


def test_the_utilisation_that_was_judged_is_the_one_that_is_planned():
    plan = verdict(engine={"maxModelLen": 8192}).plan
    again = verdict(engine={"maxModelLen": 8192, "gpuMemoryUtilization": float(plan.gpu_memory_utilization)}).plan
    assert again.kv_cache_tokens == plan.kv_cache_tokens
    assert plan.allocated_bytes == plan.gpu_total_bytes * int(plan.gpu_memory_utilization[2:]) // 1000


def test_kv_heads_are_replicated_beyond_their_number():
    per_rank = [verdict("Qwen/Qwen2.5-1.5B-Instruct", engine={"maxModelLen": 8192, "tensorParallelSize": tp}).plan for tp in (2, 4)]
    assert per_rank[0].kv_cache_needed_bytes == per_rank[1].kv_cache_needed_bytes


def test_an_fp8_cache_is_costed_and_planned_as_fp8():
    half, full = (verdict(engine={"maxModelLen": 8192, "kvCacheDtype": kind}).plan for kind in ("fp8", "auto"))
    assert half.kv_cache_needed_bytes * 2 == full.kv_cache_needed_bytes
    assert half.kv_cache_dtype.startswith("fp8")


def test_an_unknown_size_never_means_it_fits():
    nameless = node("n", "NVIDIA-Z9000", 8, 81559)
    del nameless["metadata"]["labels"]["nvidia.com/gpu.memory"]
    assert verdict(store=Files(nameless)).reason == "NoMatchingPool"


def test_divisibility_is_the_engine_s_and_no_stricter():
    assert verdict("Qwen/Qwen3-14B", engine={"tensorParallelSize": 5, "maxModelLen": 8192}).reason == "EngineRefuses"
    assert isinstance(verdict("Qwen/Qwen3-14B", engine={"tensorParallelSize": 8, "maxModelLen": 8192}), Admit)


def test_memory_is_what_cuda_reports_not_the_nominal_figure():
    plan = verdict(LLAMA_70B, engine={"maxModelLen": 8192}).plan
    assert plan.gpu_total_bytes < 79.5 * 2**30


def test_activation_of_a_rank_does_not_grow_with_tensor_parallelism():
    one, two = (verdict(engine={"maxModelLen": 8192, "tensorParallelSize": tp}, store=Files(H100)).plan for tp in (1, 2))
    assert two.predicted.activation_bytes <= one.predicted.activation_bytes


def test_the_cache_of_a_token_is_divided_by_pipeline_stages():
    one, two = (
        verdict(engine={"maxModelLen": 8192, "tensorParallelSize": 1, "pipelineParallelSize": pp}, store=Files(H100)).plan for pp in (1, 2)
    )
    assert two.kv_cache_needed_bytes * 2 == one.kv_cache_needed_bytes
    assert two.gpus_per_replica == 2


def test_two_models_get_two_node_types_in_one_cluster():
    small, large = (verdict(model, engine={"maxModelLen": 8192}).plan.product for model in (LLAMA_8B, LLAMA_70B))
    assert small != large


def test_gpu_memory_and_host_memory_are_not_compared_with_one_another():
    poor_host = node("p", "NVIDIA-H100-80GB-HBM3", 8, 81559, host="6Gi")
    poor_gpu = node("g", "Tesla-T4", 1, 15360, host="2000Gi")
    wish = {"engine": {"maxModelLen": 8192}}
    assert verdict(**wish, store=Files(poor_host)).reason == "HostMemory"
    assert verdict("Qwen/Qwen3-14B", **wish, store=Files(poor_gpu)).reason == "InsufficientGpuMemory"


def test_a_small_card_in_the_fleet_does_not_change_what_large_ones_hold():
    with_t4, without = (verdict(LLAMA_70B, engine={"maxModelLen": 8192}, store=Files(*nodes)) for nodes in ((H100, T4), (H100,)))
    assert with_t4 == without


def test_what_lives_outside_the_budget_is_left_free():
    pinned = {"maxModelLen": 8192, "gpuMemoryUtilization": 0.99}
    found = verdict(engine=pinned, placement={"gpuProducts": ["NVIDIA-L4"]})
    assert isinstance(found, Reject)
    assert found.component == "outsideBudget"
    facts = facts_for(deployment(engine={"maxModelLen": 8192}, fit={"reserveBytes": "2Gi"}), Files(L4), applied_plan=None)
    reserved = decide(facts).plan
    assert reserved.gpu_total_bytes - reserved.allocated_bytes > 2 << 30
