"""What one layer keeps per request, and how many blocks of it a request of full length holds.

Made by `model_layers`, grouped by `grouping`. Knows no model family: kinds, bytes and windows only.
"""

from __future__ import annotations

from typing import NamedTuple

from plimsoll_estimator.layers.needs import Kind
from plimsoll_estimator.units import ceil_div


class Reach(NamedTuple):
    """How far one request reaches besides its own length: what windows, ranks and encoders add or take."""

    window_tokens: int
    """Tokens scheduled but not settled that a window still holds."""
    decode_context_parallel_size: int = 1
    encoder_tokens: int = 0


class LayerSpec(NamedTuple):
    """The cache of one layer on one rank: `page_bytes` is one block of one layer, padding included."""

    kind: Kind
    block_size: int
    page_bytes: int
    window: int = 0
    """Sliding window or chunk, in tokens."""
    state_blocks: int = 0
    """Blocks of recurrent state per request; 0 means one per `block_size` tokens."""
    role: str = ""
    """Tells apart layers of equal kind and size that cannot share a block table entry (an indexer, for example)."""
    stride_alignment: int = 1
    padded: bool = False
    dcp_sharded: bool = True

    def blocks(self, length: int, reach: Reach) -> int:
        """Blocks one request of `length` tokens holds (vLLM: max_memory_usage_bytes / page size)."""
        match self.kind:
            case "full" | "mla":
                if self.dcp_sharded and reach.decode_context_parallel_size > 1:
                    length = ceil_div(length, reach.decode_context_parallel_size)
                return ceil_div(length, self.block_size)
            case "sliding" | "sliding_mla":
                # One more: the window need not begin at a block boundary.
                return ceil_div(min(self.window - 1 + reach.window_tokens, length), self.block_size) + 1
            case "chunked":
                return ceil_div(min(self.window + reach.window_tokens, length), self.block_size)
            case "cross":
                return ceil_div(reach.encoder_tokens, self.block_size)
            case "ring":
                return 1
            case "state":
                return self.state_blocks or ceil_div(length, self.block_size)

    @property
    def stride_bytes(self) -> int:
        """The page rounded up to its alignment: what a block of this layer costs in the pool."""
        return ceil_div(self.page_bytes, self.stride_alignment) * self.stride_alignment

    @property
    def is_full(self) -> bool:
        """Holds every token (MLA is a kind of full attention to the planner)."""
        return self.kind in ("full", "mla")

    def same_type(self, other: LayerSpec) -> bool:
        """Whether both always need the same number of token slots, so that one block table serves both."""
        if self.block_size != other.block_size:
            return False
        if self.is_full and other.is_full:
            return True
        if self.kind != other.kind:
            return False
        if self.kind == "state":
            return self.state_blocks == other.state_blocks and self.page_bytes == other.page_bytes
        return self.window == other.window

    def scaled_to(self, page_bytes: int) -> LayerSpec:
        """The same layer with a larger block, so that its page becomes `page_bytes` (a multiple of the present page)."""
        ratio = page_bytes // self.page_bytes
        return self._replace(block_size=self.block_size * ratio, page_bytes=page_bytes)

    def padded_to(self, page_bytes: int) -> LayerSpec:
        """The same layer with its page padded to `page_bytes`."""
        return self._replace(page_bytes=page_bytes, padded=True)
