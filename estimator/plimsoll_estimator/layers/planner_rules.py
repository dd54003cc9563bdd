"""What vLLM's KV-cache planner does differently from release to release: one table, keyed on the release.

Read by whatever says what a layer keeps, and by `kv_cache`. Knows no model and does no arithmetic; a release between two rows
follows the older.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.releases import Releases

TokenMeaning = Literal["blocks_times_size", "blocks_per_group", "concurrency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    hybrid_groups: bool = False
    """Sliding-window layers get groups of their own; before, they were planned as full attention."""
    chunked_groups: bool = False
    """Chunked local attention (Llama 4) too; before 0.14 it switched the hybrid manager off."""
    checks_by_group: bool = False
    """The capacity check counts blocks of groups, padding layers included; before, the pages of every layer alone."""
    checks_whole_model: bool = False
    """The capacity check holds the layers of every pipeline stage against one rank's memory (a defect of 0.14 to 0.16)."""
    checks_first_group: bool = False
    """The capacity check counts the first group's blocks alone, so that a hybrid starts with less than one request (0.14 to 0.18)."""
    window_keeps_own_block: bool = False
    """Sliding-window layers take the backend's smallest block whatever `block_size` says (0.25 to 0.30)."""
    group_growth: float = 1.0
    """The largest kind sets the group size when it is less than this many times the smallest."""
    reserves_null_block: bool = False
    """The capacity check holds one block back: the null block of the pool."""
    window_counts_in_flight: bool = False
    """Windows hold every token in flight (batched tokens times concurrent batches), not one batch."""
    tokens: TokenMeaning = "blocks_times_size"
    """How the logged size of the cache is counted: blocks times the block size, those of one group, or concurrency times length."""
    estimates_max_len: bool = False
    """The too-long refusal names the estimated maximum length (0.8 built the number and dropped it)."""
    unifies_page_sizes: bool = False
    """Layers with smaller pages get larger blocks; before, mixed page sizes were refused."""
    pads_attention_pages: bool = False
    """Attention pages that do not divide the largest are padded to it."""
    cross_holds_a_batch: bool = False
    """Cross-attention reserves max_num_batched_tokens of encoder output a request; before, the encoder's own length."""
    mamba_mode_all: bool = False
    """Prefix caching of Mamba1/2 keeps a state at every block."""
    mamba_mode_align: bool = False
    """Prefix caching of the others keeps the last states, at block borders; before, it was switched off for them."""
    state_block_below_batch: bool = False
    """Where the last states are kept, a block may not exceed max_num_batched_tokens (config/vllm.py: validate_block_size)."""
    mamba2_checkpoints: bool = False
    """Mamba2 holds one more block per request for prefill checkpoints."""
    gdn_checkpoints: bool = False
    """GatedDeltaNet on Hopper too, with blocks that are multiples of 64."""
    mla_hybrid_alignment: int = 64
    """Hybrids with latent attention round their blocks to this."""
    sm100_hybrid_alignment: int = 16
    """Hybrids with 256-wide heads on Blackwell round their blocks to this."""
    state_capture: Literal["asserted", "capped", "refused"] = "asserted"
    """What follows where captured graphs meet fewer blocks than sequences in a model with recurrent state, whether it attends or not.

    At first some kernels assert a block for each sequence of a captured batch (layers/mamba/ops/causal_conv1d.py: causal_conv1d_update with
    validate_data), others do not look; then captured sizes are capped at the blocks (config/compilation.py:
    adjust_cudagraph_sizes_for_mamba_cache); then start-up stops (resolve_cudagraph_mode_and_sizes).
    """
    hybrid_alignment_from_backend: bool = False
    """Hybrids round their block to the attention backend's kernel block; before, to 16 (latent attention: 64)."""
    block_from_backend: bool = False
    """The backend names its block; before, the platform forced one for latent attention."""
    blackwell_mla_block: int = 16
    """The block forced for latent attention on Blackwell while the platform did so."""
    mm_prefix_composite: bool = False
    """Composite backends for bidirectional image tokens (TRITON_FLASH_ATTN, TRITON_FLASHINFER)."""
    fa4_large_heads: bool = False
    """FLASH_ATTN takes head sizes up to 512 through FA4."""
    sparse_mla_flash_attn: bool = False
    """FLASH_ATTN_MLA_SPARSE exists."""
    packs_every_sparse_fp8: bool = True
    """An fp8 cache of sparse latent attention is made DeepSeek's packed one whatever its format and backend (models/config.py:
    DeepseekV32ForCausalLM); since 0.18 by FLASHMLA_SPARSE alone (layers/attention/mla_attention.py)."""
    shares_index: bool = False
    """Sparse latent attention honours `index_topk_freq`: some layers reuse the choice of the layer before."""
    packed_blocks: bool = False
    """Pages of different sizes are packed as `packing` does; earlier releases packed them otherwise."""
    state_context_parallel: Literal["refused", "unknown", "sharded"] = "refused"
    """Decode context parallelism beside recurrent state: 0.25.1 refuses it, and several groups; 0.32.0 takes it; between nobody looked."""
    plans_empty_caches: bool = False
    """A generator without any cache is planned; before, the planner stopped on the empty list."""
    common_block_of_backends: bool = False
    """The block size must suit every attention backend of the model, not only the first layer's."""


