"""Kinds of start that public logs showed: what vLLM's code makes of them, each held on the logged start and on another of its kind."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from, usable_from_label
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Estimate

GIB, MIB = 1 << 30, 1 << 20
A100, L40S, ADA_4090 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-L40S", "NVIDIA-GeForce-RTX-4090"
H100, H200, RTX_5090, PRO_6000 = (
    "NVIDIA-H100-80GB-HBM3", "NVIDIA-H200", "NVIDIA-GeForce-RTX-5090", "NVIDIA-RTX-PRO-6000-Blackwell-Workstation-Edition",
)  # fmt: skip
GPTQ = {"bits": 4, "group_size": 128, "quant_method": "gptq", "sym": True, "desc_act": False, "lm_head": False,
        "dynamic": {"-:.*attn.*": {}, "-:.*shared_expert.*": {}, "-:.*mtp.*": {}, "-:.*visual.*": {}}}  # fmt: skip


def start(model: str | HfConfig, version: str, product: str, **arguments: Any) -> Estimate:
    config = lookup(model) if isinstance(model, str) else model
    assert config is not None
    return estimate(config, EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(version))


def first(result: Estimate, figure: str) -> float:
    assert result.ranks, result.message
    return float(getattr(result.ranks[0], figure)) / GIB


def gptq_122b() -> HfConfig:
    config = lookup("Qwen/Qwen3.5-122B-A10B")
    assert config is not None
    return HfConfig({**config.as_mapping(), "quantization_config": GPTQ})


@pytest.mark.parametrize(
    ("version", "tokens", "refused"),
    [
        ("0.20.2", 2048, True),  # logged: block_size (2096) must be <= max_num_batched_tokens (2048)
        ("0.20.2", 4096, False),  # logged: the same start came up
        ("0.18.0", 2048, True),
        ("0.26.0", 2048, True),
        ("0.17.1", 2048, False),  # looked at before the block is made as long as a state
        ("0.27.0", 2048, False),
    ],
)
def test_a_step_holds_a_block_of_the_last_states(version: str, tokens: int, refused: bool) -> None:
    result = start(gptq_122b(), version, PRO_6000, dtype="float16", max_model_len=8192, max_num_seqs=128, enforce_eager=True,
                   enable_prefix_caching=True, max_num_batched_tokens=tokens)  # fmt: skip
    assert (result.reason is Check.TOKENS_BELOW_STATE_BLOCK) == refused


def test_without_prefix_caching_no_state_is_kept_at_a_block() -> None:
    result = start(gptq_122b(), "0.20.2", PRO_6000, dtype="float16", max_model_len=8192, max_num_seqs=128, enforce_eager=True,
                   enable_prefix_caching=False, max_num_batched_tokens=2048)  # fmt: skip
    assert result.reason is not Check.TOKENS_BELOW_STATE_BLOCK


@pytest.mark.parametrize(
    ("model", "version", "product", "ranks", "logged"),
    [
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", "0.11.0", "NVIDIA-GeForce-RTX-3090", 4, 1.92),
        ("Qwen/Qwen3-235B-A22B-FP8", "0.10.2", L40S, 8, 3.45),
    ],
)
def test_graphs_of_experts_grow_with_the_layers_below_hopper(model: str, version: str, product: str, ranks: int, logged: float) -> None:
    result = start(model, version, product, tensor_parallel_size=ranks, max_model_len=32768, enable_expert_parallel=True)
    assert first(result, "cuda_graph_pool_bytes") == pytest.approx(logged, abs=0.25)


@pytest.mark.parametrize(("product", "version", "some"), [(L40S, "0.26.0", True), (A100, "0.28.0", False), (RTX_5090, "0.28.0", False)])
def test_only_ada_deducts_the_tuning_of_the_delta_net_with_its_graphs(product: str, version: str, some: bool) -> None:
    result = start("Qwen/Qwen3.5-4B", version, product, max_model_len=8192, max_num_batched_tokens=8192)
    assert (first(result, "cuda_graph_bytes") > 3) == some


def test_an_eager_start_makes_no_buffers_for_the_fused_all_reduce() -> None:
    layout = {"tensor_parallel_size": 8, "max_model_len": 8192}
    compiled = first(start("zai-org/GLM-5.1-FP8", "0.19.1", H200, **layout), "non_torch_bytes")
    eager = first(start("zai-org/GLM-5.1-FP8", "0.19.1", H200, enforce_eager=True, **layout), "non_torch_bytes")
    assert compiled - eager == pytest.approx(1.6, abs=0.01)


@pytest.mark.parametrize(("version", "fused"), [("0.20.0", False), ("0.22.0", True)])
def test_stages_had_no_fused_all_reduce_before_0_22(version: str, fused: bool) -> None:
    result = start("Qwen/Qwen3-32B", version, H100, tensor_parallel_size=2, pipeline_parallel_size=2, max_model_len=8192)
    assert (first(result, "non_torch_bytes") > 2) == fused


@pytest.mark.parametrize(
    ("model", "version", "logged"), [("openai/gpt-oss-120b", "0.25.1", 61.29), ("openai/gpt-oss-20b", "0.19.0", 13.64)]
)
def test_the_scales_of_mxfp4_experts_as_loaded_are_dropped_from_0_25_1(model: str, version: str, logged: float) -> None:
    assert first(start(model, version, H100, max_model_len=8192), "weights_bytes") == pytest.approx(logged, abs=0.3)


def test_a_geforce_gives_up_less_of_its_label_than_a_card_that_checks_its_memory() -> None:
    seen = 12038 * MIB  # an RTX 3080 Ti of 12,288 MiB
    assert seen - 100 * MIB < usable_from_label("NVIDIA-GeForce-RTX-3080-Ti", 12288) <= seen
    assert usable_from_label("NVIDIA-A2", 12288) == (12288 - 500) * MIB


@pytest.mark.parametrize(("version", "tokens"), [("0.11.0", 32768), ("0.15.1", 16384), ("0.17.1", 16384)])
def test_experts_multiply_a_chunk_at_a_time_up_to_0_17(version: str, tokens: int) -> None:
    # 0.15.1, four H100, 65,536 batched tokens: 10.76 GiB of cache fitted, of which whole workspaces would leave 4.6
    arguments: dict[str, object] = {"tensor_parallel_size": 4, "enable_expert_parallel": True, "max_num_seqs": 128}
    model = "Qwen/Qwen3-235B-A22B-FP8"
    whole = start(model, version, H100, **arguments, max_num_batched_tokens=4 * tokens)
    chunk = start(model, version, H100, **arguments, max_num_batched_tokens=tokens)
    assert first(whole, "activation_bytes") < 2.6 * first(chunk, "activation_bytes")
    later = start(model, "0.20.0", H100, **arguments, max_num_batched_tokens=4 * tokens)
    assert first(later, "activation_bytes") > 1.5 * first(whole, "activation_bytes")


@pytest.mark.parametrize(("product", "added"), [(A100, 0.49), (H100, 0.0)])
def test_block_scales_are_repeated_where_marlin_multiplies_fp8(product: str, added: float) -> None:
    config = lookup("Qwen/Qwen3.5-35B-A3B")
    assert config is not None
    blocks = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128],
              "modules_to_not_convert": ["lm_head"]}  # fmt: skip
    result = start(HfConfig({**config.as_mapping(), "quantization_config": blocks}), "0.19.0", product, max_model_len=2048)
    assert first(result, "weights_bytes") - first(result, "weights_created_bytes") == pytest.approx(added, abs=0.03)


@pytest.mark.parametrize("product", [L40S, H100])
def test_a_prompt_without_videos_is_profiled_with_images(product: str) -> None:
    arguments: dict[str, object] = {"tensor_parallel_size": 4, "max_model_len": 32768, "max_num_batched_tokens": 2048}
    videos = start("Qwen/Qwen3-VL-30B-A3B-Instruct", "0.11.0", product, **arguments)
    images = start("Qwen/Qwen3-VL-30B-A3B-Instruct", "0.11.0", product, **arguments, limit_mm_per_prompt={"video": 0})
    assert first(images, "activation_bytes") < first(videos, "activation_bytes") - 0.5
