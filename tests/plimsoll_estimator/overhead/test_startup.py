"""What stops a start before its cache is sized, and what the engine measures of others' memory."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.overhead_models import QWEN3_NEXT, model

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.overhead import doubt_of, outside_budget
from plimsoll_estimator.overhead.activation import timed_bytes
from plimsoll_estimator.overhead.communication import free_at_start_bytes, non_torch_bytes
from plimsoll_estimator.overhead.persistent import persistent_bytes
from plimsoll_estimator.overhead.startup import Refusal, check_after_cache, check_graph_profiling, scratch_bytes
from plimsoll_estimator.prepared import Prepared

GIB = 1 << 30
H200, H100, GB10, L40S = "NVIDIA-H200", "NVIDIA-H100-80GB-HBM3", "NVIDIA-GB10", "NVIDIA-L40S"
QWEN3_VL = model(
    architectures=["Qwen3VLForConditionalGeneration"],
    model_type="qwen3_vl",
    vision_config={
        "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16, "temporal_patch_size": 2,
        "spatial_merge_size": 2, "out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24], "num_position_embeddings": 2304,
    },
)  # fmt: skip


def start(config: dict[str, Any], version: str, product: str = H200, **arguments: Any) -> Prepared:
    found = prepare(HfConfig(config), EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(version))
    assert isinstance(found, Prepared)
    return found


def buffers_of(found: Prepared) -> int:
    return persistent_bytes(found.widths, found.resolved, last=True)


def profiled(found: Prepared, free: int) -> Refusal | None:
    assert not isinstance(found.layout, Refusal)
    return check_graph_profiling(found.resolved, free, found.stages[0], found.overheads[0], found.layout.kv_block_bytes[0])


@pytest.mark.parametrize(("version", "blocks"), [("0.19.1", 512), ("0.25.1", 512), ("0.26.0", 256), ("0.28.0", 256)])
def test_graphs_are_captured_on_trial_in_a_cache_of_some_blocks(version: str, blocks: int) -> None:
    # v1/worker/gpu_model_runner.py: _init_minimal_kv_cache_for_profiling. Two reports of a 5090 die there with 256 sequences.
    found = start(QWEN3_NEXT, version, tensor_parallel_size=4, max_num_seqs=256)
    assert not isinstance(found.layout, Refusal)
    overhead = found.overheads[0]
    taken = found.stages[0].loaded_bytes + overhead.non_torch_bytes + overhead.kept_bytes + overhead.uncounted_bytes
    needed = blocks * found.layout.kv_block_bytes[0]
    assert needed > GIB // 2, "states of whole sequences"
    assert profiled(found, taken + needed) is None
    refused = profiled(found, taken + needed - 1)
    assert refused is not None
    assert refused.reason == "OutOfMemoryGraphProfiling"
    assert f"{blocks} blocks" in refused.message


@pytest.mark.parametrize(
    ("version", "arguments"),
    [
        ("0.17.1", {}),
        ("0.28.0", {"enforce_eager": True}),
        ("0.28.0", {"kv_cache_memory_bytes": GIB}),
        ("0.25.1", {"cudagraph_mode": "none"}),
    ],
)
def test_nothing_is_captured_on_trial_by_older_releases_or_without_a_profile_run(version: str, arguments: dict[str, Any]) -> None:
    assert profiled(start(QWEN3_NEXT, version, tensor_parallel_size=4, **arguments), 0) is None


def test_pieces_alone_are_captured_on_trial_all_the_same() -> None:
    # v1/worker/gpu_worker.py of 0.25.1: "cudagraph_mode != CUDAGraphMode.NONE".
    assert profiled(start(QWEN3_NEXT, "0.25.1", tensor_parallel_size=4, cudagraph_mode="piecewise"), 0) is not None


@pytest.mark.parametrize("version", ["0.19.1", "0.25.1", "0.32.0"])
def test_without_graphs_none_are_paid_for(version: str) -> None:
    # config/vllm.py: _set_cudagraph_sizes, "no cudagraph in use": max_cudagraph_capture_size is 0.
    found = start(QWEN3_NEXT, version, tensor_parallel_size=4, cudagraph_mode="none", max_cudagraph_capture_size=64)
    assert found.resolved.max_cudagraph_capture_size == 0
    assert (found.overheads[0].cuda_graph_bytes, found.overheads[0].cuda_graph_pool_bytes) == (0, 0)


def test_a_start_that_dies_there_is_refused_before_its_cache_is_planned() -> None:
    found = start(QWEN3_NEXT, "0.28.0", H100, tensor_parallel_size=2, max_num_seqs=512)
    answer = found.estimate()
    assert (answer.verdict, answer.reason) == ("refused", "OutOfMemoryGraphProfiling")
    assert profiled(found, free_at_start_bytes(found.resolved)) is not None


def test_a_host_that_shares_its_memory_with_the_gpu_takes_from_the_budget() -> None:
    # utils/mem_utils.py: MemorySnapshot reads psutil's free memory there, so what any process takes meanwhile is the engine's.
    own, shared = start(model(), "0.28.0", L40S, compile_cache="warm"), start(model(), "0.28.0", GB10, compile_cache="warm")
    assert 0.9 * GIB - 1 <= non_torch_bytes(shared.widths, shared.resolved) - non_torch_bytes(own.widths, own.resolved) < 1.2 * GIB
    assert doubt_of(shared.widths, shared.resolved).below - doubt_of(own.widths, own.resolved).below == int(2.6 * GIB)


def test_the_v1_runner_embeds_outside_the_compiled_graph_where_items_are_mixed_in() -> None:
    # v1/worker/gpu_model_runner.py: _dummy_run hands inputs_embeds over, so no embedding is copied while kernels are timed.
    seeing, silent = start(QWEN3_VL, "0.22.0"), start(QWEN3_VL, "0.22.0", limit_mm_per_prompt={"image": 0, "video": 0})
    assert not seeing.resolved.uses_v2_model_runner
    assert timed_bytes(seeing.widths, seeing.resolved) == seeing.resolved.max_num_batched_tokens * 4096 * 2
    assert timed_bytes(silent.widths, silent.resolved) > GIB


def test_buffers_made_beside_the_weights_are_budgeted_from_0_27_on() -> None:
    # utils/mem_utils.py: until 0.26 the budget knew weights, the profile run's peak and what is outside PyTorch, and so left them out.
    qwen3 = model(architectures=["Qwen3ForCausalLM"])
    before, since = (start(qwen3, version).overheads[0] for version in ("0.26.0", "0.27.0"))
    buffers = buffers_of(start(qwen3, "0.26.0"))
    assert (before.uncounted_bytes, since.uncounted_bytes) == (buffers, 0)
    assert since.non_torch_bytes - before.non_torch_bytes == buffers > GIB // 2
    assert start(model(), "0.19.0").overheads[0].uncounted_bytes == 0, "the V1 runner keeps its sampler on the host"
    new = start(QWEN3_NEXT, "0.27.0", tensor_parallel_size=4)
    assert not new.resolved.uses_v2_model_runner
    assert buffers_of(new) == new.resolved.max_num_batched_tokens * 2048 * 2, "the embeddings of a step"


def test_buffers_that_the_budget_leaves_out_take_from_what_is_left_after_the_cache() -> None:
    found = start(model(architectures=["Qwen3ForCausalLM"]), "0.25.1")
    resolved, overhead, weights = found.resolved, found.overheads[0], found.stages[0]
    free = resolved.gpu.total_memory_bytes
    needed = overhead.cuda_graph_pool_bytes + scratch_bytes(resolved) + overhead.warm_up_bytes
    budget = free - needed + overhead.freed_bytes + overhead.cuda_graph_bytes - overhead.uncounted_bytes
    assert overhead.uncounted_bytes > 0
    assert check_after_cache(resolved, free, weights, overhead, budget) is None
    assert check_after_cache(resolved, free, weights, overhead, budget + 1) is not None
    counted = overhead._replace(uncounted_bytes=0)
    without = outside_budget(resolved, counted).post_kv_bytes
    assert outside_budget(resolved, overhead).post_kv_bytes == without + overhead.uncounted_bytes
