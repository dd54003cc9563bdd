"""gpu-memory-utilization, computed rather than copied: what one engine may claim of a GPU and still start and run.

Called by `fit` for every layout it tries. Works in thousandths, because that is what is rendered; knows no pools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import OutsideBudget, ceil_div

MAX_THOUSANDTHS: Final = 950


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes of one GPU that may be used. `shared_bytes`: so much is one memory with the host's, and the pod's processes lie in it too.

    Of that we leave `kept_bytes` to the system where we choose; who pins a value chooses himself.
    """

    limit_bytes: int
    shared_bytes: int | None = None
    kept_bytes: int = 0

    def for_engine(self, resident_bytes: int, *, pinned: bool) -> int:
        """What there is for the engine of a pod whose processes take so much of the host; may be negative."""
        if self.shared_bytes is None:
            return self.limit_bytes
        return min(self.limit_bytes, self.shared_bytes - (0 if pinned else self.kept_bytes) - resident_bytes)


def computed(outside: OutsideBudget, reserve_bytes: int, total_bytes: int, room_bytes: int) -> int:
    """The largest floor to three decimals of (room - pre-snapshot - post-KV - reserve) / total, in thousandths, at most 950.

    `total_bytes` is what vLLM multiplies by, `room_bytes` what there is for one engine: the total, or its part of a shared card.
    What is in use before vLLM's snapshot is part of the sum, so the start-up check `free >= ceil(total x utilisation)`
    (vLLM v1/worker/utils.py:request_memory) holds whenever the result is positive, also when every other engine
    on the card has taken its part. May be zero or negative: nothing fits.
    """
    left = room_bytes - outside.pre_snapshot_bytes - outside.post_kv_bytes - reserve_bytes
    return min(MAX_THOUSANDTHS, left * 1000 // total_bytes)


def requested_bytes(thousandths: int, total_bytes: int) -> int:
    """What vLLM requests of one GPU at this utilisation: ceil(total x utilisation)."""
    return ceil_div(total_bytes * thousandths, 1000)


def fraction(thousandths: int) -> float:
    """As the estimator and vLLM take it."""
    return thousandths / 1000


def text(thousandths: int) -> str:
    """As plan, status and pod write it: three decimals."""
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"


def thousandths_of(value: float) -> int:
    """A pinned utilisation in thousandths, rounded down."""
    return round(value * 1_000_000) // 1000
