"""What the webhook needs from outside, as protocols: a recorder of reviews, and the decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import Store
from plimsoll_operator.verdict import Verdict
from plimsoll_operator.webhook.caps import DeploymentUse

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
    """What gather reads, and the InferenceDeployments that caps and /scale look at."""

    def deployments(self, namespace: str) -> Mapping[str, DeploymentUse]:
        """Use by name of the InferenceDeployments of a namespace."""
        ...

    def ready(self) -> bool:
        """Whether every cache has been filled once."""
        ...
