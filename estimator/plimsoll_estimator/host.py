"""How long a replica takes to load, as ranges for three classes of storage. Called by the CLI.

Planning figures: bytes over bandwidth plus stated start-up terms. Refuses to know the node and its page cache; host memory
is part of the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from plimsoll_estimator.units import ceil_div


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    """Where weights are read from, and the range of sustained bytes a second it gives one node."""

    name: str
    slow_bytes_per_second: int
    fast_bytes_per_second: int


STORAGE_CLASSES: Final = (
    StorageClass(name="local NVMe", slow_bytes_per_second=2 * 10**9, fast_bytes_per_second=6 * 10**9),
    StorageClass(name="network volume", slow_bytes_per_second=2 * 10**8, fast_bytes_per_second=10**9),
    StorageClass(name="hub download", slow_bytes_per_second=5 * 10**7, fast_bytes_per_second=5 * 10**8),
)
"""Ranges as reported for vLLM pods; the third is 0.4 to 4 Gbit/s of a shared link."""

Phase = Literal["read_seconds", "compile_seconds", "capture_seconds"]

STARTUP_SECONDS: Final = (  # what, from (caches warm), to (cold)
    ("processes, imports and CUDA", 15, 45),
    ("torch.compile", 5, 90),
    ("profiling and CUDA graphs", 5, 60),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTime:
    """Seconds from container start to ready, without the image pull."""

    storage: str
    at_best_seconds: int
    at_worst_seconds: int


def load_times(checkpoint_bytes: int, *, enforce_eager: bool = False) -> tuple[LoadTime, ...]:
    """Bytes over bandwidth plus the start-up terms, for each storage class. Eager engines neither compile nor capture."""
    terms = STARTUP_SECONDS[:1] if enforce_eager else STARTUP_SECONDS
    best, worst = sum(low for _, low, _ in terms), sum(high for _, _, high in terms)
    return tuple(
        LoadTime(
            storage=storage.name,
            at_best_seconds=best + checkpoint_bytes // storage.fast_bytes_per_second,
            at_worst_seconds=worst + ceil_div(checkpoint_bytes, storage.slow_bytes_per_second),
        )
        for storage in STORAGE_CLASSES
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """Seconds of one phase of a start, by the name that a log's times have for it."""

    phase: Phase
    at_best_seconds: int
    at_worst_seconds: int


def phase_times(checkpoint_bytes: int, *, enforce_eager: bool = False) -> tuple[PhaseTime, ...]:
    """What of `load_times` an engine logs by itself: reading from the fastest to the slowest storage, compiling, and capturing graphs.

    Eager engines do the first alone. The time of imports and of CUDA is in no phase of a log.
    """
    read = PhaseTime(
        phase="read_seconds",
        at_best_seconds=checkpoint_bytes // max(storage.fast_bytes_per_second for storage in STORAGE_CLASSES),
        at_worst_seconds=ceil_div(checkpoint_bytes, min(storage.slow_bytes_per_second for storage in STORAGE_CLASSES)),
    )
    if enforce_eager:
        return (read,)
    (_, compile_best, compile_worst), (_, capture_best, capture_worst) = STARTUP_SECONDS[1:]
    return (
        read,
        PhaseTime(phase="compile_seconds", at_best_seconds=compile_best, at_worst_seconds=compile_worst),
        PhaseTime(phase="capture_seconds", at_best_seconds=capture_best, at_worst_seconds=capture_worst),
    )


def checkpoint_bytes(stage_bytes: Sequence[int], tensor_parallel_size: int) -> int:
    """Bytes read from storage: the weights of one rank a stage, times its ranks. Replicated parts count on each rank: large side."""
    return sum(stage_bytes) * tensor_parallel_size
