"""Modules of multi-token prediction in a model's own checkpoint: whole layers behind a joint projection, loaded when the engine drafts.

Called by the model lines whose modules have DeepSeek's form. Embedding and head are the target's. Knows no quantisation.
Sources: vllm/model_executor/models/{deepseek,glm4_moe,glm4_moe_lite,hy_v3,ernie,mimo}_mtp.py (0.32.0).
"""

from __future__ import annotations

from collections.abc import Callable

from plimsoll_estimator.layers.decoder import DecoderStyle, attention
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.shape import Layer


def prediction_modules(rank: Rank, build: Callable[[str, Layer], None], norms: int = 3) -> None:
    """Each module's layer by `build(name, layer)`, an unquantised projection of embedding and hidden state to one, and `norms`."""
    hidden, first = rank.shape.size.hidden_size, rank.shape.size.layer_count
    for i, module in enumerate(rank.modules()):
        build(f"layers.{first + i}", module)
        rank.tensor(2 * hidden * hidden)
        rank.norm(hidden, count=norms)


def decoder_modules(rank: Rank, style: DecoderStyle, sparse: MoeStyle, norms: int = 3) -> None:
    """Modules of ordinary attention and, by the shape, experts or a dense block."""
    size = rank.shape.size

    def build(name: str, layer: Layer) -> None:
        attention(rank, name, size, style)
        feed_forward(rank, name, layer.ffn, style, sparse)
        rank.norm(size.hidden_size, count=style.norms)

    prediction_modules(rank, build, norms)
