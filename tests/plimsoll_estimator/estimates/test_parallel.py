"""Figures per rank of data, expert, pipeline and decode context parallel layouts, and of replicas that span nodes."""

from typing import Any

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import plan_kv_cache
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import Estimate, ResolvedArgs
from plimsoll_estimator.units import GIB
from plimsoll_estimator.weights import weights_per_stage

QWEN_MOE, LLAMA_8B, LLAMA_70B = "Qwen/Qwen3-30B-A3B", "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
# 48 layers of 128 experts of three matrices of 2048 x 768, two bytes each (Qwen3-30B-A3B's config.json).
QWEN_EXPERTS = 48 * 128 * 3 * 2048 * 768 * 2
QWEN_EXPERT_MAPS = 48 * 128 * 4
V19, V25, V33 = EngineVersion(0, 19, 0), EngineVersion(0, 25, 1), EngineVersion(0, 33, 0)


def config(name: str) -> HfConfig:
    entry = catalogue.entry(name)
    assert entry is not None
    return entry.config


def resolved(name: str, version: EngineVersion = V19, **args: Any) -> ResolvedArgs:
    return resolve(config(name), EngineArgs(**args), gpu_from("NVIDIA-H200"), version)


def created(name: str, version: EngineVersion = V19, **args: Any) -> int:
    return weights_per_stage(config(name), resolved(name, version, **args))[0].created_bytes


def estimated(name: str, version: EngineVersion = V19, gpu: str = "NVIDIA-H200", **args: Any) -> Estimate:
    return estimate(config(name), EngineArgs(**args), gpu_from(gpu), version)


def test_data_parallel_ranks_share_experts_and_repeat_the_rest() -> None:
    whole = created(QWEN_MOE)
    assert created(QWEN_MOE, data_parallel_size=2) == whole - QWEN_EXPERTS // 2
    assert created(QWEN_MOE, data_parallel_size=4, enable_expert_parallel=True) == whole - QWEN_EXPERTS * 3 // 4 + QWEN_EXPERT_MAPS


def test_expert_parallel_alone_moves_no_bytes_but_a_map() -> None:
    sliced = created(QWEN_MOE, tensor_parallel_size=4)
    assert created(QWEN_MOE, tensor_parallel_size=4, enable_expert_parallel=True) == sliced + QWEN_EXPERT_MAPS


def test_engines_of_a_dense_model_hold_all_of_it_each() -> None:
    assert created(LLAMA_8B, data_parallel_size=4) == created(LLAMA_8B)
    one, four = (estimated(LLAMA_8B, data_parallel_size=size, gpu_memory_utilization=0.9) for size in (1, 4))
    assert [rank.non_torch_bytes for rank in one.ranks] == [rank.non_torch_bytes for rank in four.ranks]


