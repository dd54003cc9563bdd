"""Aria: SigLIP read by learned queries, before a decoder with experts.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/aria.py (0.22.1, 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, rope_table, sizes, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.siglip import aria_tower


def aria_language(rank: Rank) -> None:
    """Aria's decoder: experts of `intermediate_size`, shared ones merged into one MLP."""
    text = rank.text
    style = DecoderStyle(ties=False)
    size = sizes(text, style, rank.config)
    experts, shared = text.int("moe_num_experts", default=8), text.int("moe_num_shared_experts", default=2)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(experts * size.hidden_size)
        rank.experts(f"{name}.mlp.experts", experts, size.hidden_size, size.intermediate_size)
        mlp(rank, f"{name}.mlp.shared_experts", size.hidden_size, shared * size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)


aria = with_tower(aria_tower, aria_language)
