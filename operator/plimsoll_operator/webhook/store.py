"""The webhook's caches as `gather` reads them: five kinds of the API and the namespaces' labels, nothing else.

Each object is parsed once, on arrival. What cannot be parsed is left out and logged; a decision never sees half an object.
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
    ApiError,
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    GPUPool,
    ModelProfile,
    parse_object,
)
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.metrics import DeploymentSeries, PoolSeries
from plimsoll_operator.ports import LEADER_WORKER_SETS
from plimsoll_operator.use import use_of
from plimsoll_operator.watch import Served, Watched

log = logging.getLogger(__name__)
_ROOT: Final = f"/apis/{API_VERSION}"
_B = TypeVar("_B", bound=BaseModel)


def _parser(kind: type[_B]) -> Callable[[Mapping[str, Any]], _B | None]:
    def parse(obj: Mapping[str, Any]) -> _B | None:
        # Entries of a list carry neither apiVersion nor kind in some servers' answers: they are the list's.
        whole = {"apiVersion": API_VERSION, "kind": kind.__name__} | dict(obj)
        try:
            return parse_object(kind, whole)
        except ApiError as error:
            metadata = whole.get("metadata") or {}
            log.warning("%s %s/%s is left out: %s", kind.__name__, metadata.get("namespace", ""), metadata.get("name"), error)
            return None

    return parse


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    labels = (obj.get("metadata") or {}).get("labels")
    return dict(labels) if isinstance(labels, Mapping) else {}


class CacheStore:
    """The Store protocol of `gather` over live caches, and the InferenceDeployments' use."""

    def __init__(self, *, bypass: bool = False) -> None:
        self._bypass = bypass
        self._profiles = Watched(kind="ModelProfile", path=f"{_ROOT}/modelprofiles", parse=_parser(ModelProfile))
        self._cluster = Watched(kind="ClusterModelProfile", path=f"{_ROOT}/clustermodelprofiles", parse=_parser(ClusterModelProfile))
        self._pools = Watched(kind="GPUPool", path=f"{_ROOT}/gpupools", parse=_parser(GPUPool))
        self._policies = Watched(kind="FitPolicy", path=f"{_ROOT}/fitpolicies", parse=_parser(FitPolicy))
        self._calibrations = Watched(kind="EngineCalibration", path=f"{_ROOT}/enginecalibrations", parse=_parser(EngineCalibration))
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

    def model_profile(self, namespace: str, name: str) -> ModelProfile | None:
        """See gather.Store."""
        return self._profiles.objects.get((namespace, name))

    def model_profiles(self, namespace: str) -> Iterable[ModelProfile]:
        """See gather.Store."""
        return [profile for (where, _), profile in self._profiles.objects.items() if where == namespace]

    def cluster_model_profiles(self) -> Iterable[ClusterModelProfile]:
        """See gather.Store."""
        return self._cluster.objects.values()

    def gpu_pools(self) -> Iterable[GPUPool]:
        """See gather.Store."""
        return self._pools.objects.values()

    def fit_policies(self) -> Iterable[FitPolicy]:
        """See gather.Store."""
        return self._policies.objects.values()

    def calibrations(self) -> Iterable[EngineCalibration]:
        """See gather.Store."""
        return self._calibrations.objects.values()

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