# DeepSeek-V3 has 58 expert layers with one shared expert each: three matrices of 7168 x 2048 in fp8, a float32 scale for each
# block of 128 x 128. Sequence-parallel experts (vLLM config/parallel.py:use_sequence_parallel_moe) hold it whole on every rank.
SHARED = 58 * 3 * (7168 * 2048 + 7168 // 128 * 2048 // 128 * 4)


@pytest.mark.parametrize(
    ("why", "version", "whole"),
    [
        ("0.10.2 divides shared experts, as its default exchange is not DeepEP", EngineVersion(0, 10, 2), False),
        ("0.11.2 holds them whole with experts and engines parallel", EngineVersion(0, 11, 2), True),
        ("0.33.0 does so too", V33, True),
    ],
)
def test_shared_experts_under_data_and_expert_parallel(why: str, version: EngineVersion, whole: bool) -> None:
    args = {"tensor_parallel_size": 4, "enable_expert_parallel": True}
    single = created(DEEPSEEK, version, **args)
    double = created(DEEPSEEK, version, **args, data_parallel_size=2)
    experts = 58 * 256 // 8 * 3 * (7168 * 2048 + 7168 // 128 * 2048 // 128 * 4)  # of eight ranks instead of four: half as many
    assert double == single - experts + (SHARED * 3 // 4 if whole else 0), why


def test_collectives_of_shared_experts_count_like_those_of_tensor_parallel() -> None:
    alone = estimated(QWEN_MOE, gpu="NVIDIA-H100-80GB-HBM3")
    engines = estimated(QWEN_MOE, gpu="NVIDIA-H100-80GB-HBM3", data_parallel_size=8)
    tensor = estimated(QWEN_MOE, gpu="NVIDIA-H100-80GB-HBM3", tensor_parallel_size=4)
    both = estimated(QWEN_MOE, gpu="NVIDIA-H100-80GB-HBM3", tensor_parallel_size=4, data_parallel_size=2)
    assert alone.ranks[0].non_torch_bytes < GIB < engines.ranks[0].non_torch_bytes == tensor.ranks[0].non_torch_bytes
    assert both.ranks[0].non_torch_bytes > 2 * GIB + tensor.ranks[0].non_torch_bytes - GIB


def test_decode_context_parallel_divides_what_a_request_holds() -> None:
    pool = (20 * GIB,)
    plain, shared = (
        plan_kv_cache(shape_of(config(DEEPSEEK)), resolved(DEEPSEEK, tensor_parallel_size=8, decode_context_parallel_size=size), pool)
        for size in (1, 8)
    )
    assert getattr(plain, "num_gpu_blocks", 0) == getattr(shared, "num_gpu_blocks", 1)
    assert getattr(shared, "max_concurrency", 0.0) == 8 * getattr(plain, "max_concurrency", 1.0)
    assert getattr(shared, "kv_cache_tokens", 0) == 8 * getattr(plain, "kv_cache_tokens", 1)


REFUSED = [
    ("grouped queries before 0.11.1", LLAMA_70B, EngineVersion(0, 10, 2), {"tensor_parallel_size": 16, "decode_context_parallel_size": 2},
     "DecodeContextParallelNeedsLatentAttention"),
    ("grouped queries within their key-value heads", LLAMA_70B, V19, {"tensor_parallel_size": 8, "decode_context_parallel_size": 2},
     "DecodeContextParallelNeedsTensorParallel"),
    ("a size that does not divide tensor parallelism", DEEPSEEK, V19, {"tensor_parallel_size": 8, "decode_context_parallel_size": 3},
     "DecodeContextParallelNotDivisible"),
    ("several nodes before vLLM spans them itself", LLAMA_70B, EngineVersion(0, 10, 2),
     {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "nnodes": 2}, "NodesUnsupported"),
    ("ranks that nodes do not divide", LLAMA_70B, V19, {"tensor_parallel_size": 8, "nnodes": 3}, "NodesNotDivisible"),
    ("engines cut unevenly by nodes", QWEN_MOE, V19,
     {"tensor_parallel_size": 2, "data_parallel_size": 3, "nnodes": 2}, "NodesNotDivisible"),
    ("expert parallelism of a dense model", LLAMA_8B, V19, {"enable_expert_parallel": True}, "NoExperts"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "version", "args", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_layouts_that_vllm_refuses(why: str, model: str, version: EngineVersion, args: dict[str, Any], reason: str) -> None:
    with pytest.raises(EngineRefusal) as refused:
        resolved(model, version, **args)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("why", "model", "version", "reason"),
    [
        ("windows beside full attention are not sharded", "openai/gpt-oss-120b", V33, "DecodeContextParallelUnsupported"),
        ("recurrent state is not taken at 0.25", "Qwen/Qwen3-Next-80B-A3B-Instruct", V25, "DecodeContextParallelUnsupported"),
        (
            "what 0.30 does beside recurrent state is not known",
            "Qwen/Qwen3-Next-80B-A3B-Instruct",
            EngineVersion(0, 30, 0),
            "DecodeContextParallel",
        ),
    ],
)
def test_caches_that_decode_context_parallel_does_not_shard(why: str, model: str, version: EngineVersion, reason: str) -> None:
    args = resolved(model, version, tensor_parallel_size=16, decode_context_parallel_size=2)
    with pytest.raises((EngineRefusal, Unsupported)) as refused:
        plan_kv_cache(shape_of(config(model)), args, (GIB,))
    assert isinstance(refused.value, EngineRefusal | Unsupported)
    assert refused.value.reason == reason, why


SPANS = [
    ("stages on a node each keep tensor parallel inside it", {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "nnodes": 2}, False),
    ("two tensor parallel groups on a node", {"tensor_parallel_size": 4, "pipeline_parallel_size": 4, "nnodes": 2}, False),
    ("tensor parallelism over both nodes", {"tensor_parallel_size": 16, "nnodes": 2}, True),
    ("experts shared by engines on two nodes", {"tensor_parallel_size": 8, "data_parallel_size": 2, "nnodes": 2}, True),
]  # fmt: skip


@pytest.mark.parametrize(("why", "args", "leaves"), SPANS, ids=[row[0] for row in SPANS])
def test_which_collectives_leave_the_node(why: str, args: dict[str, Any], leaves: bool) -> None:
    found = resolved(DEEPSEEK, **args)
    assert (found.collectives_leave_node, found.ranks_per_node) == (leaves, 8)


def test_the_network_between_nodes_costs_more_than_none_and_no_less_than_nvlink() -> None:
    inside = estimated(DEEPSEEK, tensor_parallel_size=8, pipeline_parallel_size=2).ranks[0].non_torch_bytes
    stages = estimated(DEEPSEEK, tensor_parallel_size=8, pipeline_parallel_size=2, nnodes=2).ranks[0].non_torch_bytes
    across = estimated(DEEPSEEK, tensor_parallel_size=16, nnodes=2).ranks[0].non_torch_bytes
    assert inside < stages <= across


def test_a_pod_holds_the_host_memory_of_its_own_ranks() -> None:
    one = estimated(LLAMA_8B).host_memory_bytes or 0
    engines = estimated(LLAMA_8B, data_parallel_size=4).host_memory_bytes or 0
    assert one < engines <= 4 * one
    whole = estimated(LLAMA_70B, tensor_parallel_size=4, pipeline_parallel_size=2).host_memory_bytes or 0
    half = estimated(LLAMA_70B, tensor_parallel_size=4, pipeline_parallel_size=2, nnodes=2).host_memory_bytes or 0
    assert whole / 2 < half < whole
