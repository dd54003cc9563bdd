"""Routed experts: the sparse block of a decoder, and decoders of attention and experts of the common build.

Called by the model lines. Sources: vllm/model_executor/layers/fused_moe/layer.py and the classes in vllm/model_executor/models/.
Knows no quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, rope_table, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.mixers import Experts, Mlp


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeStyle:
    """How a family's sparse block is built. `gate_item` and `correction_item` are bytes per element; 0 means the model's dtype.

    `unsplit_since`: the release from which the class holds its shared experts whole on every rank when tokens are divided among
    the tensor-parallel ranks (`Rank.tokens_divided`); None for the classes that never do.
    """

    parent: str = "mlp"
    gate_bias: bool = False
    gate_item: int = 0
    correction: bool = False
    correction_item: int = 4
    expert_bias: bool = False
    gated: bool = True
    shared_gate: bool = False
    shared_name: str = "shared_experts"
    unsplit_since: EngineVersion | None = None
    dense_style: DecoderStyle = field(default_factory=DecoderStyle)


BLOCK_SPARSE = MoeStyle(parent="block_sparse_moe")
"""Mixtral's block, which others took over."""


def moe(rank: Rank, layer: str, hidden: int, style: MoeStyle, block: Experts) -> None:
    """Router, fused experts and shared experts of one layer, `block` of its shape."""
    parent = f"{layer}.{style.parent}"
    experts, intermediate = block.count, block.width
    item = style.gate_item or rank.item
    rank.whole(hidden, experts, style.gate_bias, item)
    if style.correction:
        rank.tensor(experts, style.correction_item or rank.item)
    rank.experts(f"{parent}.experts", experts, hidden, intermediate, gated=style.gated, bias=style.expert_bias)
    if block.shared:
        if style.shared_gate:
            rank.tensor(hidden)
        tp = rank.shared_experts_tp(style.unsplit_since)
        mlp(rank, f"{parent}.{style.shared_name}", hidden, block.shared, style.dense_style, tp)


def check_expert_count(rank: Rank) -> None:
    """Several model classes refuse tensor parallelism beyond the number of experts."""
    block = rank.shape.experts
    count = block.count if block is not None else 0
    if rank.tp > count:
        raise EngineRefusal(
            Check.TOO_MANY_RANKS_FOR_EXPERTS, f"Tensor parallel size {rank.tp} is greater than the number of experts {count}."
        )


def feed_forward(rank: Rank, layer: str, ffn: Mlp | Experts | None, style: DecoderStyle, sparse: MoeStyle) -> None:
    """What follows a layer's mixers, as its shape says: experts, a dense block, or nothing."""
    hidden = rank.shape.size.hidden_size
    if isinstance(ffn, Experts):
        moe(rank, layer, hidden, sparse, ffn)
    elif ffn is not None:
        mlp(rank, f"{layer}.{style.mlp}", hidden, ffn.width, style)


def build_moe(rank: Rank, style: DecoderStyle, sparse: MoeStyle) -> None:
    """A decoder of attention and, by its shape, experts or a dense block."""
    size, layers = rank.shape.size, rank.shape.layers

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        feed_forward(rank, name, layers[i].ffn, style, sparse)
        rank.norm(size.hidden_size, bias=style.norm_bias, count=style.norms)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, lambda i: layers[i].ffn)
