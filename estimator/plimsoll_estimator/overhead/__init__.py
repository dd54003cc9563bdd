"""Bytes beside weights and KV cache: activation peak, graphs, communication, buffers, and what stays outside the budget.

Called by `estimate`. Constants are keyed on causes (release, runner, interconnect, vocabulary, tokens) in
data/overheads.json, each with its evidence. Refuses to know model names.
"""

from __future__ import annotations

from plimsoll_estimator.overhead.host import HostMemory, host_memory
from plimsoll_estimator.overhead.intervals import covered_percent
from plimsoll_estimator.overhead.stage import StageOverhead, stage_overhead, stage_overheads
from plimsoll_estimator.overhead.startup import outside_budget
from plimsoll_estimator.overhead.uncertainty import doubt_of, pool_interval
from plimsoll_estimator.overhead.widths import Widths, language_alone, widths_of

__all__ = [
    "HostMemory",
    "StageOverhead",
    "Widths",
    "covered_percent",
    "doubt_of",
    "host_memory",
    "language_alone",
    "outside_budget",
    "pool_interval",
    "stage_overhead",
    "stage_overheads",
    "widths_of",
]
