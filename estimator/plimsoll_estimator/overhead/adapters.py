"""What LoRA slots add to the loaded weights, and what CPU offload takes away from them.

Called by `estimate` on each stage's weights. Follows vLLM lora/layers/* (0.33.0): one pair of matrices per projection,
the input side whole on every rank, the output side sharded; row-parallel projections the other way round.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import RankWeights, ResolvedArgs
from plimsoll_estimator.units import GIB, ceil_div

_DEFAULT_SLOTS = 1
_DEFAULT_RANK = 16


def resident_weights(weights: RankWeights, widths: Widths, resolved: ResolvedArgs) -> RankWeights:
    """The weights that stay on the GPU of one rank: LoRA slots added, offloaded parameters taken off."""
    loaded = weights.loaded_bytes + lora_bytes(widths, resolved)
    offloaded = int((resolved.given.cpu_offload_gb or 0) * GIB)
    if loaded == weights.loaded_bytes and not offloaded:
        return weights
    # Whole parameters of layers move until the allowance is reached or passed (model_executor/offloader/uva.py, models/utils.py:
    # maybe_offload_to_cpu); embedding and head are no layers, and stay.
    item = 4 if resolved.dtype == "float32" else 2
    stays = 2 * ceil_div(widths.vocab_size, resolved.tensor_parallel_size) * widths.hidden_size * item
    return replace(weights, loaded_bytes=min(loaded, max(loaded - offloaded, stays)))


def lora_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Bytes of the preallocated LoRA slots on one rank, all layers of its stage; 0 without LoRA."""
    given = resolved.given
    if not given.enable_lora:
        return 0
    tp = resolved.tensor_parallel_size
    hidden = widths.hidden_size
    queries, pair = ceil_div(widths.query_width, tp), 2 * ceil_div(widths.kv_width, tp)
    elements = (hidden + queries) + (2 * hidden + pair) + (queries + hidden)
    if widths.mlp_width:
        elements += 3 * (hidden + ceil_div(widths.mlp_width, tp))
    if widths.experts:
        spread = tp if resolved.enable_expert_parallel else 1
        width = widths.moe_intermediate_size if resolved.enable_expert_parallel else ceil_div(widths.moe_intermediate_size, tp)
        elements += ceil_div(widths.experts, spread) * 3 * (hidden + width)
    # Embedding and output head have slots as well, whole on every rank (lora/layers/vocal_parallel_embedding.py, logits_processor.py);
    # counted on each stage, of which only the first and the last have them.
    extra = overhead_rules(resolved.version).lora_extra_rows
    ends = 2 * (widths.vocab_size + extra + hidden)
    slots = (given.max_loras or _DEFAULT_SLOTS) * (given.max_lora_rank or _DEFAULT_RANK)
    size = 4 if resolved.dtype == "float32" else 2
    return (ceil_div(widths.layers, resolved.pipeline_parallel_size) * elements + ends) * slots * size
