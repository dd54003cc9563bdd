"""The warm-up of DeepGEMM's kernels, which comes after the cache is allocated: what it holds at once, where it runs, what it stops.

Expected bytes are the tensors of vllm/model_executor/warmup/deep_gemm_warmup.py for the shapes of the config, added up by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.overhead import outside_budget
from plimsoll_estimator.overhead.startup import check_after_cache, scratch_bytes
from plimsoll_estimator.prepared import Prepared

H100, H200, B200, B300 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-H200", "NVIDIA-B200", "NVIDIA-B300-SXM6-AC"
BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128], "symmetric": True},
            "input_activations": {
                "num_bits": 8,
                "type": "float",
                "strategy": "group",
                "group_size": 128,
                "dynamic": True,
                "symmetric": True,
            },
        }
    },
    "ignore": ["lm_head"],
}
QWEN3_32B: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
    "quantization_config": BLOCKS,
}
QWEN3_CODER_480B: dict[str, Any] = {
    **QWEN3_32B,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 6144,
    "intermediate_size": 8192,
    "num_hidden_layers": 62,
    "num_attention_heads": 96,
    "num_experts": 160,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2560,
    "decoder_sparse_step": 1,
    "max_position_embeddings": 262144,
}


def prepared(config: dict[str, Any], version: str, product: str = H100, **arguments: Any) -> Prepared:
    found = prepare(HfConfig(config), EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(version))
    assert isinstance(found, Prepared)
    return found


def warmed(config: dict[str, Any], version: str, product: str = H100, **arguments: Any) -> int:
    return prepared(config, version, product, **arguments).overheads[0].kernel_warm_up_bytes


def row(k: int, n: int) -> int:
    """fp8 input, a float32 scale for each 128 of it, bfloat16 output."""
    return k + k // 128 * 4 + 2 * n


GATE_UP = row(5120, 2 * 25600)  # wider than qkv, o and down


@pytest.mark.parametrize(
    ("sentence", "version", "product", "arguments", "expected"),
    [
        ("a dense model's widest matrix for a whole step", "0.19.0", H100, {}, 8192 * GATE_UP),
        ("as many rows as the step has", "0.11.0", H100, {"max_num_batched_tokens": 2048}, 2048 * GATE_UP),
        ("ranks divide outputs", "0.19.0", H100, {"tensor_parallel_size": 4}, 8192 * row(5120, 2 * 25600 // 4)),
        ("whose image has it", "0.19.0", H100, {"deep_gemm_installed": True}, 8192 * GATE_UP),
        ("a pip install before 0.20 has none", "0.19.1", H100, {"deep_gemm_installed": False}, 0),
        ("from 0.20 the wheel brings it", "0.20.0", H100, {"deep_gemm_installed": False}, 8192 * GATE_UP),
        ("turned off", "0.33.0", H100, {"use_deep_gemm": False}, 0),
        ("told to skip", "0.33.0", H100, {"deep_gemm_warmup": "skip"}, 0),
        ("a relaxed warm-up makes the same tensors", "0.33.0", H100, {"deep_gemm_warmup": "relax"}, 8192 * GATE_UP),
        ("no release before 0.10.1 warms up", "0.10.0", H100, {"use_deep_gemm": True}, 0),
        ("0.10.2 waits to be asked", "0.10.2", H100, {}, 0),
        ("and is", "0.10.2", H100, {"use_deep_gemm": True}, 8192 * GATE_UP),
        ("it knows no Ada", "0.33.0", "NVIDIA-L40S", {"tensor_parallel_size": 2}, 0),
        ("it knows Blackwell", "0.12.0", B200, {}, 8192 * GATE_UP),
        ("of 10.3 from 0.13 alone", "0.12.0", B300, {}, 0),
        ("with 16384 tokens a step from 0.30", "0.30.0", B300, {}, 16384 * GATE_UP),
        ("and 12.0 from 0.24", "0.23.0", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", {}, 0),
        ("as of that release", "0.24.0", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", {}, 8192 * GATE_UP),
    ],
)
def test_a_dense_model_of_fp8_blocks_is_warmed_up_with_its_widest_matrix(
    sentence: str, version: str, product: str, arguments: dict[str, Any], expected: int
) -> None:
    assert warmed(QWEN3_32B, version, product, **arguments) == expected, sentence


@pytest.mark.parametrize(
    ("sentence", "settings", "version", "warms"),
    [
        ("scales per tensor are no blocks", {"quant_method": "fp8", "activation_scheme": "dynamic"}, "0.19.0", False),
        ("other blocks are not DeepGEMM's", {**BLOCKS, "weight_block_size": [128, 64]}, "0.19.0", False),
        ("compressed-tensors' linears are left out before 0.30", COMPRESSED, "0.29.0", False),
        ("and warmed up from then on", COMPRESSED, "0.30.0", True),
    ],
)
def test_only_blocks_of_128_that_the_release_looks_for_are_warmed_up(
    sentence: str, settings: dict[str, Any], version: str, warms: bool
) -> None:
    assert (warmed({**QWEN3_32B, "quantization_config": settings}, version) > 0) is warms, sentence


def rows(tokens: int, experts: int) -> int:
    """fused_moe/deep_gemm_utils.py, compute_aligned_M: eight experts a token, each expert's rows padded to 128."""
    return -(-(tokens * 8 + experts * 127) // 128) * 128


WHOLE = row(6144, 2 * 2560)
EXPERT_CASES = [
    # github.com/vllm-project/vllm/issues/29360: 0.11.1 on eight H20 dies here; its log counts 20 of 160 experts a rank.
    ("whole experts on eight ranks", "0.11.1", {"enable_expert_parallel": True}, rows(8192, 20) * WHOLE),
    ("until 0.19 whatever kernel runs them", "0.19.0", {"enable_expert_parallel": True}, rows(8192, 20) * WHOLE),
    ("long steps by chunks of 32768 tokens", "0.11.2", {"max_num_batched_tokens": 65536}, rows(32768, 20) * WHOLE),
    ("of 16384 from 0.12", "0.17.1", {"max_num_batched_tokens": 65536}, rows(16384, 20) * WHOLE),
    ("whole from 0.18", "0.18.0", {"max_num_batched_tokens": 65536}, rows(65536, 20) * WHOLE),
    ("0.10.1 always a whole chunk", "0.10.1", {"use_deep_gemm": True, "max_num_batched_tokens": 8192}, rows(32768, 20) * WHOLE),
    ("from 0.20 on Hopper other kernels run them: attention's output remains", "0.20.0", {}, 8192 * row(96 * 128 // 8, 6144)),
    ("but for who asks for DeepGEMM", "0.20.0", {"use_deep_gemm": True}, rows(8192, 20) * WHOLE),
]


@pytest.mark.parametrize(("sentence", "version", "arguments", "expected"), EXPERT_CASES)
def test_experts_are_warmed_up_with_every_token_at_each_of_its_experts(
    sentence: str, version: str, arguments: dict[str, Any], expected: int
) -> None:
    said = {"tensor_parallel_size": 8, "enable_expert_parallel": True, "max_model_len": 32768, **arguments}
    assert warmed(QWEN3_CODER_480B, version, **said) == expected, sentence


def test_engines_that_share_experts_warm_them_up_with_the_tokens_of_all() -> None:
    # github.com/vllm-project/vllm/pull/49469: dp_world_size x max_num_batched_tokens x experts a token, uncapped since the chunks went.
    said = {"data_parallel_size": 8, "enable_expert_parallel": True, "max_model_len": 32768, "use_deep_gemm": True}
    assert warmed(QWEN3_CODER_480B, "0.24.0", H200, **said) == rows(8 * 8192, 20) * WHOLE
    assert warmed(QWEN3_CODER_480B, "0.17.0", H200, **said) == rows(16384, 20) * WHOLE


def test_slices_of_experts_are_as_narrow_as_their_rank() -> None:
    two = warmed(QWEN3_CODER_480B, "0.11.0", B200, tensor_parallel_size=4, max_model_len=32768)
    assert two == rows(8192, 160) * max(row(6144, 2 * 640), row(640, 6144))


def test_a_warm_up_that_finds_too_little_beside_the_cache_is_refused_by_name() -> None:
    said = {"data_parallel_size": 8, "enable_expert_parallel": True, "max_model_len": 32768, "gpu_memory_utilization": 0.97}
    asked = prepared(QWEN3_CODER_480B, "0.24.0", H200, use_deep_gemm=True, **said)
    answer = asked.estimate()
    assert (answer.verdict, answer.reason) == ("refused", "OutOfMemoryKernelWarmUp"), answer.message
    assert answer.message is not None
    assert "lower max_num_batched_tokens or gpu_memory_utilization" in answer.message
    spared = prepared(QWEN3_CODER_480B, "0.24.0", H200, use_deep_gemm=True, deep_gemm_warmup="skip", **said).estimate()
    assert spared.verdict == "starts", spared.message
    assert spared.ranks[0].available_kv_cache_bytes == answer.ranks[0].available_kv_cache_bytes, "it is no part of the budget"


def test_the_memory_outside_the_budget_holds_the_larger_of_warm_up_and_graphs() -> None:
    found = prepared(QWEN3_CODER_480B, "0.24.0", H200, data_parallel_size=8, enable_expert_parallel=True, use_deep_gemm=True)
    overhead = found.overheads[0]
    without = outside_budget(found.resolved, overhead._replace(kernel_warm_up_bytes=0)).post_kv_bytes
    graphs = int(1.3 * overhead.cuda_graph_pool_bytes) - overhead.cuda_graph_bytes
    assert overhead.freed_bytes == overhead.activation_bytes - overhead.kept_bytes
    more = overhead.kernel_warm_up_bytes - overhead.freed_bytes - overhead.cuda_graph_bytes
    assert more > graphs
    assert outside_budget(found.resolved, overhead).post_kv_bytes - without == more - max(0, graphs)
    small = overhead._replace(kernel_warm_up_bytes=overhead.freed_bytes)
    assert outside_budget(found.resolved, small).post_kv_bytes == without, "what the profile run's peak leaves is enough for it"


def test_workspaces_that_the_profile_run_keeps_leave_no_room_for_the_sampler() -> None:
    # v1/worker/workspace.py: the buffer of the profile run stays, so the sampler's warm-up comes beside it once more.
    found = prepared(QWEN3_CODER_480B, "0.19.0", H200, tensor_parallel_size=4, enable_expert_parallel=True, max_num_batched_tokens=16384)
    overhead = found.overheads[0]
    rows = 16384 * 8
    assert overhead.kept_bytes == rows * (6144 + 6144) * 2 + 16384 * 6144 + rows * 2560, "and 8-bit copies: a token once, then each row"
    resolved = found.resolved
    free = resolved.gpu.total_memory_bytes
    needed = overhead.cuda_graph_pool_bytes + scratch_bytes(resolved) + overhead.warm_up_bytes
    budget = free - needed + overhead.freed_bytes
    assert check_after_cache(resolved, free, found.stages[0], overhead, budget) is None
    refused = check_after_cache(resolved, free, found.stages[0], overhead, budget + 1)
    assert refused is not None
    assert refused.reason == "OutOfMemorySamplerWarmUp"


def test_from_0_31_experts_are_warmed_up_in_the_workspace_that_is_there() -> None:
    said = {"data_parallel_size": 8, "enable_expert_parallel": True, "max_model_len": 32768, "use_deep_gemm": True}
    kept = prepared(QWEN3_CODER_480B, "0.31.0", H200, **said).overheads[0].kept_bytes
    fresh = rows(8 * 8192, 20) * WHOLE
    assert warmed(QWEN3_CODER_480B, "0.31.0", H200, **said) == max(fresh - kept, 8192 * row(6144, 96 * 128 + 2 * 8 * 128))
    assert warmed(QWEN3_CODER_480B, "0.30.0", H200, **said) == fresh


def test_another_word_than_vllms_own_is_refused() -> None:
    with pytest.raises(InvalidInput, match="full, relax or skip"):
        EngineArgs.from_mapping({"deep_gemm_warmup": "never"})
