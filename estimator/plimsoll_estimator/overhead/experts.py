"""Workspaces of fused experts in the profile run: kept beside every later peak, or freed with their layer.

Called by `overhead.activation`. Keyed on how the experts multiply (16-bit or smaller activations), never on a method's name alone:
"compressed-tensors" names both. Refuses to know layers and checkpoints.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div

EIGHT_BIT: Final = frozenset({"fp8", "modelopt", "deepseek_v4_fp8", "fbgemm_fp8", "experts_int8", "compressed-tensors"})
"""Methods whose matrices multiply 8-bit activations, unless the checkpoint quantises weights alone."""
_NO_WORKSPACE: Final = frozenset({"mxfp4", "gpt_oss_mxfp4"})  # experts through Triton's own kernels on Hopper
_ITEM: Final = 2  # workspaces are as wide as 16-bit activations


def quantises_activations(widths: Widths, resolved: ResolvedArgs) -> bool:
    """Whether matrices multiply 8-bit copies of their inputs."""
    return resolved.quantization in EIGHT_BIT and not widths.weight_only_experts


def expert_workspace_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What modular kernels keep in the workspace manager (v1/worker/workspace.py), beside every later peak."""
    if _without(widths, resolved) or _freed_with_layer(widths, resolved):
        return 0
    rows, width = _chunk_rows(widths, resolved), _width(widths, resolved)
    quantised = _quantised_bytes(widths, rows, width) if quantises_activations(widths, resolved) else 0
    # The output is a part of the workspace of one chunk, and of its own where there are more (modular_kernel.py: _allocate_buffers).
    output = 0 if rows == _rows(widths, resolved) else _tokens(resolved) * widths.hidden_size * _ITEM
    return rows * (max(width, widths.hidden_size) + max(2 * width, widths.hidden_size)) * _ITEM + quantised + output


def _quantised_bytes(widths: Widths, rows: int, width: int) -> int:
    """8-bit copies that are there at once beside the workspaces: of what goes in, a token once, and of what lies between both matrices.

    fused_moe/prepare_finalize and fused_moe.py: TritonExperts.apply (a1q, qintermediate_cache2); DeepGEMM's lie in the workspace
    (deep_gemm_moe.py: a1q_perm, quant_out). A start of 235B with shared experts over four H100 at 0.20 has 4.8 GiB more for 32,768 tokens.
    """
    return rows // widths.experts_per_token * widths.hidden_size + rows * width


def passing_expert_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What Marlin's direct call allocates for one layer and frees with it.

    One cache for both matrices' outputs, one between them, and the output (0.15.0, fused_moe/fused_marlin_moe.py:_fused_marlin_moe).
    """
    if _without(widths, resolved) or not _freed_with_layer(widths, resolved):
        return 0
    rows, width = _rows(widths, resolved), _width(widths, resolved)
    output = resolved.max_num_batched_tokens * widths.hidden_size
    return (rows * (max(2 * width, widths.hidden_size) + width) + output) * _ITEM


def _without(widths: Widths, resolved: ResolvedArgs) -> bool:
    if not widths.experts or not widths.experts_per_token:
        return True
    if resolved.quantization in _NO_WORKSPACE and resolved.gpu.capability >= 90:
        return True
    return resolved.quantization == "modelopt_fp4" and resolved.gpu.compute_capability[0] == 10


def _freed_with_layer(widths: Widths, resolved: ResolvedArgs) -> bool:
    """Whether the release calls Marlin's experts directly: not where engines share experts, which needs the modular kernel."""
    name = resolved.quantization
    if name == "compressed-tensors" and not widths.weight_only_experts:
        return False
    return resolved.data_parallel_size == 1 and name in overhead_rules(resolved.version).direct_expert_calls


def _tokens(resolved: ResolvedArgs) -> int:
    return resolved.max_num_batched_tokens * resolved.data_parallel_size


def _rows(widths: Widths, resolved: ResolvedArgs) -> int:
    return _tokens(resolved) * widths.experts_per_token


def _chunk_rows(widths: Widths, resolved: ResolvedArgs) -> int:
    """The rows that the modular kernel multiplies at a time, up to 0.17 (modular_kernel.py: _chunk_info)."""
    chunk = overhead_rules(resolved.version).expert_chunk_tokens
    return min(_rows(widths, resolved), chunk * widths.experts_per_token) if chunk else _rows(widths, resolved)


def _width(widths: Widths, resolved: ResolvedArgs) -> int:
    ranks = resolved.tensor_parallel_size * resolved.data_parallel_size
    return widths.moe_intermediate_size if resolved.enable_expert_parallel else ceil_div(widths.moe_intermediate_size, ranks)
