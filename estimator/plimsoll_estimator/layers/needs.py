"""What one layer needs to keep, before block sizes are known. Values only.

Made by `caches` and the model lines, priced by `kv_cache.model_layers`. Knows no model.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from plimsoll_estimator.layers.backends import Backend
from plimsoll_estimator.units import ceil_div

Kind = Literal["full", "mla", "sliding", "sliding_mla", "chunked", "cross", "state", "ring"]


class AttentionNeed(NamedTuple):
    """A layer whose cache grows with tokens. `token_bytes` is one token of this layer on one rank."""

    kind: Kind
    token_bytes: int
    window: int = 0
    role: str = ""
    block_size: int = 0
    """A block size of the layer's own; 0 takes the engine's."""
    tokens_per_state: int = 1
    alignment: int = 1
    stride_alignment: int = 1

    def page_bytes(self, block_size: int) -> int:
        """One block, rounded up to the layer's own alignment."""
        page = block_size // self.tokens_per_state * self.token_bytes
        return ceil_div(page, self.alignment) * self.alignment


class StateNeed(NamedTuple):
    """A layer with recurrent state: `state_bytes` per block, `blocks` per request (0: one per state block).

    `counted`: its decode kernel asserts a block for each sequence of a batch.
    """

    state_bytes: int
    blocks: int
    role: str = ""
    counted: bool = False


Need = AttentionNeed | StateNeed


class ModelNeeds(NamedTuple):
    """A whole model: the needs of each decoder layer, and what decides its block size."""

    kinds: tuple[tuple[Need, ...], ...]
    """Of each of the shape's kinds of layers."""
    order: tuple[int, ...]
    """Of each decoder layer, which of `kinds` its needs are (`Shape.order`)."""
    backend: Backend
    state: StateNeed | None = None
    """The largest recurrent state, when there is one."""
    is_hybrid: bool = False
    """Attention and recurrent state together: their pages are made equal."""
    attention_token_bytes: int = 0
    """One token of an ordinary attention layer, the yardstick of the alignment."""
    uses_mla: bool = False
    block_alignment: int = 1
    """What hybrid blocks must also be a multiple of."""
    head_dim: int = 0
    chunk_size: int = 2048
    supports_mode_all: bool = False
    """The class can keep a state at every block (mode "all", where the release has it)."""
    encoder_tokens: int = 0
    packed: bool = False
    """Pages of different sizes lie side by side in a block."""
    predictions: tuple[tuple[Need, ...], ...] = ()
    """The needs of each prediction module of the model's own checkpoint."""

    @property
    def layers(self) -> tuple[tuple[Need, ...], ...]:
        """The needs of each decoder layer, in order."""
        return tuple(map(self.kinds.__getitem__, self.order))
