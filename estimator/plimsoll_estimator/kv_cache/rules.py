"""What vLLM's KV-cache planner does differently from release to release: one table, keyed on the release.

Read by every module of this package. Knows no model and does no arithmetic; a release between two rows follows the older.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal

from plimsoll_estimator.engine_version import EngineVersion

TokenMeaning = Literal["blocks_times_size", "blocks_per_group", "concurrency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    hybrid_groups: bool = False
    """Sliding-window and chunked layers get groups of their own; before, they were planned as full attention."""
    reserves_null_block: bool = False
    """The capacity check holds one block back (0.30: the null block of the pool)."""
    window_counts_in_flight: bool = False
    """Windows hold every token in flight (batched tokens times concurrent batches), not one batch."""
    tokens: TokenMeaning = "blocks_times_size"
    estimates_max_len: bool = False
    """The too-long refusal names the estimated maximum length."""
    unifies_page_sizes: bool = False
    """Layers with smaller pages get larger blocks; before, mixed page sizes were refused."""
    pads_attention_pages: bool = False
    """Attention pages that do not divide the largest are padded to it."""
    mamba_mode_all: bool = False
    """Prefix caching of Mamba1/2 keeps a state at every block ("all"); gone in 0.33, where "align" is the only mode."""
    mamba_checkpoints: bool = False
    """Prefill checkpoint blocks of GatedDeltaNet (Hopper) and Mamba2."""
    mla_hybrid_alignment: int = 64
    mamba_blocks_floor: bool = False
    """Start-up stops when max_num_seqs exceeds the blocks of a model with recurrent state (FULL graphs)."""
    hybrid_alignment_from_backend: bool = False
    """Hybrids round their block to the attention backend's kernel block; before, to 16 (MLA: 64)."""
    model_word: str = "models's"
    mm_prefix_composite: bool = False
    """Composite backends for bidirectional image tokens (TRITON_FLASH_ATTN, TRITON_FLASHINFER)."""
    fa4_large_heads: bool = False
    """FLASH_ATTN takes head sizes up to 512 and bidirectional image tokens through FA4."""
    sparse_mla_flash_attn: bool = False
    """FLASH_ATTN_MLA_SPARSE exists."""
    common_block_of_backends: bool = False
    """The block size must suit every attention backend of the model, not only the first layer's."""


_CHANGES: Final[tuple[tuple[EngineVersion, dict[str, Any]], ...]] = (
    (EngineVersion(0, 9, 1), {"hybrid_groups": True, "estimates_max_len": True, "tokens": "blocks_per_group"}),
    (EngineVersion(0, 11), {"unifies_page_sizes": True, "mamba_mode_all": True}),
    (EngineVersion(0, 20), {"tokens": "concurrency", "mamba_blocks_floor": True, "hybrid_alignment_from_backend": True}),
    (EngineVersion(0, 22), {"model_word": "model's", "sparse_mla_flash_attn": True, "fa4_large_heads": True}),
    (
        EngineVersion(0, 30),
        {
            "reserves_null_block": True,
            "window_counts_in_flight": True,
            "pads_attention_pages": True,
            "mm_prefix_composite": True,
        },
    ),
    (
        EngineVersion(0, 33),
        {
            "mamba_mode_all": False,
            "mamba_checkpoints": True,
            "mla_hybrid_alignment": 128,
            "common_block_of_backends": True,
        },
    ),
)


@lru_cache(maxsize=64)
def rules_for(version: EngineVersion) -> PlannerRules:
    """The rules of `version`: every change up to and including it, in order."""
    rules = PlannerRules()
    for since, change in _CHANGES:
        if version >= since:
            rules = replace(rules, **change)
    return rules
