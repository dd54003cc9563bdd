"""Bytes beside weights and KV cache: activation peak, graphs, communication, buffers, and what stays outside the budget.

Called by `estimate`. Constants are keyed on causes (release, runner, interconnect, vocabulary, tokens) in
data/overheads.json, each with its evidence. Refuses to know model names.
"""

from __future__ import annotations

from plimsoll_estimator.overhead.host import host_memory_bytes
from plimsoll_estimator.overhead.shape import ModelShape, model_shape
from plimsoll_estimator.overhead.stage import StageOverhead, stage_overhead, stage_overheads
from plimsoll_estimator.overhead.startup import outside_budget
from plimsoll_estimator.overhead.uncertainty import pool_interval

__all__ = [
    "ModelShape",
    "StageOverhead",
    "host_memory_bytes",
    "model_shape",
    "outside_budget",
    "pool_interval",
    "stage_overhead",
    "stage_overheads",
]
