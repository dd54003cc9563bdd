"""What pods ask for, and a clock that is moved by hand."""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_operator.controller.booking.demand import PodShape
from plimsoll_operator.pod import PodRequests

POOL = "l4"


def shape(gpus: int, *pools: str) -> PodShape:
    return PodShape(pools=pools or (POOL,), products=("NVIDIA-L4",), requests=PodRequests(gpus=gpus))


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now
