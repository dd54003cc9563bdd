"""Parameters that a class creates on its ranks, counted for published checkpoints."""

from __future__ import annotations

from typing import Any

from tests.plimsoll_estimator.layouts import resolved_args

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Gpu, RankWeights
from plimsoll_estimator.weights import weights_per_stage

H100 = Gpu(product="h100", total_memory_bytes=80 << 30, interconnect="nvlink", compute_capability=(9, 0))


def created_bytes(config: dict[str, Any], version: str, tp: int = 1) -> int:
    return built(config, version, tp).created_bytes


def built(config: dict[str, Any], version: str, tp: int = 1) -> RankWeights:
    resolved = resolved_args(version=version, tp=tp, max_model_len=2048, gpu=H100, architecture=config["architectures"][0], block_size=16)
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
