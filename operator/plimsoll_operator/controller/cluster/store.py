"""The controller's Store for `gather`: profiles, policies, pools, calibrations and namespaces, parsed once when they change.

Informers write into it from their threads, the worker reads it. An object that the API types refuse is kept as one that cannot be
read and named in the log; it cannot stop the others, and who relied on it hears of it. Knows no model and no GPU.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from plimsoll_operator.api import (
    ApiError,
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    GPUPool,
    ModelProfile,
    Unreadable,
    read_stored,
)
from plimsoll_operator.capacity import DerivedPool, by_name, check_writable, derived_facts, pool_facts
from plimsoll_operator.facts import NamespaceUse, PoolFacts
from plimsoll_operator.ports import Key, Manifest
from plimsoll_operator.remembered import Remembered, kept_bytes
from plimsoll_operator.share import OverShare, Share, left_out

_log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=BaseModel)
_POOLS_BYTES: Final = 16 << 20


class Parsed(Generic[_T]):
    """The objects of one kind as far as they can be read, by key, and profiles by their model too.

    Thread-safe. A change costs the same however many objects there are; who reads all of them gets one tuple until the next change.
    Of a kind that is `shared`, what is over its namespace's share stays as `OverShare`, without its text. When it counts again it stays
    that until somebody reads it again.
    """

    def __init__(self, kind: type[_T], *, shared: bool = False) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._objects: dict[Key, _T | Unreadable] = {}
        self._by_model: dict[Key, dict[Key, _T | Unreadable]] = {}
        self._all: tuple[_T | Unreadable, ...] | None = ()
        self._shared = shared
        self._shares: dict[str, Share] = {}

    def changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> tuple[Key, ...]:
        """An informer's callback. Returns what counts again in the namespace because of the change, and is to be read again."""
        value = self._read(new) if new is not None else None
        with self._lock:
            self._put(key, value)
            return self._settle(key, value) if self._shared else ()

    def awaited(self, key: Key) -> OverShare | None:
        """What is kept of an object that counts again and whose text is to be read; None for every other."""
        with self._lock:
            found = self._objects.get(key)
            return found if isinstance(found, OverShare) and self._shares[key[0]].counts(key[1]) else None

    def read_again(self, key: Key, awaited: OverShare, new: Manifest) -> bool:
        """Take in what was read because of `awaited`, unless there has been other news of it since. Returns whether it was."""
        value = self._read(new)
        with self._lock:
            if self._objects.get(key) is not awaited:
                return False
            self._put(key, value)
            self._settle(key, value)
            return True

    def get(self, key: Key) -> _T | None:
        """The object, or None where there is none that can be read."""
        found = self.read(key)
        return None if isinstance(found, Unreadable) else found

    def read(self, key: Key) -> _T | Unreadable | None:
        """The object as far as it can be read and counts, or None where there is none."""
        with self._lock:
            return self._objects.get(key)

    def unreadable(self, key: Key) -> Unreadable | None:
        """What is known of an object that is there and cannot be read."""
        found = self.read(key)
        return found if isinstance(found, Unreadable) else None

    def found(self) -> tuple[_T | Unreadable, ...]:
        """All objects of this moment, also those that cannot be read."""
        with self._lock:
            if self._all is None:
                self._all = tuple(self._objects.values())
            return self._all

    def values(self) -> Iterable[_T]:
        """All objects of this moment that can be read."""
        return [value for value in self.found() if not isinstance(value, Unreadable)]

    def of_model(self, namespace: str, model: str) -> Iterable[_T | Unreadable]:
        """The namespace's objects that speak of this model."""
        with self._lock:
            return tuple(self._by_model.get((namespace, model), {}).values())

    def _read(self, new: Manifest) -> _T | Unreadable:
        value = read_stored(self._kind, new)
        if isinstance(value, Unreadable):
            _log.warning("%s cannot be read: %s", value, value.problem)
        return value

    def _put(self, key: Key, value: _T | Unreadable | None) -> None:
        before = self._objects.pop(key, None)
        if before is not None:
            self._of(key, before).pop(key, None)
        if value is not None:
            self._objects[key] = value
            self._of(key, value)[key] = value
        if before is not None and not self._of(key, before):
            del self._by_model[(key[0], _model_of(before))]
        self._all = None

    def _settle(self, key: Key, value: _T | Unreadable | None) -> tuple[Key, ...]:
        """Keep of what is over the share now nothing but that; name what counts again and was left out before."""
        namespace, name = key
        share = self._shares.setdefault(namespace, Share())
        row: Any = value  # only kinds that have a share are ever over it
        out, back = share.drop(name) if value is None else share.put(name, row)
        if not share:
            del self._shares[namespace]
        gone = {one for one in (*out, name) if not share.counts(one)}
        for one in gone:
            kept: Any = self._objects.get((namespace, one))
            if kept is not None:
                self._put((namespace, one), left_out(one, kept))
        return tuple((namespace, one) for one in sorted(back) if isinstance(self._objects[(namespace, one)], OverShare))

    def _of(self, key: Key, value: _T | Unreadable) -> dict[Key, _T | Unreadable]:
        return self._by_model.setdefault((key[0], _model_of(value)), {})


