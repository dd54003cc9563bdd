"""How far a measured KV pool may lie from the estimate: the half-widths of the 90 % interval, by weight of evidence.

Called by `estimate`. Widens with the overhead itself, where evidence is thin, and doubles when extrapolated.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from plimsoll_estimator.overhead.activation import compiles, open_peak
from plimsoll_estimator.overhead.communication import tuning_doubt_bytes
from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.sampler import doubted_sampler_bytes
from plimsoll_estimator.overhead.stated import stated_bytes
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB


class Doubt(NamedTuple):
    """Bytes by which the pool may be smaller, or larger, for want of a fact that nobody stated."""

    below: int
    above: int
    first_start: int = 0
    """Of `below`, what a start takes that compiles, where nobody said which one is meant and the estimate is of the other."""


CERTAIN: Final = Doubt(0, 0)
_DRIVERS_SHARE: Final = 0.025
"""What hardware.py takes off a label, at the least."""


def doubt_of(widths: Widths, resolved: ResolvedArgs) -> Doubt:
    """What is open, all added up: whether FlashInfer is installed, whether the start finds a compile cache, what tuning leaves, what an
    encoder without a rule takes, stated reserves.
    """
    more, less = doubted_sampler_bytes(widths, resolved)
    silent = resolved.given.compile_cache is None
    peak = open_peak(widths, resolved)
    spared = peak.spared if silent else 0
    first, found = (0, spared) if compiles(resolved) else (spared, 0)
    both = peak.both_at_once if resolved.given.compile_cache != "warm" else 0
    reserved = stated_bytes(widths, resolved)
    below = more + first + both + tuning_doubt_bytes(widths, resolved) + peak.encoder + reserved
    judged = first if resolved.uses_v2_model_runner else 0  # of the V1 runner one start is known to have held its copies: too few to refuse
    return Doubt(below, less + found + reserved, judged)


def pool_interval(resolved: ResolvedArgs, available_bytes: int, charged_bytes: int, doubt: Doubt = CERTAIN) -> tuple[int, int]:
    """(low, high) bytes of the first rank's pool; holds 90 % of real starts."""
    share = constant("interval_share_of_overhead", resolved)
    below = constant("interval_below_gib", resolved) * GIB + share * charged_bytes
    above = constant("interval_above_gib", resolved) * GIB + share * charged_bytes
    if not resolved.gpu.total_is_exact:
        below += 0.01 * resolved.gpu.total_memory_bytes
        above += 0.01 * resolved.gpu.total_memory_bytes
        if "GeForce" in resolved.gpu.product:  # Windows gives an engine under WSL the whole label
            above += _DRIVERS_SHARE * resolved.gpu.total_memory_bytes * resolved.gpu_memory_utilization
    factor = 2 if resolved.extrapolated or resolved.given.unruled else 1
    return available_bytes - int(factor * (below + doubt.below)), available_bytes + int(factor * (above + doubt.above))
