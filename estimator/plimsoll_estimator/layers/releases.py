"""What vLLM's layer classes build differently from release to release, where a rule serves several model lines.

Read by `rank` and the other modules of this folder, and by model lines as `rank.rules`; a border of one line alone stays in its module.
Knows no bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.releases import Releases


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    divides_tokens: bool = False
    """With expert and tensor parallelism under several engines tokens are divided (config/parallel.py: use_sequence_parallel_moe).

    Some classes then hold shared experts whole on every rank. 0.10.2 does so only with DeepEP, which is not its default."""
    copies_conv_weights: bool = False
    """`conv_weights`, a view of Mamba 2's convolution, is a buffer of its own on the meta device (layers/mamba/mamba_mixer2.py)."""
    attention_scale_bytes: int = 0
    """Four float32 scales that every attention keeps as buffers (attention/layer.py)."""
    indexer_weights_bias: bool = True
    """The sparse indexer's `weights_proj` has a bias (models/deepseek_v2.py)."""
    merges_indexer: bool = False
    """Its `wk` and `weights_proj` are one unquantised weight (models/deepseek_v2.py)."""
    float32_decay: bool = False
    """Gated DeltaNet keeps `A_log` in float32 (models/qwen3_next.py)."""
    inverse_frequency_copies: int = 1
    """Transformers' RotaryEmbedding keeps its inverse frequencies; Transformers 5 a copy too."""
    local_rope_apart: bool = False
    """The cache of rope tables compares parameters in their order, which Transformers wrote otherwise from 0.19 to 0.21."""
    limits_splits: bool = False
    """vLLM loads with max_split_size_mb=20: the allocator splits no block of 20 MiB and more (model_loader)."""
    pads_experts: bool = False
    """FlashInfer's TRTLLM kernel of bfloat16 experts on Blackwell wants multiples of 128 (fused_moe/oracle/unquantized.py, 0.33.0)."""
    transformers_keeps_scales: bool = False
    """Attention of the Transformers backend keeps scales like any other; before, it hid them."""


_RELEASES: Final = Releases(
    LayerRules(),
    (EngineVersion(0, 11), {"divides_tokens": True}),
    (EngineVersion(0, 12), {"copies_conv_weights": True}),
    (EngineVersion(0, 15), {"attention_scale_bytes": 16, "indexer_weights_bias": False}),
    (EngineVersion(0, 19), {"float32_decay": True, "inverse_frequency_copies": 2, "local_rope_apart": True}),
    (EngineVersion(0, 20), {"limits_splits": True, "merges_indexer": True}),
    (EngineVersion(0, 22), {"local_rope_apart": False}),
    (EngineVersion(0, 26), {"pads_experts": True}),
    (EngineVersion(0, 30), {"transformers_keeps_scales": True}),
)


@lru_cache(maxsize=64)
def layer_rules(version: EngineVersion) -> LayerRules:
    """The switches of `version`."""
    return _RELEASES.of(version)
