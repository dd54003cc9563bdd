"""The controller's Store for `gather`: profiles, policies, pools, calibrations and namespaces, parsed once when they change.

Informers write into it from their threads, the worker reads it. An object that the API types refuse is left out and
named in the log; it cannot stop the others. Knows no model and no GPU.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Generic, TypeVar

from pydantic import BaseModel

from plimsoll_operator.api import (
    ApiError,
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    GPUPool,
    ModelProfile,
    parse_object,
)
from plimsoll_operator.capacity import DerivedPool, pool_manifest
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.ports import Key, Manifest

_log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=BaseModel)


class Parsed(Generic[_T]):
    """The parsed objects of one kind, by key. Thread-safe; each write replaces the map, so readers need no lock."""

    def __init__(self, kind: type[_T]) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._objects: Mapping[Key, _T] = {}

    def changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback."""
        value = self._parse(key, new) if new is not None else None
        with self._lock:
            objects = {name: kept for name, kept in self._objects.items() if name != key}
            if value is not None:
                objects[key] = value
            self._objects = objects

    def get(self, key: Key) -> _T | None:
        """The object, or None."""
        return self._objects.get(key)

    def values(self) -> Iterable[_T]:
        """All objects of this moment."""
        return self._objects.values()

    def _parse(self, key: Key, manifest: Manifest) -> _T | None:
        try:
            return parse_object(self._kind, manifest)
        except ApiError as error:
            _log.warning("%s %s/%s is left out: %s", self._kind.__name__, *key, error)
            return None


class ParsedObjects:
    """All kinds together. One instance per process."""

    def __init__(self) -> None:
        self.profiles = Parsed(ModelProfile)
        self.cluster_profiles = Parsed(ClusterModelProfile)
        self.pools = Parsed(GPUPool)
        self.policies = Parsed(FitPolicy)
        self.engine_calibrations = Parsed(EngineCalibration)
        self._namespaces: dict[str, Manifest] = {}

    def namespace_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for namespaces."""
        if new is None:
            self._namespaces.pop(key[1], None)
        else:
            self._namespaces[key[1]] = new["metadata"]

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """Labels of the namespace."""
        labels: Mapping[str, str] = self._namespaces.get(namespace, {}).get("labels") or {}
        return labels

    def is_going(self, namespace: str) -> bool:
        """Whether the namespace is being deleted: nothing new can be made in it."""
        return "deletionTimestamp" in self._namespaces.get(namespace, {})


class StoreView:
    """`gather`'s Store over the parsed objects, with pools as one deployment may plan on them."""

    def __init__(
        self,
        objects: ParsedObjects,
        derived: Iterable[DerivedPool],
        *,
        uses: Callable[[str], Mapping[str, DeploymentUse]],
        bypass_is_protected: bool,
        serves_leader_worker_sets: bool = False,
    ) -> None:
        self._objects = objects
        self._derived = tuple(derived)
        self._uses = uses
        self._bypass_is_protected = bypass_is_protected
        self._serves_leader_worker_sets = serves_leader_worker_sets

    def model_profile(self, namespace: str, name: str) -> ModelProfile | None:
        """See gather.Store."""
        return self._objects.profiles.get((namespace, name))

    def model_profiles(self, namespace: str) -> Iterable[ModelProfile]:
        """See gather.Store."""
        return [row for row in self._objects.profiles.values() if row.metadata.namespace == namespace]

    def cluster_model_profiles(self) -> Iterable[ClusterModelProfile]:
        """See gather.Store."""
        return self._objects.cluster_profiles.values()

    def gpu_pools(self) -> Iterable[GPUPool]:
        """Derived pools as they are now, corrected by the user's spec of the same name, and the declared ones."""
        written = {row.metadata.name: row for row in self._objects.pools.values()}
        fresh = [current_pool(pool, written.get(pool.name)) for pool in self._derived]
        names = {pool.name for pool in self._derived}
        return fresh + [row for name, row in written.items() if row.spec.declared and name not in names]

    def fit_policies(self) -> Iterable[FitPolicy]:
        """See gather.Store."""
        return self._objects.policies.values()

    def calibrations(self) -> Iterable[EngineCalibration]:
        """See gather.Store."""
        return self._objects.engine_calibrations.values()

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """See gather.Store."""
        return self._objects.labels_of(namespace)

    def uses(self, namespace: str) -> Mapping[str, DeploymentUse]:
        """See gather.Store: by what is promised, so that two plans of the same second both count."""
        return self._uses(namespace)

    def bypass_is_protected(self) -> bool:
        """See gather.Store."""
        return self._bypass_is_protected

    def serves_leader_worker_sets(self) -> bool:
        """See gather.Store."""
        return self._serves_leader_worker_sets


def current_pool(derived: DerivedPool, written: GPUPool | None) -> GPUPool:
    """The GPUPool as it would be written now, with the spec that users have given it."""
    fresh = _parsed_pool(derived)
    return fresh if written is None else fresh.model_copy(update={"spec": written.spec})


@lru_cache(maxsize=512)
def _parsed_pool(derived: DerivedPool) -> GPUPool:
    """Most decisions see most pools unchanged."""
    return parse_object(GPUPool, pool_manifest(derived))
