"""How far a measured KV pool may lie from the estimate: the half-widths of its interval.

Called by `estimate`. Calibrated by cause (`intervals`); wider by what is doubted openly, and doubled when extrapolated.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from plimsoll_estimator.overhead.activation import compiles, open_peak
from plimsoll_estimator.overhead.communication import host_doubt_bytes, tuning_doubt_bytes
from plimsoll_estimator.overhead.intervals import Cause, calibrated_bytes, cause_of
from plimsoll_estimator.overhead.sampler import doubted_sampler_bytes
from plimsoll_estimator.overhead.stated import stated_bytes
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs


class Doubt(NamedTuple):
    """Bytes by which the pool may be smaller, or larger, for want of a fact that nobody stated."""

    below: int
    above: int
    first_start: int = 0
    """Of `below`, what a start takes that compiles, where nobody said which one is meant and the estimate is of the other."""
    cause: Cause | None = None
    """What the estimate of such a start is most in doubt of."""


CERTAIN: Final = Doubt(0, 0)
_DRIVERS_SHARE: Final = 0.025
"""What hardware.py takes off a label, at the least."""


def doubt_of(widths: Widths, resolved: ResolvedArgs) -> Doubt:
    """What is open, all added up: whether FlashInfer is installed, whether the start finds a compile cache, what tuning leaves, what an
    encoder without a rule takes, what a host takes of a memory that it shares, stated reserves.
    """
    more, less = doubted_sampler_bytes(widths, resolved)
    silent = resolved.given.compile_cache is None
    peak = open_peak(widths, resolved)
    spared = peak.spared if silent else 0
    first, found = (0, spared) if compiles(resolved) else (spared, 0)
    both = peak.both_at_once if resolved.given.compile_cache != "warm" else 0
    reserved = stated_bytes(widths, resolved)
    below = more + first + both + tuning_doubt_bytes(widths, resolved) + host_doubt_bytes(resolved) + peak.encoder + reserved
    judged = first if resolved.uses_v2_model_runner else 0  # of the V1 runner one start is known to have held its copies: too few to refuse
    return Doubt(below, less + found + reserved, judged, cause_of(widths, resolved))


def pool_interval(resolved: ResolvedArgs, available_bytes: int, charged_bytes: int, doubt: Doubt = CERTAIN) -> tuple[int, int]:
    """(low, high) bytes of the first rank's pool; how many real starts lie between them, `intervals.covered_percent` says."""
    half = calibrated_bytes(doubt.cause, charged_bytes)
    below, above = label_bytes(resolved)
    factor = 2 if resolved.extrapolated or resolved.given.unruled else 1
    return available_bytes - factor * (half + below + doubt.below), available_bytes + factor * (half + above + doubt.above)


def label_bytes(resolved: ResolvedArgs) -> tuple[int, int]:
    """Bytes by which the budget may be smaller, or larger, where a label alone says how much memory the GPU has."""
    if resolved.gpu.total_is_exact:
        return 0, 0
    either = int(0.01 * resolved.gpu.total_memory_bytes)
    if "GeForce" not in resolved.gpu.product:
        return either, either
    # Windows gives an engine under WSL the whole label.
    return either, either + int(_DRIVERS_SHARE * resolved.gpu.total_memory_bytes * resolved.gpu_memory_utilization)
