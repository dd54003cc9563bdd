"""The webhook's caches as `gather` reads them: five kinds of the API and the namespaces' labels, nothing else.

Each object is parsed once, on arrival. What cannot be read is kept as that and logged; a decision never sees half an object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel

from plimsoll_operator.api import (
    API_VERSION,
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    GPUPool,
    ModelProfile,
    Unreadable,
    read_stored,
)
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.metrics import DeploymentSeries, PoolSeries
from plimsoll_operator.ports import LEADER_WORKER_SETS
from plimsoll_operator.use import use_of
from plimsoll_operator.watch import Served, Watched

log = logging.getLogger(__name__)
_ROOT: Final = f"/apis/{API_VERSION}"
_B = TypeVar("_B", bound=BaseModel)


def _reader(kind: type[_B]) -> Callable[[Mapping[str, Any]], _B | Unreadable]:
    def read(obj: Mapping[str, Any]) -> _B | Unreadable:
        found = read_stored(kind, obj)
        if isinstance(found, Unreadable):
            log.warning("%s cannot be read: %s", found, found.problem)
        return found

    return read


def _watched(kind: type[_B], plural: str) -> Watched[_B | Unreadable]:
    return Watched(kind=kind.__name__, path=f"{_ROOT}/{plural}", parse=_reader(kind))


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    labels = (obj.get("metadata") or {}).get("labels")
    return dict(labels) if isinstance(labels, Mapping) else {}


def _model_of(row: ModelProfile | ClusterModelProfile | Unreadable) -> str:
    return row.model if isinstance(row, Unreadable) else row.spec.model


class CacheStore:
    """The Store protocol of `gather` over live caches, and the InferenceDeployments' use."""

    def __init__(self, *, bypass: bool = False) -> None:
        self._bypass = bypass
        self._profiles = _watched(ModelProfile, "modelprofiles")
        self._cluster = _watched(ClusterModelProfile, "clustermodelprofiles")
        self._pools = _watched(GPUPool, "gpupools")
        self._policies = _watched(FitPolicy, "fitpolicies")
        self._calibrations = _watched(EngineCalibration, "enginecalibrations")
        self._uses: Watched[DeploymentUse] = Watched(kind="InferenceDeployment", path=f"{_ROOT}/inferencedeployments", parse=use_of)
        self._namespaces: Watched[Mapping[str, str]] = Watched(kind="Namespace", path="/api/v1/namespaces", parse=_labels)
        self.leader_worker_sets = Served(LEADER_WORKER_SETS.api_version, LEADER_WORKER_SETS.plural)

    @property
    def caches(self) -> tuple[Watched[Any], ...]:
        """Every cache."""
        return (self._profiles, self._cluster, self._pools, self._policies, self._calibrations, self._uses, self._namespaces)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Keep every cache current until cancelled."""
        async with asyncio.TaskGroup() as group:
            for cache in self.caches:
                group.create_task(cache.run(client), name=f"watch {cache.kind}")
            group.create_task(self.leader_worker_sets.run(client), name="discover LeaderWorkerSet")

    def ready(self) -> bool:
        """Whether every cache has been filled once."""
        return not self.waiting()

    def waiting(self) -> list[str]:
        """Kinds that have not been listed yet."""
        asked = [] if self.leader_worker_sets.synced else ["discovery"]
        return [cache.kind for cache in self.caches if not cache.synced] + asked

    def model_profile(self, namespace: str, name: str) -> ModelProfile | Unreadable | None:
        """See gather.Store."""
        return self._profiles.objects.get((namespace, name))

    def cluster_model_profile(self, name: str) -> ClusterModelProfile | Unreadable | None:
        """See gather.Store."""
        return self._cluster.objects.get(("", name))

    def model_profiles(self, namespace: str, model: str) -> Iterable[ModelProfile | Unreadable]:
        """See gather.Store."""
        return [row for (where, _), row in self._profiles.objects.items() if where == namespace and _model_of(row) == model]

    def cluster_model_profiles(self, model: str) -> Iterable[ClusterModelProfile | Unreadable]:
        """See gather.Store."""
        return [row for row in self._cluster.objects.values() if _model_of(row) == model]

    def gpu_pools(self) -> Iterable[GPUPool]:
        """See gather.Store: a pool of which somebody says what cannot be read is not offered."""
        return [pool for pool in self._pools.objects.values() if not isinstance(pool, Unreadable)]

    def fit_policies(self) -> Iterable[FitPolicy | Unreadable]:
        """See gather.Store."""
        return self._policies.objects.values()

    def calibrations(self) -> Iterable[EngineCalibration]:
        """See gather.Store. Corrections that cannot be read are not made: the shipped constants hold, with their intervals."""
        return [row for row in self._calibrations.objects.values() if not isinstance(row, Unreadable)]

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """See gather.Store."""
        return self._namespaces.objects.get(("", namespace), {})

    def serves_leader_worker_sets(self) -> bool:
        """See gather.Store: as the background last heard."""
        return self.leader_worker_sets.served

    def bypass_is_protected(self) -> bool:
        """See gather.Store. Told at start: the webhook reads no policies; the controller, which makes the pods, looks for itself."""
        return self._bypass

    def uses(self, namespace: str) -> Mapping[str, DeploymentUse]:
        """See gather.Store."""
        return {name: use for (where, name), use in self._uses.objects.items() if where == namespace}


class WatchSeries:
    """What the webhook adds to its metrics: how old its news is. Series of objects are the controller's."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store

    def deployments(self) -> Iterable[DeploymentSeries]:
        """None: the controller exports them."""
        return ()

    def pools(self) -> Iterable[PoolSeries]:
        """None: the controller exports them."""
        return ()

    def queue_depth(self) -> int:
        """Nothing waits here."""
        return 0

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since each kind was last heard of."""
        return {cache.kind: cache.age_seconds() for cache in self._store.caches}
