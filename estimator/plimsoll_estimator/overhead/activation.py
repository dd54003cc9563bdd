"""The activation peak of the profile run: the vision encoder's, or what the language model needs beside its outputs.

The latter: expert workspaces and encoder outputs, plus the larger of sampler and forward pass.

Called by `overhead`. The sampler's term is linear in sequences x vocabulary, the forward pass's in batched tokens x width.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from plimsoll_estimator.overhead.adapters import embedding_slot_bytes
from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.encoder import doubted_encoder_bytes, encoder_peak_bytes, encodes, old_dummy_video, output_tokens
from plimsoll_estimator.overhead.experts import EIGHT_BIT, expert_workspace_bytes, passing_expert_bytes
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.sampler import sampled_bytes
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import DTYPE_BYTES, ceil_div

_SPARSE_CONTEXTS: Final = 5
_MAX_CONTEXT_ROWS: Final = 65536
_OLD_VIDEO_TOKENS: Final = 153600  # one dummy video with deepstack features before 0.13


class Peaks(NamedTuple):
    """What may be highest on one rank: all that the language model runs with, copies that compiling makes, the encoder's own pass."""

    language: int
    copies: int
    encoder: int

    def highest(self, *, compiles: bool, keeps_copies: bool) -> int:
        """The peak of a start that compiles, or of one that finds its graphs compiled; copies may still be there in the forward pass."""
        copies = self.copies if compiles else 0
        language = self.language + copies if keeps_copies else max(self.language, copies)
        return max(language, self.encoder)


class OpenPeak(NamedTuple):
    """By how much the first stage's peak may be another: for want of a compile cache, for copies that stay, for a tower without a rule."""

    spared: int = 0
    both_at_once: int = 0
    encoder: int = 0


_SETTLED: Final = OpenPeak()


def activation_bytes(widths: Widths, resolved: ResolvedArgs, kept: int, *, first: bool, last: bool) -> int:
    """Bytes of the peak on one rank; the sampler's term only on the last stage, the encoder's only on the first."""
    peaks = _peaks(widths, resolved, kept, first=first, last=last)
    return peaks.highest(compiles=compiles(resolved), keeps_copies=overhead_rules(resolved.version).keeps_timed_copies)


def _peaks(widths: Widths, resolved: ResolvedArgs, kept: int, *, first: bool, last: bool) -> Peaks:
    peak = max(forward_bytes(widths, resolved), logits_bytes(widths, resolved) if last else 0)
    if not first:
        return Peaks(peak + kept, 0, 0)
    held = encoder_outputs_bytes(widths, resolved)
    return Peaks(peak + kept + held, timed_bytes(widths, resolved), encoder_peak_bytes(widths, resolved))


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


def compiles(resolved: ResolvedArgs) -> bool:
    """Whether the start is taken to compile: as it is announced, else what most measured starts of the release did."""
    state = resolved.given.compile_cache
    return state == "cold" or (state is None and overhead_rules(resolved.version).presumes_cold)


def timed_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What a start that finds no compile cache holds at once while it compiles, on the first stage.

    vLLM lets Inductor time kernels that it may run as one (config/compilation.py: benchmark_combo_kernel, from 0.11.1, with PyTorch
    2.9). Timing makes random tensors of the kernels' arguments (torch/_inductor/codegen/triton.py: benchmark_combo_kernel), and the
    first kernel's are the embedding whole, its LoRA slots and what comes out of it. Measured on 4090s at 0.27.1: 1.18 GiB for an
    embedding of 1.16, 0.25 for one of 0.25, and from one adapter to 64 by as much more as their slots of the embedding are larger.
    Divided over ranks the embedding is reduced before any other kernel: a start of two at 0.27.1 and of two and four at 0.25 show none.
    The V1 runner embeds before the compiled graph where items of other modalities are mixed in (v1/worker/gpu_model_runner.py:
    _dummy_run, _prepare_mm_inputs): no embedding is among the arguments; starts on an A100 at 0.28 and a 5090 at 0.20 show none.
    The sampler of the V1 runner mostly holds more; with 8 sequences on a 3090 at 0.22.1 it does not, and the peak is the 1.04 GiB copied.
    """
    if resolved.enforce_eager or not overhead_rules(resolved.version).times_kernels:
        return 0
    if resolved.tensor_parallel_size > 1:
        return 0
    out = resolved.max_num_batched_tokens * widths.hidden_size
    if widths.multimodal and not resolved.uses_v2_model_runner:
        return out * DTYPE_BYTES[resolved.dtype]
    copied = (widths.vocab_size * widths.hidden_size + out) * DTYPE_BYTES[resolved.dtype]
    return copied + embedding_slot_bytes(widths, resolved)


def spared_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """By how much a start that compiles takes more at its peak than one that finds its graphs compiled, on the first stage."""
    return open_peak(widths, resolved).spared


def open_peak(widths: Widths, resolved: ResolvedArgs) -> OpenPeak:
    """What the first stage's peak may be besides, by its causes.

    Whether copies that were timed are still there in the forward pass is not known of most releases: at 0.27.1 the starts of three models
    on a 4090 and an L4 held one of both, those of one on RTX PRO 6000 held both, and so did one of gemma-4-31B on a B300 at 0.26, which
    logged 3.90 GiB: 1.23 and 2.70 copied.
    """
    doubted = doubted_encoder_bytes(widths, resolved)
    if not doubted and not timed_bytes(widths, resolved):
        return _SETTLED
    keeps = overhead_rules(resolved.version).keeps_timed_copies
    peaks = _peaks(widths, resolved, kept_bytes(widths, resolved), first=True, last=resolved.pipeline_parallel_size == 1)
    cold, warm = (peaks.highest(compiles=state, keeps_copies=keeps) for state in (True, False))
    return OpenPeak(
        spared=cold - warm,
        both_at_once=0 if keeps or not resolved.uses_v2_model_runner else min(peaks.copies, warm),
        encoder=max(0, doubted - (cold if compiles(resolved) else warm)),
    )


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
    if old_dummy_video(widths, resolved):
        return _OLD_VIDEO_TOKENS * width
    tokens = max(resolved.max_num_batched_tokens, output_tokens(widths, resolved))
    return int(constant("encoder_output_copies", resolved) * tokens * width)
