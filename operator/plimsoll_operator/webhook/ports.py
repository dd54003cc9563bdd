"""What the webhook needs from outside, as protocols: a recorder of reviews, and what gather reads."""

from __future__ import annotations

from typing import Protocol

from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.gather import Store


class Recorder(Protocol):
    """Counts reviews and renders what was counted."""

    def admission_reviewed(self, *, operation: str, verdict: str, reason: str, duration_seconds: float) -> None:
        """Count one review."""
        ...

    def internal_error(self, unit: str) -> None:
        """Count a bug that stopped one unit of work."""
        ...

    def render(self) -> bytes:
        """Prometheus' text format."""
        ...


class ReviewStore(Store, Protocol):
    """What gather reads, and whether it can be read."""

    def use(self, namespace: str, name: str) -> DeploymentUse | None:
        """What the InferenceDeployment holds; None where nothing is known of it."""
        ...

    def ready(self) -> bool:
        """Whether every cache has been filled once."""
        ...

    def problem(self) -> str:
        """Why it should not be asked now, in a sentence without its full stop; empty where nothing is wrong."""
        ...
