"""CUDA graphs: what the captured pools take, and what the release deducts from the budget for them.

Called by `overhead`. The deduction is the engine's own estimate, which may differ from the pool by much.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB, ceil_div

_SIZES_AT_512: Final = 51
_FIXED_SHARE: Final = 0.8  # 0.26 L40S: 7 sizes cost four fifths of 51
_SIZES_AT_256: Final = 35


def capture_count(largest: int) -> int:
    """How many batch sizes are captured up to `largest`: 1, 2, 4, then every 8 below 256, then every 16."""
    sizes = max(0, min(largest, 2)) + (largest >= 4)
    sizes += max(0, min(largest, 248) // 8)
    return sizes + (max(0, (largest - 256) // 16 + 1) if largest >= 256 else 0)


def graph_pool_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Bytes the captured graphs take on one rank; 0 where none are."""
    count = capture_count(resolved.max_cudagraph_capture_size)
    if not count:
        return 0
    full = constant("graph_pool_base_gib", resolved) + constant("graph_pool_gib_per_layer", resolved) * _layers(widths, resolved)
    if widths.experts:
        full += constant("graph_pool_experts_gib", resolved)
        full += constant("graph_pool_experts_gib_per_layer", resolved) * _layers(widths, resolved)
    captures = 2 if resolved.given.enable_lora and overhead_rules(resolved.version).captures_adapters_apart else 1
    driver = constant("graph_driver_factor", resolved)
    return int(captures * full * driver * count / _SIZES_AT_512 * _share_captured(resolved) * GIB)


def _share_captured(resolved: ResolvedArgs) -> float:
    """Graphs captured of those at half as many sequences as the largest size: pieces for every size, whole ones up to max_num_seqs.

    vLLM v1/worker/gpu_model_runner.py:capture_model. Below one only where pieces alone are captured, as of pooling models
    (config/vllm.py), or where the sizes do not follow max_num_seqs, as with gpt-oss.
    """
    if not overhead_rules(resolved.version).captures_decodes_apart:
        return 1.0
    largest = resolved.max_cudagraph_capture_size
    pieces, usual = capture_count(largest), capture_count(largest // 2)
    if resolved.cudagraph_mode == "piecewise":
        return pieces / (pieces + usual)
    if resolved.max_num_seqs * (1 + resolved.num_speculative_tokens) >= largest // 2:
        return 1.0
    whole = capture_count(min(largest, resolved.max_num_seqs * (1 + resolved.num_speculative_tokens)))
    return min(1.0, (pieces + whole) / (pieces + usual))


def _layers(widths: Widths, resolved: ResolvedArgs) -> int:
    draft = resolved.given.speculative_model_config if resolved.num_speculative_tokens else None
    drafted = len(shape_of(draft).layers) if draft is not None else 0
    return ceil_div(widths.layers, resolved.pipeline_parallel_size) + drafted


def graph_deducted_bytes(pool_bytes: int, widths: Widths, resolved: ResolvedArgs) -> int:
    """Bytes the release deducts; 0 before 0.20, where none are captured, or with the KV size given by hand."""
    captures = resolved.cudagraph_mode != "none"
    if not captures or not overhead_rules(resolved.version).deducts_graphs or resolved.given.kv_cache_memory_bytes is not None:
        return 0
    if widths.gated_delta_net and not resolved.uses_v2_model_runner:
        per_token = constant("delta_net_graph_estimate_bytes_per_token", resolved)
        if per_token:
            sizes = min(1.0, capture_count(resolved.max_cudagraph_capture_size) / _SIZES_AT_512)
            whole = per_token * resolved.max_num_batched_tokens / resolved.tensor_parallel_size
            return int(whole * (_FIXED_SHARE + (1 - _FIXED_SHARE) * sizes))
    if resolved.uses_v2_model_runner:
        return int(pool_bytes * constant("v2_graph_estimate_factor", resolved))
    full = constant("graph_estimate_base_gib", resolved) + constant("graph_estimate_gib_per_layer", resolved) * _layers(widths, resolved)
    few = min(1.0, capture_count(resolved.max_cudagraph_capture_size) / _SIZES_AT_256)
    if resolved.cudagraph_mode == "piecewise":
        few *= _share_captured(resolved)
    return int(full * constant("graph_driver_factor", resolved) * few * GIB)