def _model_of(value: Any) -> str:
    """The model that an object speaks of; empty for all objects of kinds that speak of none."""
    return value.model if isinstance(value, Unreadable) else getattr(value.spec, "model", "")


class ParsedObjects:
    """All kinds together. One instance per process."""

    def __init__(self) -> None:
        self.profiles = Parsed(ModelProfile, shared=True)
        self.cluster_profiles = Parsed(ClusterModelProfile)
        self.pools = Parsed(GPUPool)
        self.policies = Parsed(FitPolicy)
        self.engine_calibrations = Parsed(EngineCalibration)
        self._namespaces: dict[str, Manifest] = {}
        # Most decisions see most pools unchanged. A derived pool, the question, is about as large as its facts, the answer.
        self._facts: Remembered[DerivedPool, PoolFacts | None] = Remembered("derived pools", _POOLS_BYTES, lambda one: 2 * kept_bytes(one))

    def facts_of(self, derived: DerivedPool) -> PoolFacts | None:
        """A derived pool with what users say of it. None where no plan is on it: no object can hold it, or what is said cannot be read.

        That may be that it is smaller.
        """
        if self.pools.unreadable(("", derived.name)) is not None:
            return None
        found = self._facts.ask(derived, lambda: _facts_of(derived))
        written = self.pools.get(("", derived.name))
        said = found is not None and written is not None and written.spec.model_fields_set
        return derived_facts(derived, written.spec) if said and written is not None else found

    def pool_facts(self, derived: Iterable[DerivedPool]) -> tuple[PoolFacts, ...]:
        """Derived pools as they are now, corrected by the user's spec of the same name, and the declared ones."""
        derived = tuple(derived)
        names = {pool.name for pool in derived}
        declared = [row for row in self.pools.values() if row.spec.declared and row.metadata.name not in names]
        found = (self.facts_of(pool) for pool in derived)
        return by_name([*(pool for pool in found if pool is not None), *map(pool_facts, declared)])

    def namespace_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for namespaces."""
        if new is None:
            self._namespaces.pop(key[1], None)
        else:
            self._namespaces[key[1]] = new["metadata"]

    def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """Labels of the namespace; None where nobody has told of it yet."""
        metadata = self._namespaces.get(namespace)
        return None if metadata is None else metadata.get("labels") or {}

    def is_going(self, namespace: str) -> bool:
        """Whether the namespace is being deleted: nothing new can be made in it."""
        return "deletionTimestamp" in self._namespaces.get(namespace, {})


class StoreView:
    """`gather`'s Store over the parsed objects, with pools as one deployment may plan on them."""

    def __init__(
        self,
        objects: ParsedObjects,
        pools: tuple[PoolFacts, ...],
        *,
        use_beside: Callable[[Key], NamespaceUse],
        bypass_is_protected: bool,
        serves_leader_worker_sets: bool = False,
    ) -> None:
        self._objects = objects
        self._pools = pools
        self._use_beside = use_beside
        self._bypass_is_protected = bypass_is_protected
        self._serves_leader_worker_sets = serves_leader_worker_sets

    def model_profile(self, namespace: str, name: str) -> ModelProfile | Unreadable | None:
        """See gather.Store."""
        return self._objects.profiles.read((namespace, name))

    def cluster_model_profile(self, name: str) -> ClusterModelProfile | Unreadable | None:
        """See gather.Store."""
        return self._objects.cluster_profiles.read(("", name))

    def model_profiles(self, namespace: str, model: str) -> Iterable[ModelProfile | Unreadable]:
        """See gather.Store."""
        return self._objects.profiles.of_model(namespace, model)

    def cluster_model_profiles(self, model: str) -> Iterable[ClusterModelProfile | Unreadable]:
        """See gather.Store."""
        return self._objects.cluster_profiles.of_model("", model)

    def pool_facts(self) -> tuple[PoolFacts, ...]:
        """See gather.Store."""
        return self._pools

    def fit_policies(self) -> Iterable[FitPolicy | Unreadable]:
        """See gather.Store."""
        return self._objects.policies.found()

    def calibrations(self) -> Iterable[EngineCalibration]:
        """See gather.Store."""
        return self._objects.engine_calibrations.values()

    def namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        """See gather.Store."""
        return self._objects.labels_of(namespace)

    def use_beside(self, namespace: str, name: str) -> NamespaceUse:
        """See gather.Store: by what is reserved, so that two plans of the same second both count."""
        return self._use_beside((namespace, name))

    def bypass_is_protected(self) -> bool:
        """See gather.Store."""
        return self._bypass_is_protected

    def serves_leader_worker_sets(self) -> bool:
        """See gather.Store."""
        return self._serves_leader_worker_sets


def _facts_of(derived: DerivedPool) -> PoolFacts | None:
    """Whatever nodes and pods say of themselves, one pool that nobody can write down must not keep all others from being planned on."""
    try:
        check_writable(derived)
    except ApiError as error:
        _log.error("GPUPool %s is set aside: %s", derived.name, error)
        return None
    return derived_facts(derived)
