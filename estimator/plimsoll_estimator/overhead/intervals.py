"""How wide the interval of a pool is, by what the start is like: the calibrated figures of data/intervals.json.

Called by `uncertainty`. The file is written by tools/intervals.py from starts that were logged, and from nothing else; what is worked out
for one start alone (whether FlashInfer is there, what a label leaves open) is added by `uncertainty`.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

from plimsoll_estimator.overhead.encoder import encodes
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB

Cause = Literal["experts", "delta_net", "encoder", "several_gpus", "v2_cold", "v2", "v1_cold", "v1"]
CAUSES: Final[tuple[Cause, ...]] = ("experts", "delta_net", "encoder", "several_gpus", "v2_cold", "v2", "v1_cold", "v1")
"""What an estimate is most in doubt of, the first that holds of a start: each has a factor of its own."""


@cache
def table() -> dict[str, Any]:
    """The file as it is."""
    found: dict[str, Any] = json.loads(resources.files("plimsoll_estimator").joinpath("data/intervals.json").read_text(encoding="utf-8"))
    return found


def covered_percent() -> int:
    """Of a hundred starts that nobody had looked at, how many left a pool inside the interval, rounded down."""
    return int(table()["covered_percent"])


def cause_of(widths: Widths, resolved: ResolvedArgs) -> Cause:
    """The first of `CAUSES` that holds."""
    if widths.experts:
        return "experts"
    if widths.gated_delta_net:
        return "delta_net"
    if widths.multimodal and widths.tower is not None and encodes(resolved):
        return "encoder"
    if resolved.tensor_parallel_size * resolved.pipeline_parallel_size > 1:
        return "several_gpus"
    cold = resolved.given.compile_cache != "warm" and not resolved.enforce_eager and overhead_rules(resolved.version).times_kernels
    if resolved.uses_v2_model_runner:
        return "v2_cold" if cold else "v2"
    return "v1_cold" if cold else "v1"


def calibrated_bytes(cause: Cause | None, charged_bytes: int) -> int:
    """Half of the interval, beside what is doubted openly, for a start whose terms beside weights are `charged_bytes`.

    Without a cause as for the one of least doubt.
    """
    found = table()
    factors = found["factors"]
    return int((min(factors.values()) if cause is None else factors[cause]) * scale_bytes(charged_bytes))


def scale_bytes(charged_bytes: int) -> float:
    """What a factor multiplies: a constant, and a share of what is estimated beside the weights."""
    found = table()
    return float(found["base_gib"] * GIB + found["share_of_overhead"] * charged_bytes)
