"""Aria: SigLIP read by learned queries, before a decoder with experts.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/aria.py (0.22.1, 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, rope_table, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import routed_experts, windowed
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.siglip import aria_tower

_STYLE = DecoderStyle(ties=False)


def aria_language(rank: Rank) -> None:
    """Aria's decoder: experts of `intermediate_size`, shared ones merged into one MLP."""
    size = rank.shape.size

    def layer(i: int) -> None:
        name, block = f"layers.{i}", rank.shape.experts
        attention(rank, name, size, _STYLE)
        if block is not None:
            rank.tensor(block.count * size.hidden_size)
            rank.experts(f"{name}.mlp.experts", block.count, size.hidden_size, block.width)
            mlp(rank, f"{name}.mlp.shared_experts", size.hidden_size, block.shared, _STYLE)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, _STYLE)

    stack(rank, size, _STYLE, layer)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    block = routed_experts(text, size.intermediate_size)
    return stacks.attending(windowed(text, size, stacks.attention(size)), [block] * size.layer_count)


_LANGUAGE = Model(classes=(), model_types=("aria_text",), weights=aria_language, layers=_layers)
MODELS = (seeing(_LANGUAGE, behind(aria_tower), classes=("AriaForConditionalGeneration",)),)
