"""The webhook's caches as `gather` reads them: five kinds of the API and the namespaces' labels, nothing else.

Each object is parsed once, on arrival. What cannot be read is kept as that and logged; a decision never sees half an object.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel

from plimsoll_operator.api import ClusterModelProfile, EngineCalibration, FitPolicy, GPUPool, ModelProfile, Unreadable, read_stored
from plimsoll_operator.capacity import by_name, is_offer, pool_facts
from plimsoll_operator.facts import DeploymentUse, NamespaceUse, PoolFacts
from plimsoll_operator.metrics import DeploymentSeries, PoolSeries
from plimsoll_operator.names import API_VERSION, MANAGED_LABEL, NOTES_ANNOTATION
from plimsoll_operator.namespaced import Settle
from plimsoll_operator.ports import LEADER_WORKER_SETS, Manifest, key_of
from plimsoll_operator.read_request import MOST_NOTES
from plimsoll_operator.reflector import STALE_SECONDS
from plimsoll_operator.share import settled
from plimsoll_operator.use import use_of
from plimsoll_operator.watch import Served, Watched

log = logging.getLogger(__name__)
_ROOT: Final = f"/apis/{API_VERSION}"
_B = TypeVar("_B", bound=BaseModel)
_T = TypeVar("_T")
_READ_OF_METADATA: Final = {"labels": (MANAGED_LABEL,), "annotations": (NOTES_ANNOTATION,)}


def _reader(kind: type[_B], bug: Callable[[], None]) -> Callable[[Manifest], _B | Unreadable]:
    def read(obj: Manifest) -> _B | Unreadable:
        found: _B | Unreadable
        try:
            found = read_stored(kind, _kept(obj) if kind in (ModelProfile, ClusterModelProfile) else obj)
        except Exception:  # the border of one object: it stays as what cannot be read, so that who relies on it says no
            found = _stumbled_over(kind.__name__, obj)
            log.exception("a bug: %s cannot be read", found)
            bug()
        if isinstance(found, Unreadable):
            log.warning("%s cannot be read: %s", found, found.problem)
        return found

    return read


def _pool_reader(bug: Callable[[], None]) -> Callable[[Manifest], PoolFacts | Unreadable | None]:
    """Of a GPUPool that plans can be made for its facts, made once and not for each review; of another nothing."""
    parsed = _reader(GPUPool, bug)

    def read(obj: Manifest) -> PoolFacts | Unreadable | None:
        found = parsed(obj)
        if isinstance(found, Unreadable):
            return found
        return pool_facts(found) if is_offer(found) else None

    return read


def _readable_by_name(pools: Mapping[str, PoolFacts | Unreadable]) -> tuple[PoolFacts, ...]:
    return by_name(pool for pool in pools.values() if not isinstance(pool, Unreadable))


def _together(uses: Mapping[str, DeploymentUse]) -> tuple[Mapping[str, DeploymentUse], NamespaceUse]:
    """With what they were counted from: by then there may be others."""
    return uses, NamespaceUse.of(uses.values())


def _kept(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """A profile without what nobody reads here: its author may have written a megabyte of labels and annotations."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping):
        return obj
    kept = dict(metadata)
    for part, keys in _READ_OF_METADATA.items():
        given = kept.get(part)
        if isinstance(given, Mapping):
            kept[part] = {key: _text(given[key]) for key in keys if key in given}
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": kept}


def _text(value: Any) -> Any:
    return value[:MOST_NOTES] if isinstance(value, str) else value


def _stumbled_over(kind: str, obj: Manifest) -> Unreadable:
    namespace, name = key_of(obj)
    return Unreadable(
        kind=kind, namespace=namespace[:253], name=name[:253], generation=0, problem="reading it met an error of the webhook itself"
    )


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    labels = (obj.get("metadata") or {}).get("labels")
    return dict(labels) if isinstance(labels, Mapping) else {}


def _model_of(row: ModelProfile | ClusterModelProfile | Unreadable) -> str:
    return row.model if isinstance(row, Unreadable) else row.spec.model


