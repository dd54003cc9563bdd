"""Recurrent state of Mamba1/2, GatedDeltaNet, KDA, lightning attention and short convolutions: bytes and blocks per request.

Called by `keeps` and the planner. Refuses to know configs and models.
Source: vLLM model_executor/layers/mamba/mamba_utils.py (shapes, dtypes) and MambaSpec (blocks).
"""

from __future__ import annotations

from functools import singledispatch
from typing import Final, Literal

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.layers.kv_dtype import dtype_bytes
from plimsoll_estimator.layers.needs import StateNeed
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.mixers import DeltaNet, KimiDelta, Lightning, Mamba1, Mamba2, ShortConv, State
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
    mixer: State, resolved: ResolvedArgs, rules: PlannerRules, *, role: str, supports_all: bool = False, checkpoints: bool = False,
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
    return StateNeed(state_bytes=state_bytes(mixer, resolved), blocks=blocks, role=role, counted=counted)


def split(value: int, tensor_parallel_size: int, what: str) -> int:
    """`value` over the ranks; vLLM asserts that it divides."""
    if value % tensor_parallel_size:
        raise EngineRefusal(Check.NOT_DIVISIBLE, f"{what} ({value}) is not divisible by tensor_parallel_size ({tensor_parallel_size})")
    return value // tensor_parallel_size


@singledispatch
def state_bytes(mixer: object, resolved: ResolvedArgs) -> int:
    """Bytes of one layer's states of a sequence, on one rank: a convolution's window, and what the mixer sums up."""
    raise Unsupported(Check.KV_CACHE_FAMILY, f"no rule for the states of {type(mixer).__name__}")


@state_bytes.register
def _(mixer: Mamba1, resolved: ResolvedArgs) -> int:
    part = split(mixer.inner, resolved.tensor_parallel_size, "the Mamba inner size")
    conv, ssm = _dtypes(resolved, None)
    return part * (mixer.kernel - 1) * conv + part * mixer.state * ssm


@state_bytes.register
def _(mixer: Mamba2, resolved: ResolvedArgs) -> int:
    """Groups are replicated so that every rank has those of its heads."""
    tp = resolved.tensor_parallel_size
    groups = tp if mixer.groups % tp else mixer.groups
    part = split(mixer.inner + 2 * groups * mixer.state, tp, "the Mamba2 convolution size")
    conv, ssm = _dtypes(resolved, mixer.state_dtype)
    return part * _window(mixer, resolved) * conv + split(mixer.heads, tp, "the Mamba2 heads") * mixer.head_dim * mixer.state * ssm


@state_bytes.register
def _(mixer: DeltaNet, resolved: ResolvedArgs) -> int:
    tp = resolved.tensor_parallel_size
    channels = 2 * mixer.key_dim * mixer.key_heads + mixer.value_dim * mixer.value_heads
    part = split(channels, tp, "the GatedDeltaNet convolution size")
    conv, ssm = _dtypes(resolved, mixer.state_dtype)
    heads = split(mixer.value_heads, tp, "linear_num_value_heads")
    return part * _window(mixer, resolved) * conv + heads * mixer.value_dim * mixer.key_dim * ssm


@state_bytes.register
def _(mixer: KimiDelta, resolved: ResolvedArgs) -> int:
    """The sums are float32 unless the user says otherwise."""
    tp = resolved.tensor_parallel_size
    part = split(3 * mixer.heads * mixer.head_dim, tp, "the KDA projection size")
    conv, ssm = _dtypes(resolved, "float32")
    return part * _window(mixer, resolved) * conv + split(mixer.heads, tp, "the KDA heads") * mixer.head_dim * mixer.head_dim * ssm


@state_bytes.register
def _(mixer: Lightning, resolved: ResolvedArgs) -> int:
    heads = split(mixer.heads, resolved.tensor_parallel_size, "the attention heads")
    return heads * mixer.head_dim * mixer.head_dim * _kept_bytes(resolved)


@state_bytes.register
def _(mixer: ShortConv, resolved: ResolvedArgs) -> int:
    return split(mixer.width, resolved.tensor_parallel_size, "conv_dim") * (mixer.kernel - 1) * _kept_bytes(resolved)


def _window(mixer: Mamba2 | DeltaNet | KimiDelta, resolved: ResolvedArgs) -> int:
    """Tokens that a convolution looks back, and one more a draft."""
    return mixer.kernel - 1 + resolved.num_speculative_tokens


def _kept_bytes(resolved: ResolvedArgs) -> int:
    """Bytes of an element that nothing else is said of (mamba_utils.py: get_kv_cache_torch_dtype): the model's, or --mamba-cache-dtype."""
    given = resolved.given.mamba_cache_dtype
    return dtype_bytes(given if given not in (None, "auto") else resolved.dtype)


def _dtypes(resolved: ResolvedArgs, declared: str | None) -> tuple[int, int]:
    """Bytes of (convolution, state) elements; the user's word wins over the config's, else both are alike."""
    conv = _kept_bytes(resolved)
    given = resolved.given.mamba_ssm_cache_dtype
    chosen = given if given not in (None, "auto") else declared
    return conv, dtype_bytes(chosen) if chosen not in (None, "auto") else conv
