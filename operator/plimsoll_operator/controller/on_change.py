"""What each change that an informer tells leads to: what is remembered, and which InferenceDeployments are looked at again.

One informer a kind, made here with what it keeps of an object and whom it tells. Called on the informers' threads; makes no request
but theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.cluster.informer import Change, Informer, Told, Trim
from plimsoll_operator.controller.cluster.listener import Listener
from plimsoll_operator.controller.cluster.protection import Protection
from plimsoll_operator.controller.cluster.read_again import ReadAgain
from plimsoll_operator.controller.cluster.store import Parsed, ParsedObjects
from plimsoll_operator.controller.loops.quarantine import Border
from plimsoll_operator.controller.records import Records
from plimsoll_operator.controller.reporting.calibration_writer import CalibrationWriter
from plimsoll_operator.controller.reporting.policy_status import PolicyStatus
from plimsoll_operator.controller.reporting.pool_writer import offered
from plimsoll_operator.controller.reporting.profile_status import ProfileStatus
from plimsoll_operator.controller.resolving.reader_pod import reading_of_ended, request_key
from plimsoll_operator.controller.resolving.resolver import Resolver
from plimsoll_operator.names import MANAGED_SELECTOR, NAME_LABEL
from plimsoll_operator.ports import (
    CLUSTER_MODEL_PROFILES,
    DEPLOYMENTS,
    ENGINE_CALIBRATIONS,
    FIT_POLICIES,
    GPU_POOLS,
    LEADER_WORKER_SETS,
    MODEL_PROFILES,
    NAMESPACES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SERVICES,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    Key,
    Kube,
    Manifest,
    Resource,
)


class OnChange:
    """See the module.

    `told` hears every version of a kind, also where nothing that is kept has changed. `wake` has keys looked at again, after those that
    users have changed, `wake_first` one before all others of its namespace. A key of which nothing is known yet comes from the watcher
    first, so that it waits.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        objects: ParsedObjects,
        ledger: Ledger,
        records: Records,
        resolver: Resolver,
        protection: Protection,
        calibration_writer: CalibrationWriter,
        policy_status: PolicyStatus,
        profile_status: ProfileStatus,
        wake: Callable[[Iterable[Key]], None],
        wake_first: Callable[[Key], None],
        border: Border,
        clock: Callable[[], float],
        pod_namespaces: Sequence[str],
        told: Mapping[Resource, Told],
    ) -> None:
        self._objects = objects
        self._ledger = ledger
        self._records = records
        self._resolver = resolver
        self._protection = protection
        self._calibration_writer = calibration_writer
        self._policy_status = policy_status
        self._profile_status = profile_status
        self._wake = wake
        self._wake_first = wake_first
        self._border = border
        self._clock = clock
        self._told = told
        self.listeners: list[Listener] = []
        self.read_again = ReadAgain(kube, MODEL_PROFILES, objects.profiles, self._profile_read, clock=clock, border=border)
        self.children = self._informer(kube, DEPLOYMENTS, trim.child, self._child_changed, MANAGED_SELECTOR)
        self.groups = self._informer(kube, LEADER_WORKER_SETS, trim.child, self._child_changed, MANAGED_SELECTOR)
        self.informers = self._all(kube, pod_namespaces)

    def _informer(
        self,
        kube: Kube,
        resource: Resource,
        trimmed: Trim,
        change: Change,
        selector: str = "",
        namespace: str = "",
        keep: Trim | None = None,
    ) -> Informer:
        listener = Listener(self._border, resource, change)
        self.listeners.append(listener)
        return Informer(
            kube,
            resource,
            trim=trimmed,
            on_change=listener,
            clock=self._clock,
            selector=selector,
            namespace=namespace,
            border=self._border,
            keep=keep,
            told=self._told.get(resource),
            on_served=self._wake_all if resource is LEADER_WORKER_SETS else None,
        )

    def _all(self, kube: Kube, pod_namespaces: Sequence[str]) -> tuple[Informer, ...]:
        objects, informer = self._objects, partial(self._informer, kube)
        return (
            informer(NODES, trim.node, self._ledger.node_changed),
            *(informer(PODS, trim.pod, self._pod_changed, namespace=namespace) for namespace in pod_namespaces),
            self.children,
            self.groups,
            informer(SERVICES, trim.service, self._service_changed, MANAGED_SELECTOR),
            informer(POD_DISRUPTION_BUDGETS, trim.budget, self._budget_changed, MANAGED_SELECTOR),
            informer(NAMESPACES, trim.namespace, self._namespace_changed),
            informer(MODEL_PROFILES, trim.shape, self._profile_changed(objects.profiles), keep=trim.digested),
            informer(CLUSTER_MODEL_PROFILES, trim.shape, self._profile_changed(objects.cluster_profiles), keep=trim.digested),
            informer(GPU_POOLS, trim.whole, self._pool_changed),
            informer(FIT_POLICIES, trim.whole, self._all_after(self._policy_changed)),
            informer(ENGINE_CALIBRATIONS, trim.whole, self._all_after(self._trust_changed(objects.engine_calibrations))),
            informer(VALIDATING_ADMISSION_POLICIES, trim.admission_policy, self._all_after(self._protection.policy_changed)),
            informer(VALIDATING_ADMISSION_POLICY_BINDINGS, trim.admission_policy, self._all_after(self._protection.binding_changed)),
        )

    def _wake_all(self) -> None:
        self._wake(self._records.keys())

    def _pod_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        reading = reading_of_ended(new)
        if reading is not None:
            self._resolver.look_again(key[0], lambda wanted: request_key(wanted) == reading)
        owner = self._ledger.pod_changed(key, old, new)
        if owner is not None and self._records.knows(owner):
            if self._ledger.waits_for_us(owner):
                self._wake_first(owner)
            else:
                self._wake([owner])

    def _child_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        # The label may be new, changed or gone: whoever it named and names looks at its child.
        named = [((one or {}).get("metadata", {}).get("labels") or {}).get(NAME_LABEL) for one in (old, new)]
        for name in {name or key[1] for name in named}:
            self._touch((key[0], name))
        key = (key[0], named[0] or key[1])
        if new is None and self._records.get(key) is None:
            self._ledger.reserve(key, None)  # an earlier leader's child whose parent is gone

    def _service_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self._records.service_changed(key, old, new)
        self._touch(key)

    def _budget_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self._records.budget_changed(key, old, new)
        self._touch(key)

    def _touch(self, key: Key) -> None:
        # Before the first reconcile the watcher's own listing brings every key; a child without a parent is none of ours.
        if self._records.knows(key):
            self._wake([key])

    def _pool_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self._objects.pools.changed(key, old, new)
        self._ledger.correct(self._objects.pools.found())
        if self._objects.pools.unreadable(key) is not None:
            self._ledger.changed.set()  # to say so on it
        if offered(old) != offered(new):
            self._ledger.changed.set()  # of a pool without nodes status says why, and no node tells
            self._wake_all()

    def _profile_changed(self, parsed: Parsed[Any]) -> Change:
        def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
            self.read_again.add(parsed.changed(key, old, new))
            self._profile_status.changed(key)
            model = ((new or old or {}).get("spec") or {}).get("model", "")
            self._wake(self._records.of_profile(key[1], model, key[0]))

        return change

    def _profile_read(self, key: Key) -> None:
        self._profile_status.changed(key)
        counted = self._objects.profiles.get(key)
        self._wake(self._records.of_profile(key[1], counted.spec.model if counted else "", key[0]))

    def _namespace_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        before = self._objects.labels_of(key[1])
        self._objects.namespace_changed(key, old, new)
        if self._objects.labels_of(key[1]) != before:  # another FitPolicy may hold
            self._wake([row for row in self._records.keys() if row[0] == key[1]])  # noqa: SIM118 no mapping

    def _policy_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self._trust_changed(self._objects.policies)(key, old, new)
        self._policy_status.changed(key, old, new)

    def _trust_changed(self, parsed: Parsed[Any]) -> Change:
        def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
            parsed.changed(key, old, new)
            self._calibration_writer.changed.set()

        return change

    def _all_after(self, changed: Change) -> Change:
        def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
            changed(key, old, new)
            self._wake_all()

        return change
