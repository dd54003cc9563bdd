"""Layers that keep a state: the parameters of Mamba 1 and 2, Gated DeltaNet and short convolutions.

Called by the hybrid lines with a mixer of the shape; biases and norms are the class's. What mixers keep is in `keeps` and `recurrent`.
Knows no quantisation and no config.
Sources: vllm/model_executor/layers/mamba/{mamba_mixer,mamba_mixer2,gdn_linear_attn,short_conv}.py.
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.mixers import DeltaNet, Mamba1, Mamba2, ShortConv


def mamba1(rank: Rank, parent: str, hidden: int, mixer: Mamba1, *, bias: bool, conv_bias: bool, norms: bool) -> None:
    """MambaMixer: inner channels divided; x_proj reads divided channels; A is float32."""
    inner, mine = mixer.inner, divide(mixer.inner, rank.tp)
    rank.tensor(mine * mixer.kernel + (mine if conv_bias else 0))
    rank.column(parent, ("in_proj",), hidden, (inner, inner), bias=bias)
    rank.row(parent, "x_proj", inner, mixer.dt_rank + 2 * mixer.state)
    rank.column(parent, ("dt_proj",), mixer.dt_rank, (inner,), bias=True)
    rank.tensor(mine * mixer.state, 4)
    rank.tensor(mine)
    rank.row(parent, "out_proj", inner, hidden, bias=bias)
    if norms:
        rank.norm(mixer.dt_rank + 2 * mixer.state)


def local_groups(rank: Rank, mixer: Mamba2) -> int:
    """Groups on one rank: divided or (when one, or too few) replicated."""
    if mixer.groups % rank.tp and mixer.groups != 1:
        raise EngineRefusal(
            Check.NOT_DIVISIBLE, f"Tensor parallel world size {rank.tp} must divide num_groups {mixer.groups} unless num_groups is 1."
        )
    return mixer.groups // rank.tp if mixer.groups % rank.tp == 0 else 1


def mamba2(rank: Rank, parent: str, hidden: int, mixer: Mamba2, *, bias: bool, conv_bias: bool, normed: bool = True) -> None:
    """MambaMixer2: heads divided; A is float32."""
    tp = rank.tp
    heads, mine = divide(mixer.heads, tp), mixer.inner // tp
    grouped = local_groups(rank, mixer) * mixer.state
    channels = mine + 2 * grouped
    rank.tensor(channels * mixer.kernel + (channels if conv_bias else 0))
    if rank.rules.copies_conv_weights:
        rank.tensor(channels * mixer.kernel)
        rank.added_bytes -= channels * mixer.kernel * rank.item
    rank.column(parent, ("in_proj",), hidden, (mine * tp, mine * tp, grouped * tp, grouped * tp, heads * tp), bias=bias)
    rank.tensor(2 * heads)
    rank.tensor(heads, 4)
    if normed:
        rank.norm(mine)
    rank.row(parent, "out_proj", mixer.inner, hidden, bias=bias)


def short_conv(rank: Rank, parent: str, mixer: ShortConv, *, bias: bool) -> None:
    """ShortConv: three merged projections and a depthwise convolution."""
    mine = divide(mixer.width, rank.tp)
    rank.tensor(mine * mixer.kernel + (mine if bias else 0))
    rank.column(parent, ("in_proj",), mixer.width, (mixer.width, mixer.width, mixer.width), bias=bias)
    rank.row(parent, "out_proj", mixer.width, mixer.width, bias=bias)


def delta_net(rank: Rank, parent: str, hidden: int, mixer: DeltaNet, *, split_names: bool) -> None:
    """Gated DeltaNet: query, key, value and gate in one projection; a small one for beta and decay."""
    key, value = mixer.key_heads * mixer.key_dim, mixer.value_heads * mixer.value_dim
    names = ("in_proj_qkv", "in_proj_z") if split_names else ("in_proj_qkvz",)
    small = ("in_proj_b", "in_proj_a") if split_names else ("in_proj_ba",)
    rank.tensor(divide(key * 2 + value, rank.tp) * mixer.kernel)
    rank.column(parent, names, hidden, (key, key, value, value))
    rank.column(parent, small, hidden, (mixer.value_heads, mixer.value_heads) if split_names else (2 * mixer.value_heads,))
    heads = divide(mixer.value_heads, rank.tp)
    rank.tensor(heads)
    rank.tensor(heads, 4 if rank.rules.float32_decay else None)
    rank.norm(mixer.value_dim)
    rank.row(parent, "out_proj", value, hidden)
