"""Twelve mistakes that other tools for sizing and placing models have made, each as a test that Plimsoll does not make it.

In order: (1) an estimator that budgets another utilisation than the one emitted; (2) a KV cache divided by more GPUs than there are
KV heads, or divided at all for latent attention; (3) a cache or weights costed in another type than the one that runs; (4) an
unknown size taken for zero; (5) divisibility by a raw vocabulary, or none at all; (6) nominal memory; (7) activations multiplied
instead of divided over GPUs; (8) a token's cache not divided by pipeline stages; (9) one GPU type chosen for the whole cluster;
(10) GPU memory compared with host memory; (11) one memory size for all devices of a fleet; (12) a budget that leaves nothing for
what lives outside it.
"""

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, deployment, planned, refused, verdict
from tests.plimsoll_operator.nodes import H100, L4, T4, gpu_node

from plimsoll_operator import render
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Reject, Undecided

GIB = 1 << 30
A10G = gpu_node("a10g", "NVIDIA-A10G", 4, 23028)
SHORT = {"maxModelLen": 8192}
T4_FREE = gpu_node("t4", "Tesla-T4", 4, 15360)


@pytest.mark.parametrize("item", [A10G, L4, H100], ids=lambda item: item["metadata"]["name"])
def test_1_the_utilisation_that_was_judged_is_the_one_in_plan_budget_and_pod(item: Manifest) -> None:
    store = Files(item)
    plan = planned(verdict(engine=SHORT, store=store))
    again = planned(verdict(engine={**SHORT, "gpuMemoryUtilization": float(plan.gpu_memory_utilization)}, store=store))
    assert again.kv_cache_tokens == plan.kv_cache_tokens
    assert plan.allocated_bytes == plan.gpu_total_bytes * int(plan.gpu_memory_utilization[2:]) // 1000
    arguments = " ".join(render.serve_arguments(deployment(engine=SHORT), plan)).replace("=", " ").split()
    assert arguments[arguments.index("--gpu-memory-utilization") + 1] == plan.gpu_memory_utilization


def test_2_kv_heads_are_replicated_beyond_their_number_and_latents_on_every_gpu() -> None:
    def cache(model: str, tp: int) -> int:
        return planned(verdict(model, engine={**SHORT, "tensorParallelSize": tp})).kv_cache_needed_bytes

    # Two KV heads: halved once, by two GPUs, and not by four.
    one, two, four = (cache("Qwen/Qwen2.5-1.5B-Instruct", tp) for tp in (1, 2, 4))
    assert (one, two) == (2 * two, four)
    # Latent attention has no heads to divide.
    assert cache("deepseek-ai/DeepSeek-V2-Lite", 1) == cache("deepseek-ai/DeepSeek-V2-Lite", 2)


def test_3_cache_and_weights_are_costed_in_the_type_that_runs() -> None:
    half, full = (planned(verdict(engine={**SHORT, "kvCacheDtype": kind})) for kind in ("fp8", "auto"))
    assert half.kv_cache_needed_bytes * 2 == full.kv_cache_needed_bytes
    assert half.kv_cache_dtype.startswith("fp8")
    wish: Manifest = {"placement": {"gpuProducts": ["NVIDIA-H100-80GB-HBM3"]}}
    plain, quantised, single = (
        planned(verdict(engine={**SHORT, **kind}, **wish)).predicted.weights_bytes
        for kind in ({}, {"quantization": "fp8"}, {"dtype": "float32"})
    )
    assert quantised < plain * 0.65
    assert single == pytest.approx(2 * plain, rel=0.01)


def test_4_an_unknown_size_never_means_that_it_fits() -> None:
    nameless = gpu_node("n", "NVIDIA-Z9000", 8, 81559)
    del nameless["metadata"]["labels"]["nvidia.com/gpu.memory"]
    assert isinstance(verdict(store=Files(nameless)), Reject)
    assert isinstance(verdict("acme/nobody-has-read-this"), Undecided)


def test_5_divisibility_is_the_engine_s_and_no_stricter() -> None:
    # 40 heads and a vocabulary of 151936 are not divisible by 5 together: vLLM refuses.
    assert refused(verdict("Qwen/Qwen3-14B", engine={"tensorParallelSize": 5, **SHORT})).reason == "EngineRefuses"
    # 49159 words are odd; vLLM pads them to a multiple of 64.
    assert isinstance(verdict("ibm-granite/granite-3.3-8b-instruct", engine={"tensorParallelSize": 2, **SHORT}), Admit)


def test_6_memory_is_what_cuda_reports_not_the_nominal_figure() -> None:
    h200 = gpu_node("h200", "NVIDIA-H200", 8, 143771)
    totals = {item["metadata"]["name"]: planned(verdict(engine=SHORT, store=Files(item))).gpu_total_bytes for item in (H100, h200, T4_FREE)}
    assert totals["h100"] < 79.5 * GIB
    assert totals["h200"] < 139.9 * GIB < 141 * GIB
    assert totals["t4"] < 14.6 * GIB


def test_7_activations_of_a_rank_do_not_grow_with_tensor_parallelism() -> None:
    one, two = (planned(verdict(engine={**SHORT, "tensorParallelSize": tp}, store=Files(H100))) for tp in (1, 2))
    assert two.predicted.activation_bytes <= one.predicted.activation_bytes


def test_8_the_cache_of_a_token_is_divided_by_pipeline_stages() -> None:
    one, two = (planned(verdict(engine={**SHORT, "tensorParallelSize": 1, "pipelineParallelSize": pp}, store=Files(H100))) for pp in (1, 2))
    assert two.kv_cache_needed_bytes * 2 == one.kv_cache_needed_bytes
    assert two.gpus_per_replica == 2


def test_9_two_models_get_two_gpu_types_in_one_cluster() -> None:
    small, large = (planned(verdict(model, engine=SHORT)).product for model in (LLAMA_8B, LLAMA_70B))
    assert (small, large) == ("NVIDIA-L4", "NVIDIA-H100-80GB-HBM3")


def test_10_gpu_memory_and_host_memory_are_not_compared_with_one_another() -> None:
    poor_host = gpu_node("p", "NVIDIA-H100-80GB-HBM3", 8, 81559, host="6Gi")
    poor_gpu = gpu_node("g", "Tesla-T4", 1, 15360, host="2000Gi")
    assert refused(verdict(engine=SHORT, store=Files(poor_host))).reason == "HostMemory"
    assert refused(verdict("Qwen/Qwen3-14B", engine=SHORT, store=Files(poor_gpu))).reason == "InsufficientGpuMemory"


def test_11_a_small_card_in_the_fleet_does_not_change_what_large_ones_hold() -> None:
    with_t4, without = (verdict(LLAMA_70B, engine=SHORT, store=Files(*nodes)) for nodes in ((H100, T4), (H100,)))
    assert with_t4 == without


def test_12_what_lives_outside_the_budget_is_left_free() -> None:
    found = verdict(engine={**SHORT, "gpuMemoryUtilization": 0.99}, placement={"gpuProducts": ["NVIDIA-L4"]})
    assert isinstance(found, Reject)
    assert found.component == "outsideBudget"
    reserved = planned(decide(facts_for(deployment(engine=SHORT, fit={"reserveBytes": "2Gi"}), Files(L4), applied_plan=None)))
    assert reserved.gpu_total_bytes - reserved.allocated_bytes > 2 << 30
