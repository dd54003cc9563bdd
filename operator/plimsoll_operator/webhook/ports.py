"""What the webhook needs from outside, as protocols: a recorder of reviews, and the decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import Store
from plimsoll_operator.verdict import Verdict

Decide: TypeAlias = Callable[[Facts], Verdict]


class Recorder(Protocol):
    """Counts reviews and renders what was counted."""

    def admission_reviewed(self, *, operation: str, verdict: str, reason: str, duration_seconds: float) -> None:
        """Count one review."""
        ...

    def render(self) -> bytes:
        """Prometheus' text format."""
        ...


class ReviewStore(Store, Protocol):
    """What gather reads, and whether it can be read."""

    def ready(self) -> bool:
        """Whether every cache has been filled once."""
        ...
