"""Layers that keep a state: the parameters of Mamba 1 and 2, Gated DeltaNet and short convolutions.

Called by the hybrid lines. What they keep is in `recurrent`. Knows no quantisation.
Sources: vllm/model_executor/layers/mamba/{mamba_mixer,mamba_mixer2,gdn_linear_attn,short_conv}.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.shape import DeltaNet


def mamba1(rank: Rank, parent: str, text: HfConfig, norms: bool) -> None:
    """MambaMixer: inner channels divided; x_proj reads divided channels; A is float32."""
    hidden = text.int("hidden_size")
    state, kernel = text.int("mamba_d_state", "state_size", default=16), text.int("mamba_d_conv", "conv_kernel", default=4)
    inner = text.int_or_none("intermediate_size") if "state_size" in text else None
    inner = inner or hidden * text.int("mamba_expand", "expand", default=2)
    dt_rank = text.int_or_none("mamba_dt_rank", "time_step_rank") or -(-hidden // 16)
    mine = divide(inner, rank.tp)
    bias = text.raw("mamba_proj_bias") is True or text.raw("use_bias") is True
    rank.tensor(mine * kernel + (mine if text.bool("mamba_conv_bias", text.bool("use_conv_bias", True)) else 0))
    rank.column(parent, ("in_proj",), hidden, (inner, inner), bias=bias)
    rank.row(parent, "x_proj", inner, dt_rank + 2 * state)
    rank.column(parent, ("dt_proj",), dt_rank, (inner,), bias=True)
    rank.tensor(mine * state, 4)
    rank.tensor(mine)
    rank.row(parent, "out_proj", inner, hidden, bias=bias)
    if norms:
        rank.norm(dt_rank + 2 * state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2:
    """Dimensions of MambaMixer2."""

    hidden: int
    inner: int
    heads: int
    groups: int
    state: int
    kernel: int
    bias: bool
    conv_bias: bool


def mamba2(rank: Rank, parent: str, dims: Mamba2, normed: bool = True) -> None:
    """MambaMixer2: heads divided, groups divided or (when one, or too few) replicated. A is float32."""
    tp = rank.tp
    divide(dims.heads, tp)
    if dims.groups % tp and dims.groups != 1:
        raise EngineRefusal(
            Check.NOT_DIVISIBLE, f"Tensor parallel world size {tp} must divide num_groups {dims.groups} unless num_groups is 1."
        )
    groups = dims.groups // tp if dims.groups % tp == 0 else 1
    mine, heads, grouped = dims.inner // tp, dims.heads // tp, groups * dims.state
    channels = mine + 2 * grouped
    rank.tensor(channels * dims.kernel + (channels if dims.conv_bias else 0))
    if rank.rules.copies_conv_weights:
        rank.tensor(channels * dims.kernel)
        rank.added_bytes -= channels * dims.kernel * rank.item
    rank.column(parent, ("in_proj",), dims.hidden, (mine * tp, mine * tp, grouped * tp, grouped * tp, heads * tp), bias=dims.bias)
    rank.tensor(2 * heads)
    rank.tensor(heads, 4)
    if normed:
        rank.norm(mine)
    rank.row(parent, "out_proj", dims.inner, dims.hidden, bias=dims.bias)


def short_conv(rank: Rank, parent: str, hidden: int, kernel: int, bias: bool) -> None:
    """ShortConv: three merged projections and a depthwise convolution."""
    rank.tensor(divide(hidden, rank.tp) * kernel + (hidden // rank.tp if bias else 0))
    rank.column(parent, ("in_proj",), hidden, (hidden, hidden, hidden), bias=bias)
    rank.row(parent, "out_proj", hidden, hidden, bias=bias)


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
