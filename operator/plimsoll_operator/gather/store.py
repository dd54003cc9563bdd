"""What a door brings to be gathered from: parsed objects at one moment, as a protocol. Knows no order and makes no choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from plimsoll_operator.api import (
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    ModelProfile,
    Unreadable,
)
from plimsoll_operator.facts import NamespaceUse, PoolFacts


class Store(Protocol):
    """Parsed objects at one moment. Orders do not matter: whatever is chosen is chosen by name."""

    def model_profile(self, namespace: str, name: str) -> ModelProfile | Unreadable | None:
        """The ModelProfile of this name, or None."""
        ...

    def cluster_model_profile(self, name: str) -> ClusterModelProfile | Unreadable | None:
        """The ClusterModelProfile of this name, or None."""
        ...

    def model_profiles(self, namespace: str, model: str) -> Iterable[ModelProfile | Unreadable]:
        """All ModelProfiles of the namespace that speak of the model."""
        ...

    def cluster_model_profiles(self, model: str) -> Iterable[ClusterModelProfile | Unreadable]:
        """All ClusterModelProfiles that speak of the model."""
        ...

    def pool_facts(self) -> tuple[PoolFacts, ...]:
        """Every pool that plans can be made for, by name."""
        ...

    def fit_policies(self) -> Iterable[FitPolicy | Unreadable]:
        """All FitPolicies, also those that cannot be read: they hold too."""
        ...

    def calibrations(self) -> Iterable[EngineCalibration]:
        """All EngineCalibrations."""
        ...

    def namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        """Labels of the namespace; None while nobody has told of it yet."""
        ...

    def use_beside(self, namespace: str, name: str) -> NamespaceUse:
        """What the namespace's InferenceDeployments hold together, but for the one of this name. Asked only where a cap is set."""
        ...

    def bypass_is_protected(self) -> bool:
        """Whether admission lets only those write the bypass annotation who may."""
        ...

    def serves_leader_worker_sets(self) -> bool:
        """Whether the cluster serves leaderworkerset.x-k8s.io/v1. Asked only where placement allows several nodes a replica."""
        ...
