"""How far a measured KV pool may lie from the estimate: the half-widths of the 90 % interval, by weight of evidence.

Called by `estimate`. Widens with the overhead itself, where evidence is thin, and doubles when extrapolated.
"""

from __future__ import annotations

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB


def pool_interval(resolved: ResolvedArgs, available_bytes: int, charged_bytes: int) -> tuple[int, int]:
    """(low, high) bytes of the first rank's pool; holds 90 % of real starts."""
    share = constant("interval_share_of_overhead", resolved)
    below = constant("interval_below_gib", resolved) * GIB + share * charged_bytes
    above = constant("interval_above_gib", resolved) * GIB + share * charged_bytes
    if not resolved.gpu.total_is_exact:
        below += 0.01 * resolved.gpu.total_memory_bytes
        above += 0.01 * resolved.gpu.total_memory_bytes
    factor = 2 if resolved.extrapolated else 1
    return available_bytes - int(factor * below), available_bytes + int(factor * above)
