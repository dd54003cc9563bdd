"""The KV-cache plan: textbook figures, vLLM's verified examples, its planner's own answers, and laws that hold for any size."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.folders import DATA as DATA_FOLDER
from tests.plimsoll_estimator.layouts import resolved_args

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import KvCacheLayout, kv_cache_layout, plan_kv_cache
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.resolved import KvPlan, KvRefusal, ResolvedArgs
from plimsoll_estimator.units import GIB

DATA: dict[str, Any] = json.loads((DATA_FOLDER / "kv_cases.json").read_text())

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
}  # fmt: skip
GEMMA_27B: dict[str, Any] = {
    "model_type": "gemma3", "vision_config": {"model_type": "siglip"},
    "text_config": {
        "model_type": "gemma3_text", "num_hidden_layers": 62, "hidden_size": 5376, "num_attention_heads": 32,
        "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024,
    },
}  # fmt: skip
QWEN3_NEXT: dict[str, Any] = {
    "model_type": "qwen3_next", "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 2,
    "head_dim": 256, "full_attention_interval": 4, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
}  # fmt: skip
JAMBA_MINI: dict[str, Any] = {
    "model_type": "jamba", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip
DEEPSEEK_V3: dict[str, Any] = {
    "model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128,
    "num_key_value_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
}  # fmt: skip
DEEPSEEK_V32: dict[str, Any] = {**DEEPSEEK_V3, "model_type": "deepseek_v32", "index_topk": 2048, "index_head_dim": 128}
KIMI_LINEAR: dict[str, Any] = {
    "model_type": "kimi_linear", "num_hidden_layers": 27, "hidden_size": 2304, "num_attention_heads": 32, "num_key_value_heads": 32,
    "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
    "linear_attn_config": {
        "kda_layers": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26], "num_heads": 32, "head_dim": 128,
        "short_conv_kernel_size": 4,
    },
}  # fmt: skip
GPT_OSS_20B: dict[str, Any] = {
    "model_type": "gpt_oss", "num_hidden_layers": 24, "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 64, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 12,
}  # fmt: skip


def large_args(**args: Any) -> ResolvedArgs:
    """As vLLM serves them on an H100: a long context, and many requests in one step."""
    return resolved_args(**({"max_model_len": 131072, "seqs": 1024} | args))


def layout_of(config: dict[str, Any], **args: Any) -> KvCacheLayout:
    return kv_cache_layout(shape_of(HfConfig(config)), large_args(**args))


@pytest.mark.parametrize(("kv_heads", "gib"), [(8, 1), (32, 4)])
def test_textbook_cache_of_8192_tokens(kv_heads: int, gib: int) -> None:
    """32 layers x 8 KV heads x 128 x 2 (K and V) x 2 bytes x 8192 tokens is 1 GiB; four times that without grouped queries."""
    layout = layout_of({**LLAMA_8B, "num_key_value_heads": kv_heads})
    assert layout.request_blocks(8192) * layout.kv_block_bytes[0] == gib * GIB


@pytest.mark.parametrize(
    ("config", "args", "block_bytes", "blocks", "concurrency", "tokens"),
    [
        # Verified with vLLM 0.33.0's planner: H100, 20 GiB per rank.
        (LLAMA_8B, {}, (2_097_152,), 10_240, 1.25, 163_840),
        (LLAMA_8B, {"tp": 2}, (1_048_576,), 20_480, 2.5, 327_680),
        (LLAMA_8B, {"kv_cache_dtype": "fp8"}, (1_048_576,), 20_480, 2.5, 327_680),
        # Three stages: the two with eleven layers decide.
        (LLAMA_8B, {"pp": 3, "in_flight": 32768}, (720_896, 720_896, 655_360), 29_789, 29_789 / 8192, 476_624),
        # Six groups of windows and one of full attention.
        (GEMMA_27B, {"tp": 2}, (655_360,), 32_768, 32_768 / 14_726, 291_658),
        (GPT_OSS_20B, {"tp": 2}, (196_608,), 109_226, 109_226 / 9_225, 1_551_920),
        # Latent attention is not divided by tensor parallelism.
        (DEEPSEEK_V3, {"tp": 8, "max_model_len": 163840}, (1_124_352,), 19_099, 19_099 / 10_240, 305_584),
        # With an index key of 132 bytes per token and layer.
        (DEEPSEEK_V32, {"tp": 8, "max_model_len": 163840}, (5_012_736,), 4_284, 4_284 / 2_560, 274_176),
        # Recurrent state: blocks of 320 tokens, three state blocks per linear group.
        (QWEN3_NEXT, {"tp": 4, "max_model_len": 262144}, (3_932_160,), 5_461, 5_461 / 829, 1_726_861),
        (JAMBA_MINI, {"tp": 2, "max_model_len": 262144}, (655_360,), 32_768, 32_768 / 3_291, 2_610_129),
        (KIMI_LINEAR, {"tp": 4, "max_model_len": 1048576}, (4_128_768,), 5_201, 5_201 / 2_054, 2_655_133),
    ],
)  # fmt: skip
def test_plans_that_vllm_makes_of_20_gib(
    config: dict[str, Any], args: dict[str, Any], block_bytes: tuple[int, ...], blocks: int, concurrency: float, tokens: int
) -> None:
    layout = layout_of(config, **args)
    plan = layout.plan((20 * GIB,) * len(block_bytes))
    assert isinstance(plan, KvPlan)
    assert (plan.kv_block_bytes, plan.num_gpu_blocks, plan.kv_cache_tokens) == (block_bytes, blocks, tokens)
    assert plan.max_concurrency == pytest.approx(concurrency, rel=1e-12)


def _case_resolved(case: dict[str, Any]) -> ResolvedArgs:
    made, given = case["resolved"], EngineArgs.from_mapping(case["engine_args"])
    return large_args(
        version=case["engine_version"], capability=tuple(case["compute_capability"]), tp=given.tensor_parallel_size or 1,
        pp=given.pipeline_parallel_size or 1, max_model_len=made["max_model_len"], kv_cache_dtype=made["kv_cache_dtype"],
        batched=made["max_num_batched_tokens"], in_flight=made["max_in_flight_tokens"], seqs=made["max_num_seqs"],
        prefix=made["enable_prefix_caching"], dtype=made["dtype"].removeprefix("torch."), given=given,
    )  # fmt: skip


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: case["case"])
def test_agrees_with_the_planner_of_vllm(case: dict[str, Any]) -> None:
    """vLLM 0.33.0, 0.25.1 and 0.19.1 planners on CPU: blocks, tokens and concurrency exact, refusals with their estimate."""
    resolved = _case_resolved(case)
    available = (case["available_bytes"],) * resolved.pipeline_parallel_size
    answer = plan_kv_cache(shape_of(HfConfig(DATA["configs"][case["model"]])), resolved, available)
    wanted = case.get("plan")
    if wanted is None:
        assert isinstance(answer, KvRefusal)
        assert answer.estimated_max_model_len == case["estimated_max_model_len"]
        return
    assert isinstance(answer, KvPlan)
    assert answer.num_gpu_blocks == wanted["num_gpu_blocks"]
    assert answer.kv_cache_tokens == wanted["kv_cache_tokens"]
    assert answer.max_concurrency == wanted["max_concurrency"]
    assert list(answer.kv_block_bytes) == wanted["kv_block_bytes"]
    assert wanted["block_size"] is None or answer.block_size == wanted["block_size"]


def test_the_null_block_costs_the_last_tokens() -> None:
    """Exactly 16 GiB holds 131,072 tokens of Llama 3.1 8B, but since 0.30 one block is held back: 131,056 fit."""
    answer = layout_of(LLAMA_8B).plan((16 * GIB,))
    assert isinstance(answer, KvRefusal)
    assert (answer.reason, answer.estimated_max_model_len, answer.needed_bytes) == ("KvCacheTooSmall", 131_056, 16 * GIB)
    assert isinstance(layout_of(LLAMA_8B, version="0.25.1").plan((16 * GIB,)), KvPlan)


def test_no_memory_is_refused_before_lengths_are_compared() -> None:
    answer = layout_of(LLAMA_8B).plan((-5 * GIB,))
    assert isinstance(answer, KvRefusal)
    assert (answer.reason, answer.estimated_max_model_len) == ("NoKvCacheMemory", None)


def test_bytes_for_is_the_least_that_plans() -> None:
    for config in (LLAMA_8B, GEMMA_27B, QWEN3_NEXT):
        layout = layout_of(config, max_model_len=32768)
        (needed,) = layout.bytes_for(32768)
        assert isinstance(layout.plan((needed,)), KvPlan)
        assert isinstance(layout.plan((needed - 1,)), KvRefusal)


CONFIGS = [LLAMA_8B, GEMMA_27B, QWEN3_NEXT, JAMBA_MINI, DEEPSEEK_V32, KIMI_LINEAR, GPT_OSS_20B]


@given(st.sampled_from(CONFIGS), st.integers(1, 1 << 20), st.integers(0, 1 << 18), st.sampled_from(["0.11.2", "0.19.1", "0.33.0"]))
def test_needed_bytes_never_fall_with_the_length(config: dict[str, Any], length: int, more: int, version: str) -> None:
    layout = layout_of(config, version=version)
    assert layout.bytes_for(length) <= layout.bytes_for(length + more)


@pytest.mark.parametrize("config", [LLAMA_8B, GEMMA_27B, JAMBA_MINI, DEEPSEEK_V32, GPT_OSS_20B])
def test_bytes_per_token_never_grow_with_tensor_parallelism(config: dict[str, Any]) -> None:
    def per_rank(tp: int) -> float:
        layout = layout_of(config, tp=tp)
        return layout.kv_block_bytes[0] / layout.block_size

    sizes = [per_rank(tp) for tp in (1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)