class CacheStore:
    """The Store protocol of `gather` over live caches, and the InferenceDeployments' use."""

    def __init__(
        self, *, bypass: bool = False, bug: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bypass = bypass
        self._bug = bug
        self._clock = clock
        self._page = asyncio.Lock()
        self._profiles = self._watched(ModelProfile, "modelprofiles", settle=settled)
        self._cluster = self._watched(ClusterModelProfile, "clustermodelprofiles")
        self._pools: Watched[PoolFacts | Unreadable] = self._cache("GPUPool", f"{_ROOT}/gpupools", _pool_reader(self._bug))
        self._policies = self._watched(FitPolicy, "fitpolicies")
        self._calibrations = self._watched(EngineCalibration, "enginecalibrations")
        self._uses = self._cache("InferenceDeployment", f"{_ROOT}/inferencedeployments", use_of)
        self._namespaces = self._cache("Namespace", "/api/v1/namespaces", _labels)
        self.leader_worker_sets = Served(LEADER_WORKER_SETS.api_version, LEADER_WORKER_SETS.plural, clock=clock)

    def _watched(self, kind: type[_B], plural: str, settle: Settle[Any] | None = None) -> Watched[_B | Unreadable]:
        return self._cache(kind.__name__, f"{_ROOT}/{plural}", _reader(kind, self._bug), settle)

    def _cache(self, kind: str, path: str, parse: Callable[[Manifest], _T | None], settle: Settle[_T] | None = None) -> Watched[_T]:
        return Watched(kind=kind, path=path, parse=parse, settle=settle, clock=self._clock, page=self._page, bug=self._bug)

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

    def problem(self) -> str:
        """Kinds that have not been listed yet or whose news is too old to judge by; empty where there is none."""
        waiting = self.waiting()
        if waiting:
            return f"caches are not synced yet: {', '.join(waiting)}"
        ages = {cache.kind: cache.age_seconds() for cache in self.caches} | {"discovery": self.leader_worker_sets.age_seconds()}
        stale = [f"{kind} ({age:.0f} s)" for kind, age in ages.items() if age > STALE_SECONDS]
        return f"nothing was heard for too long of {', '.join(stale)}" if stale else ""

    def waiting(self) -> list[str]:
        """Kinds that have not been listed yet."""
        asked = [] if self.leader_worker_sets.synced else ["discovery"]
        return [cache.kind for cache in self.caches if not cache.synced] + asked

    def model_profile(self, namespace: str, name: str) -> ModelProfile | Unreadable | None:
        """See gather.Store."""
        return self._profiles.get(namespace, name)

    def cluster_model_profile(self, name: str) -> ClusterModelProfile | Unreadable | None:
        """See gather.Store."""
        return self._cluster.get("", name)

    def model_profiles(self, namespace: str, model: str) -> Iterable[ModelProfile | Unreadable]:
        """See gather.Store."""
        return [row for row in self._profiles.of(namespace).values() if _model_of(row) == model]

    def cluster_model_profiles(self, model: str) -> Iterable[ClusterModelProfile | Unreadable]:
        """See gather.Store."""
        return [row for row in self._cluster.of().values() if _model_of(row) == model]

    def pool_facts(self) -> tuple[PoolFacts, ...]:
        """See gather.Store: a pool of which somebody says what cannot be read is not offered."""
        return self._pools.once("", _readable_by_name)

    def fit_policies(self) -> Iterable[FitPolicy | Unreadable]:
        """See gather.Store."""
        return self._policies.of().values()

    def calibrations(self) -> Iterable[EngineCalibration]:
        """See gather.Store. Corrections that cannot be read are not made: the shipped constants hold, with their intervals."""
        return [row for row in self._calibrations.of().values() if not isinstance(row, Unreadable)]

    def namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        """See gather.Store."""
        return self._namespaces.get("", namespace)

    def serves_leader_worker_sets(self) -> bool:
        """See gather.Store: as the background last heard."""
        return self.leader_worker_sets.served

    def bypass_is_protected(self) -> bool:
        """See gather.Store. Told at start: the webhook reads no policies; the controller, which makes the pods, looks for itself."""
        return self._bypass

    def use(self, namespace: str, name: str) -> DeploymentUse | None:
        """See ports.ReviewStore."""
        return self._uses.get(namespace, name)

    def use_beside(self, namespace: str, name: str) -> NamespaceUse:
        """See gather.Store."""
        uses, together = self._uses.once(namespace, _together)
        return together.without(uses.get(name))


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
        """Seconds since each kind was last heard of; at first, since the start."""
        return {cache.kind: cache.age_seconds() for cache in self._store.caches}
