"""dots.llm1: Qwen 3's attention, DeepSeek's experts.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/dots1.py (0.17.1) and the Transformers backend since.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.qwen import QWEN3
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import behind_dense, routed_experts, windowed
from plimsoll_estimator.shape import Dimensions, Layer


def dots1(rank: Rank) -> None:
    """Dots1ForCausalLM: Qwen 3's attention, DeepSeek's experts; served through the Transformers backend since 0.24."""
    style = replace(QWEN3, transformers_since=EngineVersion(0, 24))
    build_moe(rank, style, MoeStyle(correction=True))


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    seen = windowed(text, size, stacks.attention(size))
    return stacks.attending(seen, behind_dense(text, size, routed_experts(text, text.int("moe_intermediate_size"))))


MODELS = (Model(classes=("Dots1ForCausalLM",), model_types=("dots1",), weights=dots1, layers=_layers),)
