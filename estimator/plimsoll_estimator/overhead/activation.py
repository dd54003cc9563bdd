"""The activation peak of the profile run: the larger of the sampler's term and the forward pass's term.

Called by `overhead`. Linear in sequences x vocabulary, and in batched tokens x width.
"""

from __future__ import annotations

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.shape import ModelShape
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def activation_bytes(shape: ModelShape, resolved: ResolvedArgs, *, first: bool, last: bool) -> int:
    """Bytes of the transient peak on one rank; the sampler's term only on the last stage."""
    forward = forward_bytes(shape, resolved)
    logits = logits_bytes(shape, resolved) if last else 0
    return max(forward, logits)


def logits_bytes(shape: ModelShape, resolved: ResolvedArgs) -> int:
    """Logits, their float32 copy and the sampler's temporaries for min(sequences, tokens) rows, beside the hidden states."""
    if resolved.runner == "pooling":
        return 0
    rows = min(resolved.max_num_seqs, resolved.max_num_batched_tokens)
    held = resolved.max_num_batched_tokens * shape.hidden_size * DTYPE_BYTES[resolved.dtype]
    if resolved.pipeline_parallel_size > 1:
        held *= 3
    return int(rows * shape.vocab_size * constant("logits_bytes_per_element", resolved)) + held


def forward_bytes(shape: ModelShape, resolved: ResolvedArgs) -> int:
    """The widest phase of one layer for all batched tokens: residual, MLP, attention, experts."""
    tokens, size = resolved.max_num_batched_tokens, DTYPE_BYTES[resolved.dtype]
    tp = resolved.tensor_parallel_size
    hidden = 3 * tokens * shape.hidden_size * size
    mlp = 3 * tokens * ceil_div(shape.intermediate_size, tp) * size
    if shape.experts:
        routed = tokens * shape.experts_per_token
        mlp = routed * (2 * ceil_div(shape.moe_intermediate_size, tp) + shape.hidden_size) * size
    return int(constant("forward_factor", resolved) * (hidden + mlp))
