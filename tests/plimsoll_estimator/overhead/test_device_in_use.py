"""What is in use on the card beside the engine's own memory: before its first snapshot, and in the driver for captured graphs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.overhead_models import model

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.explain import explanation_lines
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.overhead.startup import check_after_cache
from plimsoll_estimator.prepared import Prepared
from plimsoll_estimator.resolved import Gpu

GIB = 1 << 30
A100, L40S, A10 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-L40S", "NVIDIA-A10"
QWEN3_8B = model(architectures=["Qwen3ForCausalLM"], model_type="qwen3", num_hidden_layers=36, vocab_size=151936, tie_word_embeddings=False)
QWEN3_30B = model(
    architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768,
    num_hidden_layers=48, num_attention_heads=32, num_key_value_heads=4, vocab_size=151936, num_experts=128, num_experts_per_tok=8,
    norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], max_position_embeddings=40960,
)  # fmt: skip


def start(config: dict[str, Any], version: str, gpu: Gpu, **arguments: Any) -> Prepared:
    found = prepare(HfConfig(config), EngineArgs(**arguments), gpu, EngineVersion.parse(version))
    assert isinstance(found, Prepared)
    return found


def room(found: Prepared) -> int:
    return found.estimate().ranks[0].available_kv_cache_bytes


@pytest.mark.parametrize(("version", "counted"), [("0.8.0", True), ("0.8.5", True), ("0.9.0.1", True), ("0.9.1", False), ("0.19.1", False)])
def test_up_to_0_9_0_the_budget_pays_for_what_others_hold_on_the_card(version: str, counted: bool) -> None:
    # v1/worker/gpu_worker.py: determine_available_memory: total_allocated_bytes = total - free, of the whole device; from 0.9.1 on
    # memory_profiling subtracts the first snapshot. A trainer that holds 6 GiB costs 6 GiB of cache in the first, none in the second.
    alone = gpu_from(A100, free_memory_bytes=78 * GIB)
    beside = gpu_from(A100, free_memory_bytes=72 * GIB)
    arguments = {"max_model_len": 4096, "gpu_memory_utilization": 0.5}
    cost = room(start(model(), version, alone, **arguments)) - room(start(model(), version, beside, **arguments))
    assert cost == (6 * GIB if counted else 0)


def test_contexts_that_the_budget_paid_for_are_not_paid_for_again_after_the_cache() -> None:
    # total - (total x share - before) - before: what is left outside the share is the same however much was in use before.
    found = [start(model(), "0.8.5", gpu_from(A100, free_memory_bytes=free * GIB), max_model_len=4096) for free in (79, 70)]
    verdicts = []
    for prepared in found:
        overhead, gpu = prepared.overheads[0], prepared.resolved.gpu
        assert gpu.free_memory_bytes is not None
        assert overhead.before_bytes == gpu.total_memory_bytes - gpu.free_memory_bytes
        assert overhead.grown_bytes == overhead.non_torch_bytes - overhead.before_bytes > 0
        outside = overhead.cuda_graph_pool_bytes + overhead.warm_up_bytes + GIB - overhead.freed_bytes
        budget = gpu.total_memory_bytes - outside
        verdicts.append(check_after_cache(prepared.resolved, gpu.free_memory_bytes, prepared.stages[0], overhead, budget))
    assert verdicts == [None, None]


def test_the_explanation_says_that_the_whole_card_is_counted() -> None:
    told = "\n".join(explanation_lines(HfConfig(model()), start(model(), "0.8.5", gpu_from(A100), max_model_len=4096).estimate()))
    assert "in use before the engine" in told
    assert "up to 0.9.0 the profile run counts all that is in use on the device" in told


@pytest.mark.parametrize(
    ("version", "logged_gib"),
    [
        # public-file-index 58028398527 and 57978845466: an A100 of 40 GB under driver 535.247.01.
        pytest.param("0.9.2", 2.24, id="67 sizes in pieces"),
        pytest.param("0.19.1", 2.44, id="51 in pieces and 35 whole"),
    ],
)
def test_a_driver_below_550_keeps_more_for_each_captured_graph(version: str, logged_gib: float) -> None:
    old, new, unsaid = (
        start(QWEN3_8B, version, gpu_from("NVIDIA-A100-SXM4-40GB", driver_major=driver)).overheads[0].cuda_graph_pool_bytes / GIB
        for driver in (535, 550, None)
    )
    assert old == pytest.approx(logged_gib, rel=0.1)
    assert new == unsaid < old / 3


def test_the_estimate_that_a_release_deducts_grows_with_the_driver_too() -> None:
    # 0.19.1 prints 2.35 GiB for what it then captures in 2.44; from 0.20 on it takes that off the budget.
    old, new = (start(QWEN3_8B, "0.20.0", gpu_from(A100, driver_major=driver)).overheads[0].cuda_graph_bytes / GIB for driver in (535, 550))
    assert old / new == pytest.approx(3.6, abs=0.01)


@pytest.mark.parametrize(("driver", "verdict"), [(535, "refused"), (550, "starts")])
def test_four_a10s_captured_an_expert_models_graphs_once_their_driver_was_new(driver: int, verdict: str) -> None:
    # github.com/vllm-project/vllm/issues/17469: out of memory with one sequence; its author in 17462: solved "from 535 to 550".
    cards = gpu_from(A10, interconnect="pcie", driver_major=driver)
    found = start(QWEN3_30B, "0.8.5", cards, tensor_parallel_size=4, max_model_len=1024, max_num_seqs=1)
    assert found.estimate().verdict == verdict


@pytest.mark.parametrize(("version", "apart"), [("0.10.2", False), ("0.21.0", True)])
def test_pieces_alone_cost_less_where_whole_graphs_are_captured_beside_them(version: str, apart: bool) -> None:
    # config/vllm.py: "Pooling models do not support full cudagraphs": 51 pieces are captured there, and 35 whole graphs beside them else.
    generating, pooling = (start(model(), version, gpu_from(L40S), runner=runner).overheads[0] for runner in ("generate", "pooling"))
    share = 51 / 86 if apart else 1
    assert pooling.cuda_graph_pool_bytes == pytest.approx(generating.cuda_graph_pool_bytes * share, rel=0.001)
    assert pooling.cuda_graph_bytes == pytest.approx(generating.cuda_graph_bytes * share, rel=0.001)
