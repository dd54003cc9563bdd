"""Which sampler narrows the logits to top-k and top-p, and what it takes: PyTorch's sort, vLLM's Triton kernel or FlashInfer.

Called by `overhead`. Follows vLLM v1/sample/ops/topk_topp_sampler.py (0.8.0 to 0.33.0). Knows nothing of images and packages but
what the caller states of them.
"""

from __future__ import annotations

from enum import StrEnum

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolve.checks import flashinfer_samples
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import DTYPE_BYTES


class Sampler(StrEnum):
    """What narrows the logits. PyTorch sorts them whole, with values, indices and sums as wide; the kernels need no such copies."""

    PYTORCH = "pytorch"
    TRITON = "triton"
    FLASHINFER = "flashinfer"


def sampler_of(resolved: ResolvedArgs) -> Sampler:
    """The sampler of this start; where nothing is said of FlashInfer, the one that measured starts of the release had."""
    rules, given = overhead_rules(resolved.version), resolved.given
    if rules.flashinfer_sampler == "installed":
        installed = rules.presumes_flashinfer if given.flashinfer_installed is None else given.flashinfer_installed
        uses = installed and given.use_flashinfer_sampler is not False
    elif rules.flashinfer_sampler == "asked":
        uses = given.use_flashinfer_sampler is True
    else:
        uses = given.use_flashinfer_sampler is not False and flashinfer_samples(resolved.gpu, resolved.version)
    if uses and not given.processes_logprobs:
        return Sampler.FLASHINFER
    return Sampler.TRITON if rules.samples_with_triton else Sampler.PYTORCH


def logits_rows(resolved: ResolvedArgs) -> int:
    """Rows of logits that the profile run samples."""
    return min(resolved.max_num_seqs, resolved.max_num_batched_tokens)


def sampled_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Logits in the model's type and what the profile run's sampler takes beside them."""
    return _bytes(widths, resolved, constant("sampler_bytes_per_logit", resolved, sampler=sampler_of(resolved)))


def doubted_sampler_bytes(widths: Widths, resolved: ResolvedArgs) -> tuple[int, int]:
    """By how much the sampler may take (more, less) for want of a word on FlashInfer, in a release that uses it where it is installed."""
    if resolved.runner == "pooling" or not in_doubt(resolved):
        return 0, 0
    presumed = sampler_of(resolved)
    other = Sampler.PYTORCH if presumed is Sampler.FLASHINFER else Sampler.FLASHINFER
    change = _bytes(widths, resolved, constant("sampler_bytes_per_logit", resolved, sampler=other)) - sampled_bytes(widths, resolved)
    return max(0, change), max(0, -change)


def in_doubt(resolved: ResolvedArgs) -> bool:
    """Whether FlashInfer's presence decides, and nobody said whether it is there."""
    given = resolved.given
    asks = overhead_rules(resolved.version).flashinfer_sampler == "installed" and not resolved.uses_v2_model_runner
    return asks and given.flashinfer_installed is None and given.use_flashinfer_sampler is not False and not given.processes_logprobs


def warm_up_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What warming up the sampler takes once the cache is allocated.

    The V1 runner samples once more as in the profile run (v1/worker/gpu_worker.py: compile_or_warm_up_model). The V2 runner runs
    requests with every option on (v1/worker/gpu/warmup.py: warmup_kernels), which its profile run leaves out before 0.33.
    """
    if resolved.runner == "pooling":
        return 0
    if not resolved.uses_v2_model_runner:
        return sampled_bytes(widths, resolved)
    # Each warm-up request prefills one token more than it decodes in a step, so that it is not taken for a decode.
    prompt = 2 + resolved.num_speculative_tokens
    rows = max(1, min(resolved.max_num_seqs, resolved.max_num_batched_tokens // prompt))
    per_logit = constant("sampler_warm_up_bytes_per_logit", resolved) + DTYPE_BYTES[resolved.dtype]
    return int(rows * widths.vocab_size * per_logit)


def _bytes(widths: Widths, resolved: ResolvedArgs, per_logit: float) -> int:
    return int(logits_rows(resolved) * widths.vocab_size * (per_logit + DTYPE_BYTES[resolved.dtype]))
