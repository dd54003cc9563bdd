"""Buffers the V2 model runner keeps on the GPU for its sampler and inputs (vLLM v1/worker/gpu/sample/*.py).

Called by `overhead`. Exact formulas; the V1 runner keeps these on the host, but for the embeddings of a step (gpu_model_runner.py), which
are among the fitted scratch where they are not counted. All are made beside the weights, before the profile run: the budget counts them
from 0.27 on (`releases.budgets_all_buffers`).
"""

from __future__ import annotations

from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div

_LOGIT_BIAS_INTS = 3200


def persistent_bytes(widths: Widths, resolved: ResolvedArgs, *, last: bool) -> int:
    """Bytes on one rank; the sampler's share only on the last pipeline stage."""
    seqs, tokens = resolved.max_num_seqs, resolved.max_num_batched_tokens
    if not resolved.uses_v2_model_runner:
        return tokens * widths.hidden_size * 2 if overhead_rules(resolved.version).budgets_all_buffers else 0
    total = tokens * 16 + seqs * 40
    if widths.multimodal:
        total += tokens * widths.hidden_size * 2
    if resolved.pipeline_parallel_size > 1:
        total += 2 * tokens * widths.hidden_size * 2
    if last and resolved.runner == "generate":
        words = ceil_div(widths.vocab_size, 32)
        total += seqs * widths.vocab_size * 4 + seqs * words * 4 * (2 + resolved.num_speculative_tokens) + seqs * _LOGIT_BIAS_INTS * 4
    return total
