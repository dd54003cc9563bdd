"""The activation peak of the profile run: the vision encoder's, or what the language model needs beside its outputs.

The latter: expert workspaces and encoder outputs, plus the larger of sampler and forward pass.

Called by `overhead`. The sampler's term is linear in sequences x vocabulary, the forward pass's in batched tokens x width.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.encoder import encoder_peak_bytes, encodes, output_tokens
from plimsoll_estimator.overhead.experts import EIGHT_BIT, expert_workspace_bytes, passing_expert_bytes
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.sampler import DTYPE_BYTES, sampled_bytes
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB, ceil_div

_SPARSE_CONTEXTS: Final = 5
_MAX_CONTEXT_ROWS: Final = 65536
_OLD_VIDEO_TOKENS: Final = 153600  # one dummy video with deepstack features before 0.13


def activation_bytes(widths: Widths, resolved: ResolvedArgs, kept: int, *, first: bool, last: bool) -> int:
    """Bytes of the peak on one rank; the sampler's term only on the last stage, the encoder's only on the first."""
    peak = max(forward_bytes(widths, resolved), logits_bytes(widths, resolved) if last else 0)
    held = encoder_outputs_bytes(widths, resolved) if first else 0
    held += cold_compile_bytes(widths, resolved)
    language = peak + kept + held
    return max(language, encoder_peak_bytes(widths, resolved) if first else 0)


def kept_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What of the profile run's peak is not free again when the cache is allocated: workspaces that later steps use as well."""
    return expert_workspace_bytes(widths, resolved) + latent_workspace_bytes(widths, resolved)


def logits_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Logits, their float32 copy and the sampler's temporaries for min(sequences, tokens) rows, beside the hidden states."""
    if resolved.runner == "pooling":
        return 0
    held = resolved.max_num_batched_tokens * widths.hidden_size * DTYPE_BYTES[resolved.dtype]
    if resolved.pipeline_parallel_size > 1:
        held *= 3
    return sampled_bytes(widths, resolved) + held


def forward_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """The widest phase of one layer for all batched tokens: residual and hidden states, then MLP or attention."""
    tokens, size = resolved.max_num_batched_tokens, DTYPE_BYTES[resolved.dtype]
    tp = resolved.tensor_parallel_size
    mlp = 3 * ceil_div(widths.mlp_width, tp)
    attention = ceil_div(widths.attention_width, tp)
    elements = 3 * widths.hidden_size + max(mlp, attention)
    if resolved.pipeline_parallel_size > 1:
        elements += 2 * widths.hidden_size  # hidden states and residual that travel between stages
    total = tokens * elements * size
    if resolved.quantization in EIGHT_BIT and not widths.experts:
        total += tokens * max(widths.hidden_size, ceil_div(widths.mlp_width, tp))
    expanded = 0
    if widths.expanded_latent_width and not widths.sparse_latent and not resolved.uses_v2_model_runner:
        expanded = _context_rows(resolved) * ceil_div(widths.expanded_latent_width, tp) * size
    factor = constant("forward_factor", resolved)
    beside = int(factor * tokens * 3 * widths.hidden_size * size)  # residual, hidden states and the shared experts' output
    return max(int(factor * total) + expanded, beside + passing_expert_bytes(widths, resolved))


def latent_workspace_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Context gathered for the prefill of latent attention (vLLM v1/attention/backends/mla/*): chunked, or whole when sparse."""
    if not widths.latent_width:
        return 0
    rows = _SPARSE_CONTEXTS * resolved.max_model_len if widths.sparse_latent else _context_rows(resolved)
    return rows * widths.latent_width * 2


def _context_rows(resolved: ResolvedArgs) -> int:
    blocks = 4 * resolved.max_num_seqs * (resolved.block_size or 16)
    return min(max(8 * resolved.max_model_len, blocks), _MAX_CONTEXT_ROWS)


def cold_compile_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What a first start without a compile cache holds, where the release's figures are those of a first start or one is announced.

    From 0.30 at most hidden states and residual of every layer, within a cap; before, so much for each layer.
    """
    if resolved.enforce_eager:
        return 0
    if resolved.given.compile_cache == "cold" and (first := first_start_bytes(widths, resolved)):
        return first
    layers = ceil_div(widths.layers, resolved.pipeline_parallel_size)
    states = 2 * layers * resolved.max_num_batched_tokens * widths.hidden_size * DTYPE_BYTES[resolved.dtype]
    return min(states, int(constant("cold_compile_cap_gib", resolved) * GIB))


def first_start_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What a first start takes beyond one that finds a compile cache, in releases whose figures are those of the latter."""
    if resolved.enforce_eager:
        return 0
    layers = ceil_div(widths.layers, resolved.pipeline_parallel_size)
    return int(layers * constant("cold_compile_gib_per_layer", resolved) * GIB)


def unprofiled_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What the first image takes beside the cache where --skip-mm-profiling leaves the encoder out of the profile run."""
    if not resolved.given.skip_mm_profiling:
        return 0
    return encoder_peak_bytes(widths, resolved) + encoder_outputs_bytes(widths, resolved)


def encoder_outputs_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Outputs of the image or video encoder that the profile run holds while the language model runs."""
    if not widths.multimodal or not encodes(resolved):
        return 0
    width = widths.hidden_size * (1 + widths.deepstack_levels) * 2
    if widths.deepstack_levels and not overhead_rules(resolved.version).caps_dummy_video:
        return _OLD_VIDEO_TOKENS * width
    tokens = max(resolved.max_num_batched_tokens, output_tokens(widths, resolved))
    return int(constant("encoder_output_copies", resolved) * tokens * width)