_RELEASES: Final = Releases(
    PlannerRules(),
    (EngineVersion(0, 9, 1), {"hybrid_groups": True, "estimates_max_len": True, "tokens": "blocks_per_group"}),
    (EngineVersion(0, 10, 2), {"blackwell_mla_block": 128}),
    (EngineVersion(0, 11), {"sm100_hybrid_alignment": 32}),
    (EngineVersion(0, 11, 1), {"mamba_mode_all": True}),
    (EngineVersion(0, 12), {"unifies_page_sizes": True, "group_growth": 1.25, "cross_holds_a_batch": True}),
    (EngineVersion(0, 14), {"checks_by_group": True, "checks_first_group": True, "checks_whole_model": True, "chunked_groups": True}),
    (EngineVersion(0, 15), {"mamba_mode_align": True, "blackwell_mla_block": 64}),
    (EngineVersion(0, 17), {"checks_whole_model": False}),
    (
        EngineVersion(0, 18),
        {
            "group_growth": 1.5,
            "block_from_backend": True,
            "sm100_hybrid_alignment": 16,
            "state_capture": "capped",
            "state_block_below_batch": True,
            "packs_every_sparse_fp8": False,
        },
    ),
    (EngineVersion(0, 19), {"checks_first_group": False}),
    (
        EngineVersion(0, 20),
        {
            "state_capture": "refused",
            "hybrid_alignment_from_backend": True,
            "mla_hybrid_alignment": 16,
            "fa4_large_heads": True,
        },
    ),
    (EngineVersion(0, 20, 1), {"tokens": "concurrency"}),
    (EngineVersion(0, 21), {"shares_index": True}),
    (EngineVersion(0, 24), {"pads_attention_pages": True}),
    (EngineVersion(0, 25), {"sparse_mla_flash_attn": True, "window_keeps_own_block": True}),
    (
        EngineVersion(0, 26),
        {"window_counts_in_flight": True, "state_context_parallel": "unknown", "plans_empty_caches": True},
    ),
    (EngineVersion(0, 27), {"mla_hybrid_alignment": 128, "state_block_below_batch": False}),
    (EngineVersion(0, 28), {"mamba_mode_all": False}),
    (EngineVersion(0, 29), {"reserves_null_block": True}),
    (EngineVersion(0, 30), {"mm_prefix_composite": True, "window_keeps_own_block": False}),
    (EngineVersion(0, 32), {"mamba2_checkpoints": True, "common_block_of_backends": True, "state_context_parallel": "sharded"}),
    (EngineVersion(0, 33), {"gdn_checkpoints": True, "packed_blocks": True}),
)
"""Read from the planner's source of 0.8.5, 0.9.1, and one release of every minor from 0.10 to 0.33; between the patches of a minor from
0.11.1 on only 0.20.1 changes it (v1/core/kv_cache_utils.py)."""


@lru_cache(maxsize=64)
def rules_for(version: EngineVersion) -> PlannerRules:
    """The rules of `version`."""
    return _RELEASES.of(version)
