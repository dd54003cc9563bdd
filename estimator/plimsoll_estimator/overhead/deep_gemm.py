"""What warming up DeepGEMM's kernels takes after the cache is allocated: inputs and outputs of the largest batch, one matrix at a time.

Called by `overhead.stage`. Follows vLLM model_executor/warmup/{kernel_warmup,deep_gemm_warmup}.py (0.10.1 to 0.33.0). Knows nothing of
images and packages but what the caller states of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from plimsoll_estimator.overhead.releases import OverheadRules, overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div, round_up

_BLOCK: Final = 128
_SCALE: Final = 4
_OUTPUT: Final = 2  # bfloat16, whatever the model's own type
_HOPPER: Final = 90
_ALWAYS_KNOWN: Final = frozenset({_HOPPER, 100})
_DATA_CENTRE_BLACKWELL: Final = 10
_SPELLINGS: Final = frozenset({"fp8", "deepseek_v4_fp8", "compressed-tensors"})

_Linears = tuple[tuple[int, int], ...]


def kernel_warm_up_bytes(widths: Widths, resolved: ResolvedArgs, workspace: int = 0) -> int:
    """The most that the warm-up takes at once on one rank; 0 where DeepGEMM does not run.

    For each shape of a weight it makes the fp8 input, its scales and the output of as many rows as a step may have, and drops them
    before the next shape. From 0.31 those of experts lie in the `workspace` that the profile run left, enlarged where it is too small.
    """
    rules = overhead_rules(resolved.version)
    if not widths.fp8_blocks or resolved.quantization not in _SPELLINGS or not _runs(resolved, rules):
        return 0
    most = 0
    if resolved.quantization != "compressed-tensors" or rules.deep_gemm_warms_any_spelling:
        most = resolved.max_num_batched_tokens * _widest_row(widths.columns, widths.rows, resolved.tensor_parallel_size)
    if widths.experts and _warms_experts(resolved, rules):
        there = workspace if rules.deep_gemm_in_workspace else 0
        most = max(most, expert_rows(widths, resolved) * _widest_expert_row(widths, resolved) - there)
    return most


def _runs(resolved: ResolvedArgs, rules: OverheadRules) -> bool:
    """Whether DeepGEMM is there, wanted, and knows the card (utils/deep_gemm.py: is_deep_gemm_supported), and its warm-up not skipped.

    It is taken to be installed where nobody says: vLLM's image has it from 0.10.1, and from 0.20.0 the wheel itself.
    """
    given, capability = resolved.given, resolved.gpu.capability
    if rules.deep_gemm == "off" or given.deep_gemm_warmup == "skip":
        return False
    if given.deep_gemm_installed is False and not rules.deep_gemm_in_wheel:
        return False
    wanted = given.use_deep_gemm is True if rules.deep_gemm == "asked" else given.use_deep_gemm is not False
    return wanted and (capability in _ALWAYS_KNOWN or capability // 10 in rules.deep_gemm_families)


def _warms_experts(resolved: ResolvedArgs, rules: OverheadRules) -> bool:
    """Until 0.19 the experts are warmed up whatever kernel runs them; from 0.20 only where DeepGEMM does.

    Left to itself vLLM takes Triton or CUTLASS for them on Hopper and TensorRT-LLM's kernels on data-centre Blackwell
    (fused_moe/oracle/fp8.py: _get_priority_backends), so DeepGEMM is left with what has neither, or who asks for it by
    VLLM_USE_DEEP_GEMM=1. Adapters take Triton's.
    """
    if not rules.deep_gemm_where_it_runs:
        return True
    if resolved.given.enable_lora:
        return False
    others = resolved.gpu.capability == _HOPPER or resolved.gpu.capability // 10 == _DATA_CENTRE_BLACKWELL
    return resolved.given.use_deep_gemm is True or not others


def expert_rows(widths: Widths, resolved: ResolvedArgs) -> int:
    """Rows of the grouped matrices: tokens of all engines' steps, each to its experts, padded to a block for every expert of the rank.

    fused_moe/deep_gemm_utils.py: compute_aligned_M. Up to 0.17 no more tokens than VLLM_FUSED_MOE_CHUNK_SIZE at a time, 0.10.1 always
    as many. From 0.24 Blackwell may pad to less.
    """
    rules = overhead_rules(resolved.version)
    tokens = resolved.max_num_batched_tokens * resolved.data_parallel_size
    if rules.expert_chunk_tokens:
        whole = rules.deep_gemm_warms_whole_chunk
        tokens = rules.expert_chunk_tokens if whole else min(tokens, rules.expert_chunk_tokens)
    ranks = resolved.tensor_parallel_size * resolved.data_parallel_size
    local = ceil_div(widths.experts, ranks) if resolved.enable_expert_parallel else widths.experts
    return round_up(tokens * widths.experts_per_token + local * (_BLOCK - 1), _BLOCK)


def _row_bytes(k: int, n: int) -> int:
    """One row: `k` fp8 inputs, a float32 scale for each 128 of them, `n` outputs."""
    return k + k // _BLOCK * _SCALE + n * _OUTPUT


@lru_cache(maxsize=256)
def _widest_row(columns: _Linears, rows: _Linears, ranks: int) -> int:
    """The most bytes that a row takes in one of the linears."""
    divided = ((k, ceil_div(n, ranks)) for k, n in columns), ((ceil_div(k, ranks), n) for k, n in rows)
    return max((_row_bytes(k, n) for kind in divided for k, n in kind), default=0)


def _widest_expert_row(widths: Widths, resolved: ResolvedArgs) -> int:
    ranks = 1 if resolved.enable_expert_parallel else resolved.tensor_parallel_size * resolved.data_parallel_size
    width = ceil_div(widths.moe_intermediate_size, ranks)
    return max(_row_bytes(widths.hidden_size, 2 * width), _row_bytes(width, widths.hidden_size))
