"""dots.llm1: Qwen 3's attention, DeepSeek's experts.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/dots1.py (0.17.1) and the Transformers backend since.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.qwen import QWEN3


def dots1(rank: Rank) -> None:
    """Dots1ForCausalLM: Qwen 3's attention, DeepSeek's experts; served through the Transformers backend since 0.24."""
    text = rank.text
    style = replace(QWEN3, transformers_since=EngineVersion(0, 24))
    block = MoeStyle(intermediate=("moe_intermediate_size",), correction=True, shared="count")
    build_moe(rank, style, block, first_dense=text.int("first_k_dense_replace", default=0))
