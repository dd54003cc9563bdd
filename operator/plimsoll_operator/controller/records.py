"""What the controller remembers of each InferenceDeployment between reconciles, and what the scrape reads.

Rebuilt from the API server after a restart: nothing here is the only copy of anything. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from plimsoll_operator.controller.resolving.expiry import AskedFor
from plimsoll_operator.metrics import DeploymentSeries, Rejudged
from plimsoll_operator.observation import ObservedFigures
from plimsoll_operator.ports import Key, Manifest
from plimsoll_operator.verdict import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One deployment as last reconciled. `profile` is the name it gives to the shape's profile, if it names one, `draft` its draft model.

    `observed` is what its engines logged of their start.
    `has_budget`: its PodDisruptionBudget was there.
    `child_generation` is the Deployment's generation after our last look: another one means that somebody touched its spec.
    """

    plan: Plan | None
    model: str
    profile: str | None
    child_generation: int
    rejudged: Rejudged = ""
    draft: str | None = None
    observed: ObservedFigures | None = None
    has_budget: bool = False


class Records:
    """All of them, and which Services and budgets exist and what they say."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[Key, Record] = {}
        self._begun: set[Key] = set()
        self._services: dict[Key, tuple[frozenset[str], str]] = {}
        self._budgets: dict[Key, tuple[frozenset[str], str]] = {}

    def get(self, key: Key) -> Record | None:
        """The record, or None before the first reconcile."""
        with self._lock:
            return self._records.get(key)

    def begin(self, key: Key) -> None:
        """It is looked at from now on: what changes while it is for the first time is news for it all the same."""
        with self._lock:
            if key not in self._records:
                self._begun.add(key)

    def knows(self, key: Key) -> bool:
        """Whether it was looked at, or is. Where not, all there is will be seen when it is."""
        with self._lock:
            return key in self._records or key in self._begun

    def put(self, key: Key, record: Record) -> None:
        """Remember it."""
        with self._lock:
            self._records[key] = record
            self._begun.discard(key)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        with self._lock:
            self._records.pop(key, None)
            self._begun.discard(key)

    def keys(self) -> tuple[Key, ...]:
        """All deployments that were looked at, or are."""
        with self._lock:
            return (*self._records, *self._begun)

    def models(self) -> frozenset[str]:
        """Names of all models that deployments ask for."""
        with self._lock:
            return frozenset(record.model for record in self._records.values())

    def asked_for(self) -> AskedFor:
        """What all deployments name."""
        with self._lock:
            rows = tuple(self._records.values())
        models = frozenset(name for row in rows for name in (row.model, row.draft) if name)
        return AskedFor(models=models, profiles=frozenset(row.profile for row in rows if row.profile))

    def of_profile(self, name: str, model: str, namespace: str) -> tuple[Key, ...]:
        """Deployments that the profile of this name and model could concern; an empty namespace means all."""
        with self._lock:
            concerned = [key for key, record in self._records.items() if record.model == model or record.profile == name]
            return tuple(key for key in (*concerned, *self._begun) if not namespace or key[0] == namespace)

    def service_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for our Services."""
        with self._lock:
            if new is None:
                self._services.pop(key, None)
            else:
                owners = new["metadata"].get("ownerReferences") or ()
                self._services[key] = (frozenset(str(owner.get("uid")) for owner in owners), new["leadsTo"])

    def has_service(self, key: Key, uid: str, leads_to: str) -> bool:
        """Whether a Service of this deployment exists, made for the object with this uid and leading where it should."""
        with self._lock:
            owners, leads = self._services.get(key, (frozenset(), ""))
            return uid in owners and leads == leads_to

    def budget_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for our PodDisruptionBudgets."""
        with self._lock:
            if new is None:
                self._budgets.pop(key, None)
            else:
                owners = new["metadata"].get("ownerReferences") or ()
                self._budgets[key] = (frozenset(str(owner.get("uid")) for owner in owners), new["holdsBack"])

    def budget_of(self, key: Key, uid: str) -> str | None:
        """What the budget holds back that was made for the object with this uid; None where there is none."""
        with self._lock:
            owners, holds = self._budgets.get(key, (frozenset(), ""))
            return holds if uid in owners else None

    def deployments(self) -> Iterable[DeploymentSeries]:
        """For the scrape."""
        with self._lock:
            found = tuple(self._records.items())
        return [
            DeploymentSeries(namespace=key[0], name=key[1], plan=record.plan, rejudged=record.rejudged, observed=record.observed)
            for key, record in found
            if record.plan is not None
        ]
