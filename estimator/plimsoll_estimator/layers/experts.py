"""Routed experts: the sparse block of a decoder, and decoders of attention and experts of the common build.

Called by the model lines. Sources: vllm/model_executor/layers/fused_moe/layer.py and the classes in vllm/model_executor/models/.
Knows no quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, rope_table, size_of, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.shape import Experts, Mlp

EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeStyle:
    """How a family's sparse block is built. `gate_item` and `correction_item` are bytes per element; 0 means the model's dtype.

    `unsplit_since`: the release from which the class holds its shared experts whole on every rank when tokens are divided among
    the tensor-parallel ranks (`Rank.tokens_divided`); None for the classes that never do.
    """

    parent: str = "mlp"
    experts: tuple[str, ...] = EXPERTS
    intermediate: tuple[str, ...] = ("moe_intermediate_size", "intermediate_size")
    gate_bias: bool = False
    gate_item: int = 0
    correction: bool = False
    correction_item: int = 4
    expert_bias: bool = False
    gated: bool = True
    shared: Literal["no", "count", "size"] = "no"
    shared_gate: bool = False
    shared_name: str = "shared_experts"
    unsplit_since: EngineVersion | None = None
    dense_style: DecoderStyle = field(default_factory=DecoderStyle)


BLOCK_SPARSE = MoeStyle(parent="block_sparse_moe", intermediate=("intermediate_size",))
"""Mixtral's block, which others took over."""


def block_of(rank: Rank, style: MoeStyle) -> Experts:
    """The sparse block of a class without a record, by the style's keys."""
    text = rank.text
    width, shared = text.int(*style.intermediate), 0
    if style.shared == "count":
        shared = (text.int_or_none("n_shared_experts", "moe_num_shared_experts", "num_shared_experts") or 0) * width
    elif style.shared == "size":
        shared = text.int_or_none("shared_expert_intermediate_size", "shared_intermediate_size") or 0
    return Experts(count=expert_count(text, style.experts), per_token=0, width=width, shared=shared)


def moe(rank: Rank, layer: str, hidden: int, style: MoeStyle, block: Experts | None = None) -> None:
    """Router, fused experts and shared experts of one layer, `block` of its shape."""
    if block is None:
        block = block_of(rank, style)
    parent = f"{layer}.{style.parent}"
    experts, intermediate = block.count, block.width
    item = style.gate_item or rank.item
    rank.tensor(experts * hidden, item)
    if style.gate_bias:
        rank.tensor(experts, item)
    if style.correction:
        rank.tensor(experts, style.correction_item or rank.item)
    rank.experts(f"{parent}.experts", experts, hidden, intermediate, gated=style.gated, bias=style.expert_bias)
    if block.shared:
        if style.shared_gate:
            rank.tensor(hidden)
        tp = rank.shared_experts_tp(style.unsplit_since)
        mlp(rank, f"{parent}.{style.shared_name}", hidden, block.shared, style.dense_style, tp)


def expert_count(text: HfConfig, keys: tuple[str, ...] = EXPERTS) -> int:
    """Routed experts; a list (one entry per layer) gives its first."""
    for key in keys:
        value = text.raw(key)
        if isinstance(value, list | tuple) and value and isinstance(value[0], int):
            return value[0]
        if value is not None:
            return text.int(key)
    return 0


def check_expert_count(rank: Rank, experts: int) -> None:
    """Several model classes refuse tensor parallelism beyond the number of experts."""
    if rank.tp > experts:
        raise EngineRefusal(
            Check.TOO_MANY_RANKS_FOR_EXPERTS, f"Tensor parallel size {rank.tp} is greater than the number of experts {experts}."
        )


def feed_forward(rank: Rank, layer: str, ffn: Mlp | Experts | None, style: DecoderStyle, sparse: MoeStyle) -> None:
    """What follows a layer's mixers, as its shape says: experts, a dense block, or nothing."""
    hidden = rank.shape.size.hidden_size
    if isinstance(ffn, Experts):
        moe(rank, layer, hidden, sparse, ffn)
    elif ffn is not None:
        mlp(rank, f"{layer}.{style.mlp}", hidden, ffn.width, style)


def build_moe(
    rank: Rank, style: DecoderStyle, sparse: MoeStyle, first_dense: int = 0, step: int = 1, listed: frozenset[int] = frozenset()
) -> None:
    """A decoder of attention and, by its shape, experts or a dense block.

    Of a class without a record the layers beyond `first_dense`, every `step`-th, and not `listed`, are sparse.
    """
    size = size_of(rank, style)

    def ffn(i: int) -> Mlp | Experts | None:
        if rank.described:
            return rank.shape.layers[i].ffn
        routed = i >= first_dense and i not in listed and (i + 1) % step == 0
        return block_of(rank, sparse) if routed else Mlp(width=size.intermediate_size)

    def layer(i: int) -> None:
        name, follows = f"layers.{i}", ffn(i)
        attention(rank, name, size, style)
        if isinstance(follows, Experts):
            moe(rank, name, size.hidden_size, sparse, follows)
        elif follows is not None:
            mlp(rank, f"{name}.{style.mlp}", size.hidden_size, follows.width, style)
        rank.norm(size.hidden_size, bias=style.norm_bias, count=style.norms)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, ffn)
