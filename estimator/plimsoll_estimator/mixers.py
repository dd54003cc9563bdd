"""What a layer is made of, as values: what mixes tokens, and what follows.

Made by the model files, part of a `shape.Layer`; `layers` weighs and prices them. Knows no bytes, no releases, no parallel sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

Seen: TypeAlias = Literal["full", "sliding", "chunked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Ordinary attention. `seen`: which earlier tokens a query sees; `window` tokens where not all of them.

    `follows_cache_dtype` false: the class hands no cache settings to its attention, so the cache stays at the model's dtype.
    `sinks`: a learned logit a head that only some kernels take.
    """

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    seen: Seen = "full"
    window: int = 0
    follows_cache_dtype: bool = True
    sinks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Multi-head latent attention: one compressed vector a token for all heads.

    `index_heads` of `index_head_dim`: the indexer by which tokens are chosen, 0 where all are seen. `shares_index`: it takes the choice of
    the layer before, in releases that know of sharing.
    """

    heads: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    index_heads: int = 0
    index_head_dim: int = 0
    shares_index: bool = False

    @property
    def query_width(self) -> int:
        """Of all heads: the part that rotates and the part that does not."""
        return self.heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)

    @property
    def expanded_width(self) -> int:
        """What a latent expands into for all heads: keys that do not rotate, and values."""
        return self.heads * (self.qk_nope_head_dim + self.v_head_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba1:
    """A selective state space of `inner` channels (vLLM layers/mamba/mamba_mixer.py)."""

    inner: int
    state: int
    kernel: int
    dt_rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2:
    """A state space of heads (layers/mamba/mamba_mixer2.py). `state_dtype`: what the config says the state is kept in."""

    inner: int
    heads: int
    head_dim: int
    groups: int
    state: int
    kernel: int
    state_dtype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaNet:
    """A gated delta rule (layers/mamba/gdn_linear_attn.py). `checkpoints`: its class can export states from within a prefill."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int
    state_dtype: str | None = None
    checkpoints: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KimiDelta:
    """Kimi delta attention (layers/kda.py)."""

    heads: int
    head_dim: int
    kernel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lightning:
    """Linear attention with decay (layers/mamba/linear_attn.py)."""

    heads: int
    head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConv:
    """A short convolution of `width` channels (layers/mamba/short_conv.py)."""

    width: int
    kernel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexKeys:
    """16-bit keys beside ordinary attention, by which blocks of `block` tokens are chosen (MiniMax-M3)."""

    width: int
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossAttention:
    """Attention to an encoder's output, kept per request: `tokens` of it."""

    kv_heads: int
    head_dim: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedLatent:
    """DeepSeek-V4's: a window of latents, and, with a `ratio` above 1, one state for so many tokens, chosen by an index at ratio 4."""

    heads: int
    head_dim: int
    window: int
    ratio: int
    index_head_dim: int


State: TypeAlias = Mamba1 | Mamba2 | DeltaNet | KimiDelta | Lightning | ShortConv
Mixer: TypeAlias = Attention | Latent | CompressedLatent | CrossAttention | IndexKeys | State
Kind = TypeVar("Kind", bound=Mixer)
ATTENTIONS: tuple[type[Mixer], ...] = (Attention, Latent, CompressedLatent)
STATES: tuple[type[State], ...] = (Mamba1, Mamba2, DeltaNet, KimiDelta, Lightning, ShortConv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """A dense feed-forward block of `width` intermediate channels."""

    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Routed experts of `width` each, and the dense width that stands beside them (`shared`, 0 without)."""

    count: int
    per_token: int
    width: int
    shared: int = 0
