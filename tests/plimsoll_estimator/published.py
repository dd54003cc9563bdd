"""Parameters that a class creates on its ranks, counted for published checkpoints."""

from __future__ import annotations

from typing import Any

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Gpu, RankWeights, ResolvedArgs
from plimsoll_estimator.weights import weights_per_stage

H100 = Gpu(product="h100", total_memory_bytes=80 << 30, interconnect="nvlink", compute_capability=(9, 0))


def created_bytes(config: dict[str, Any], version: str, tp: int = 1) -> int:
    return built(config, version, tp).created_bytes


def built(config: dict[str, Any], version: str, tp: int = 1) -> RankWeights:
    resolved = ResolvedArgs(
        version=EngineVersion.parse(version),
        extrapolated=False,
        gpu=H100,
        given=EngineArgs(),
        architecture=config["architectures"][0],
        dtype="bfloat16",
        quantization=None,
        kv_cache_dtype="auto",
        tensor_parallel_size=tp,
        pipeline_parallel_size=1,
        data_parallel_size=1,
        enable_expert_parallel=False,
        decode_context_parallel_size=1,
        max_model_len=2048,
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=0.9,
        block_size=16,
        enforce_eager=False,
        enable_prefix_caching=True,
        enable_chunked_prefill=True,
        num_speculative_tokens=0,
        runner="generate",
        uses_v2_model_runner=True,
        async_scheduling=True,
        max_in_flight_tokens=16384,
        max_cudagraph_capture_size=512,
    )
    (stage,) = weights_per_stage(HfConfig(config), resolved)
    return stage


def rope_bytes(head_dim: int, positions: int) -> int:
    return head_dim * positions * 2


def padding_bytes(vocabulary: int, hidden: int, tables: int) -> int:
    return -vocabulary % 64 * hidden * tables * 2


INTERNVIT_300M: dict[str, Any] = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "intermediate_size": 4096,
    "image_size": 448,
    "patch_size": 14,
    "norm_type": "layer_norm",
}


INTERNVIT_6B: dict[str, Any] = {
    **INTERNVIT_300M,
    "hidden_size": 3200,
    "num_attention_heads": 25,
    "num_hidden_layers": 45,
    "intermediate_size": 12800,
    "norm_type": "rms_norm",
    "qk_normalization": True,
}


def internvl_hf(tower: dict[str, Any], llm: dict[str, Any]) -> dict[str, Any]:
    changed = {"image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True, "use_mean_pooling": True}
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "vision_config": {**tower, **changed},
        "text_config": llm,
        "downsample_ratio": 0.5,
    }
