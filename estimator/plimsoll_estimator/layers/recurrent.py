"""Recurrent state of Mamba1/2, GatedDeltaNet, KDA, lightning attention and short convolutions: bytes and blocks per request.

Called by the hybrid lines and by `caches`. Source: vLLM model_executor/layers/mamba/mamba_utils.py (shapes, dtypes) and MambaSpec (blocks).
"""

from __future__ import annotations

from typing import Final, Literal

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.layers.kv_dtype import dtype_bytes
from plimsoll_estimator.layers.needs import StateNeed
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.resolved import ResolvedArgs

CacheMode = Literal["none", "align", "all"]
GDN_CHECKPOINT_ALIGNMENT: Final = 64
"""Tokens between checkpoints that FlashInfer's GatedDeltaNet prefill can export (Hopper only)."""


def cache_mode(resolved: ResolvedArgs, rules: PlannerRules, *, supports_all: bool) -> CacheMode:
    """How states are kept: one per request, the last ones at block borders, or one at every block."""
    if resolved.enable_prefix_caching:
        if supports_all and rules.mamba_mode_all:
            return "all"
        if rules.mamba_mode_align:
            return "align"
    return "none"


def state_need(
    resolved: ResolvedArgs, rules: PlannerRules, state_bytes: int, *, role: str, supports_all: bool = False, checkpoints: bool = False,
    counted: bool = False,
) -> StateNeed:  # fmt: skip
    """A layer's state with the blocks a request holds: 1, 2 with aligned prefix caching, one more per draft token.

    `checkpoints`: with aligned prefix caching this kind exports states from within a prefill, one block more. `counted`
    as in StateNeed.
    """
    mode = cache_mode(resolved, rules, supports_all=supports_all)
    drafts = resolved.num_speculative_tokens
    if mode == "all":
        blocks = 0
    elif mode == "align":
        blocks = 2 + drafts + int(checkpoints)
    else:
        blocks = 1 + drafts
    return StateNeed(state_bytes=state_bytes, blocks=blocks, role=role, counted=counted)


def split(value: int, tensor_parallel_size: int, what: str) -> int:
    """`value` over the ranks; vLLM asserts that it divides."""
    if value % tensor_parallel_size:
        raise EngineRefusal(Check.NOT_DIVISIBLE, f"{what} ({value}) is not divisible by tensor_parallel_size ({tensor_parallel_size})")
    return value // tensor_parallel_size


def mamba1_bytes(resolved: ResolvedArgs, *, inner: int, state_size: int, conv_kernel: int, ssm_dtype: str | None = None) -> int:
    """Convolution window and selective state of one Mamba1 layer on one rank."""
    part = split(inner, resolved.tensor_parallel_size, "the Mamba inner size")
    conv, ssm = _dtypes(resolved, ssm_dtype)
    return part * (conv_kernel - 1) * conv + part * state_size * ssm


def mamba2_bytes(
    resolved: ResolvedArgs, *, inner: int, groups: int, heads: int, head_dim: int, state_size: int, conv_kernel: int,
    ssm_dtype: str | None = None,
) -> int:  # fmt: skip
    """Convolution window and state of one Mamba2 layer; groups are replicated so that every rank has those of its heads."""
    tp = resolved.tensor_parallel_size
    if groups % tp:
        groups = tp
    part = split(inner + 2 * groups * state_size, tp, "the Mamba2 convolution size")
    conv, ssm = _dtypes(resolved, ssm_dtype)
    window = conv_kernel - 1 + resolved.num_speculative_tokens
    return part * window * conv + split(heads, tp, "the Mamba2 heads") * head_dim * state_size * ssm


def gated_delta_net_bytes(
    resolved: ResolvedArgs, *, key_heads: int, value_heads: int, key_dim: int, value_dim: int, conv_kernel: int,
    ssm_dtype: str | None = None,
) -> int:  # fmt: skip
    """Convolution window and state of one GatedDeltaNet layer."""
    tp = resolved.tensor_parallel_size
    part = split(2 * key_dim * key_heads + value_dim * value_heads, tp, "the GatedDeltaNet convolution size")
    conv, ssm = _dtypes(resolved, ssm_dtype)
    window = conv_kernel - 1 + resolved.num_speculative_tokens
    return part * window * conv + split(value_heads, tp, "linear_num_value_heads") * value_dim * key_dim * ssm


def kda_bytes(resolved: ResolvedArgs, *, heads: int, head_dim: int, conv_kernel: int) -> int:
    """Convolution windows and state (float32) of one Kimi-delta-attention layer."""
    tp = resolved.tensor_parallel_size
    part = split(3 * heads * head_dim, tp, "the KDA projection size")
    conv, _ = _dtypes(resolved, None)
    given = resolved.given.mamba_ssm_cache_dtype
    ssm = dtype_bytes("float32" if given in (None, "auto") else given)
    window = conv_kernel - 1 + resolved.num_speculative_tokens
    return part * window * conv + split(heads, tp, "the KDA heads") * head_dim * head_dim * ssm


def lightning_bytes(resolved: ResolvedArgs, *, heads: int, head_dim: int) -> int:
    """The key-value state of one lightning-attention layer."""
    return split(heads, resolved.tensor_parallel_size, "the attention heads") * head_dim * head_dim * dtype_bytes(resolved.dtype)


def short_conv_bytes(resolved: ResolvedArgs, *, width: int, kernel: int) -> int:
    """The convolution window of one LFM2 layer."""
    return split(width, resolved.tensor_parallel_size, "conv_dim") * (kernel - 1) * dtype_bytes(resolved.dtype)


def _dtypes(resolved: ResolvedArgs, declared: str | None) -> tuple[int, int]:
    """Bytes of (convolution, state) elements; the user's word wins over the config's, else both are the model's."""
    conv = dtype_bytes(resolved.dtype)
    given = resolved.given.mamba_ssm_cache_dtype
    chosen = given if given not in (None, "auto") else declared
    return conv, dtype_bytes(chosen) if chosen not in (None, "auto") else conv
