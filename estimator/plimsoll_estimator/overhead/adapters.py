"""What LoRA slots add to the loaded weights, and what CPU offload takes away from them.

Called by `estimate` on each stage's weights. Follows vLLM lora/layers/* (0.33.0): one pair of matrices per projection,
the input side whole on every rank, the output side sharded; row-parallel projections the other way round.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import RankWeights, ResolvedArgs
from plimsoll_estimator.units import GIB, MIB, ceil_div, round_up

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
    rules = overhead_rules(resolved.version)
    # Embedding and output head have slots as well, whole on every rank (lora/layers/vocal_parallel_embedding.py, logits_processor.py);
    # counted on each stage, of which only the first and the last have them. A head that is the embedding's own module gets slots of its
    # own besides, which nothing uses (model_manager.py: named_modules with remove_duplicate=False).
    ends = 3 if widths.head_is_embedding and rules.lora_wraps_shared_head else 2
    slot = (given.max_loras or _DEFAULT_SLOTS) * (given.max_lora_rank or _DEFAULT_RANK) * (4 if resolved.dtype == "float32" else 2)
    layer = sum(_block_bytes(width * slot) for width in _layer_widths(widths, resolved))
    end = sum(_block_bytes(width * slot) for width in (widths.hidden_size, widths.vocab_size + rules.lora_extra_rows))
    return ceil_div(widths.layers, resolved.pipeline_parallel_size) * layer + ends * end


def embedding_slot_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Bytes of the slots' matrices that tokens are looked up in beside the embedding; 0 without LoRA."""
    given = resolved.given
    if not given.enable_lora:
        return 0
    rows = widths.vocab_size + overhead_rules(resolved.version).lora_extra_rows
    return rows * (given.max_loras or _DEFAULT_SLOTS) * (given.max_lora_rank or _DEFAULT_RANK) * (4 if resolved.dtype == "float32" else 2)


def adapter_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Bytes of one adapter in host memory, of the largest rank admitted and on every projection: whole, whatever the parallel sizes."""
    alone = replace(resolved, tensor_parallel_size=1, enable_expert_parallel=False)
    rank = resolved.given.max_lora_rank or _DEFAULT_RANK
    item = 4 if resolved.dtype == "float32" else 2
    return widths.layers * sum(_layer_widths(widths, alone)) * rank * item


def _layer_widths(widths: Widths, resolved: ResolvedArgs) -> tuple[int, ...]:
    """What each tensor of a layer's slots holds for one slot and one rank of its matrices."""
    tp, hidden = resolved.tensor_parallel_size, widths.hidden_size
    queries, keys = ceil_div(widths.query_width, tp), ceil_div(widths.kv_width, tp)
    found = [hidden, queries, hidden, keys, hidden, keys, queries, hidden]
    if widths.mlp_width:
        found += [hidden, ceil_div(widths.mlp_width, tp)] * 3
    if widths.experts:
        spread = tp if resolved.enable_expert_parallel else 1
        count = ceil_div(widths.experts, spread)
        width = widths.moe_intermediate_size if resolved.enable_expert_parallel else ceil_div(widths.moe_intermediate_size, tp)
        found += [count * hidden, count * width] * 3
    return tuple(found)


def _block_bytes(size: int) -> int:
    """What PyTorch takes for a tensor: a rest of at most 1 MiB of its own segment stays with it (CUDACachingAllocator.cpp)."""
    segment = round_up(size, 2 * MIB)
    return segment if size >= 10 * MIB and segment - size <= MIB else size
