"""The controller as one object: informers, workers, pool writer, lease, watcher and ports, wired and run on threads.

Made by main. Standby replicas keep their caches warm and answer probes; only the leader watches InferenceDeployments,
books and writes. A bug stops the key, event or object it was met at and nothing else (quarantine); a lost lease ends the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.children.children import GROUP, newest
from plimsoll_operator.controller.children.course import place_of
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.cluster.informer import Change, Informer, Trim
from plimsoll_operator.controller.cluster.listener import Listener
from plimsoll_operator.controller.cluster.protection import Protection
from plimsoll_operator.controller.cluster.read_again import ReadAgain
from plimsoll_operator.controller.cluster.store import Parsed, ParsedObjects
from plimsoll_operator.controller.leader.recovery import deployment_of, promise_of
from plimsoll_operator.controller.quarantine import Bug, Quarantine, Unit
from plimsoll_operator.controller.reconcile import Reconciler
from plimsoll_operator.controller.records import Records
from plimsoll_operator.controller.reporting.calibration_writer import CalibrationWriter
from plimsoll_operator.controller.reporting.events import EventRecorder
from plimsoll_operator.controller.reporting.policy_status import PolicyStatus
from plimsoll_operator.controller.reporting.pool_writer import PoolWriter, offered
from plimsoll_operator.controller.reporting.profile_status import ProfileStatus
from plimsoll_operator.controller.reporting.report import Reporter
from plimsoll_operator.controller.resolving.branches import Branches
from plimsoll_operator.controller.resolving.config_map import ConfigMaps
from plimsoll_operator.controller.resolving.expiry import Expiry
from plimsoll_operator.controller.resolving.fetcher import Fetcher
from plimsoll_operator.controller.resolving.hub import HubFetcher
from plimsoll_operator.controller.resolving.models import Models
from plimsoll_operator.controller.resolving.reader_pod import reading_of_ended, request_key
from plimsoll_operator.controller.resolving.resolver import Resolver
from plimsoll_operator.controller.resolving.store import ProfileKeeper
from plimsoll_operator.controller.resolving.upkeep import Upkeep
from plimsoll_operator.controller.work_queue import WorkQueue
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.facts import Decide
from plimsoll_operator.metrics import DeploymentSeries, PoolSeries, Recorder
from plimsoll_operator.names import MANAGED_SELECTOR, NAME_LABEL
from plimsoll_operator.ports import (
    CLUSTER_MODEL_PROFILES,
    DEPLOYMENTS,
    ENGINE_CALIBRATIONS,
    FIT_POLICIES,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    LEADER_WORKER_SETS,
    MODEL_PROFILES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    Key,
    Kube,
    Manifest,
    Resource,
    key_of,
)

_log = logging.getLogger(__name__)
RESYNC_SECONDS: Final = 600.0
DEAD_WATCH_SECONDS: Final = 600.0
# Bookmarks come about once a minute, and a watch is begun again within five: older than this is no picture to decide by.
STALE_SECONDS: Final = 300.0
# Most of a key's time is spent waiting for the API server's answers; one key makes five to seven requests.
WORKERS: Final = 8


class Controller:
    """See the module. Also the source of the per-object series.

    `pod_namespaces`: the only ones whose pods it may list; empty is all. What others hold of the nodes is not known then, so it never
    says how many GPUs are free.
    """

    def __init__(
        self,
        kube: Kube,
        decide: Decide,
        *,
        identity: str,
        bypass_policies: Sequence[str] = (),
        guard_policies: Sequence[str] = (),
        pod_namespaces: Sequence[str] = (),
        fetchers: Sequence[Fetcher] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self.queue: WorkQueue[Key] = WorkQueue(clock, group=_namespace)
        self.records = Records()
        self.ledger = Ledger(clock, self.enqueue, sees_all_pods=not pod_namespaces)
        self.objects = ParsedObjects()
        self.protection = Protection(bypass_policies, guard_policies)
        self.recorder = Recorder(self)
        self.quarantine = Quarantine(self.recorder.internal_error)
        border = self.quarantine.border
        self._listeners: list[Listener] = []
        self._busy_since: dict[Key, float] = {}
        keeper = ProfileKeeper(kube)
        self.resolver = Resolver(fetchers, keeper, wake=self.enqueue, clock=clock, border=border)
        maps = ConfigMaps(kube=kube, now=_now)
        where = tuple(pod_namespaces) or ("",)
        profiles = self.objects.profiles.values
        expiry = Expiry(kube, profiles=self.objects.cluster_profiles.values, asked_for=self.records.asked_for, now=_now)
        self.upkeep = Upkeep(
            kube=kube, config_maps=maps, keeper=keeper, profiles=profiles, now=_now, pod_namespaces=where, border=border, expiry=expiry
        )
        hub = next((row for row in fetchers if isinstance(row, HubFetcher)), None)
        self.branches = (
            Branches(
                hub, keeper, profiles=self.objects.cluster_profiles.values, models=self.records.models, clock=clock, now=_now, border=border
            )
            if hub is not None
            else None
        )
        self.reconciler = Reconciler(
            kube=kube,
            objects=self.objects,
            ledger=self.ledger,
            records=self.records,
            models=Models(self.resolver),
            reporter=Reporter(kube, EventRecorder(kube, identity=identity, now=_now), _now),
            decide=decide,
            now=_now,
            again=self.queue.add_after,
            bypass_is_protected=self.protection.holds,
            serves_groups=lambda: self._groups.served,
            has_group=lambda key: self._groups.get(GROUP.place(key)) is not None,
            clock=clock,
        )
        self.calibration_writer = CalibrationWriter(kube, self.objects, _now, border)
        self.policy_status = PolicyStatus(kube, clock=clock, now=_now, border=border)
        self.profile_status = ProfileStatus(
            kube, self.objects.profiles, self.objects.cluster_profiles, clock=clock, now=_now, border=border
        )
        self.read_again = ReadAgain(kube, MODEL_PROFILES, self.objects.profiles, self._profile_read, clock=clock, border=border)
        self.pool_writer = PoolWriter(kube, self.ledger, self.objects, self._wake_all, _now, border)
        self.informers = self._informers(kube, where)

    def _informers(self, kube: Kube, pod_namespaces: tuple[str, ...]) -> tuple[Informer, ...]:
        objects, border = self.objects, self.quarantine.border

        def informer(
            resource: Resource, trimmed: Trim, change: Change, selector: str = "", namespace: str = "", keep: Trim | None = None
        ) -> Informer:
            listener = Listener(border, resource, change)
            self._listeners.append(listener)
            return Informer(
                kube,
                resource,
                trim=trimmed,
                on_change=listener,
                clock=self._clock,
                selector=selector,
                namespace=namespace,
                border=border,
                keep=keep,
                on_served=self._wake_all if resource is LEADER_WORKER_SETS else None,
            )

        self._children = informer(DEPLOYMENTS, trim.child, self._child_changed, MANAGED_SELECTOR)
        self._groups = informer(LEADER_WORKER_SETS, trim.child, self._child_changed, MANAGED_SELECTOR)
        return (
            informer(NODES, trim.node, self.ledger.node_changed),
            *(informer(PODS, trim.pod, self._pod_changed, namespace=namespace) for namespace in pod_namespaces),
            self._children,
            self._groups,
            informer(SERVICES, trim.service, self._service_changed, MANAGED_SELECTOR),
            informer(NAMESPACES, trim.namespace, self._namespace_changed),
            informer(MODEL_PROFILES, trim.shape, self._profile_changed(objects.profiles), keep=trim.digested),
            informer(CLUSTER_MODEL_PROFILES, trim.shape, self._profile_changed(objects.cluster_profiles), keep=trim.digested),
            informer(GPU_POOLS, trim.whole, self._pool_changed),
            informer(FIT_POLICIES, trim.whole, self._all_after(self._policy_changed)),
            informer(ENGINE_CALIBRATIONS, trim.whole, self._all_after(self._trust_changed(objects.engine_calibrations))),
            informer(VALIDATING_ADMISSION_POLICIES, trim.admission_policy, self._all_after(self.protection.policy_changed)),
            informer(VALIDATING_ADMISSION_POLICY_BINDINGS, trim.admission_policy, self._all_after(self.protection.binding_changed)),
        )

    def work(self, stop: threading.Event) -> None:
        """One of WORKERS threads: reconciles key by key until stopped; the queue hands no key to two of them."""
        while not stop.is_set():
            key = self.queue.take(1.0)
            if key is not None:
                self.work_on(key)

    def keep_time(self, stop: threading.Event) -> None:
        """Until stopped, take overdue bookings back every second and resync every RESYNC_SECONDS."""
        resync_at = self._clock() + RESYNC_SECONDS
        while not stop.wait(1.0):
            self.tick()
            if self._clock() >= resync_at:
                resync_at = self._clock() + RESYNC_SECONDS
                with self.quarantine.border(Unit.TIMER, "resync"):
                    self.resync()

    def tick(self) -> None:
        """What is due each second, one thing after the other."""
        with self.quarantine.border(Unit.TIMER, "overdue bookings"):
            self.ledger.expire()
        self.protection.complain()
        for listener in self._listeners:
            listener.retry()
        self.calibration_writer.write_if_changed()
        self.policy_status.write_due()

    def recover(self) -> None:
        """Book what the leader before us has promised, all of it before the first decision of our own.

        A child counts whose owner exists with that very uid: labels, owners and annotations may be written by whoever may edit
        Deployments. One that cannot be read is named and left; its deployment is looked at like every other. Raises ApiFailure.
        """
        owners = {key_of(item): str(item["metadata"].get("uid")) for item in self._all_deployments()}
        promises = {}
        # Of two children of one deployment the one with the later plan comes last, and counts.
        for child in sorted((*self._children.values(), *self._groups.values()), key=place_of):
            key = deployment_of(child, owners)
            if key is None:
                continue
            with self.quarantine.border(Unit.RECOVERY, f"child of {key[0]}/{key[1]}"):
                promise = promise_of(child, gated=bool(self.ledger.gated(key)))
                if promise is not None:
                    promises[key] = promise
        with self.quarantine.border(Unit.RECOVERY, "bookings"):
            self.reconciler.recover(promises)
        self.enqueue(owners)

    def resync(self) -> None:
        """Look at every deployment again with fresh eyes, also at those of which the watcher has told nothing."""
        self.reconciler.rejudge()
        self.enqueue(self.records.keys())
        try:
            self.enqueue(key_of(item) for item in self._all_deployments())
        except ApiFailure as failure:
            _log.warning("resync: %s", failure)

    def _all_deployments(self) -> Iterator[Manifest]:
        token = ""
        while True:
            page = self._kube.list_page(INFERENCE_DEPLOYMENTS, continue_token=token)
            yield from page.items
            token = page.continue_token
            if not token:
                return

    def work_on(self, key: Key) -> None:
        """Reconcile one key that was taken from the queue. A refusal of the API server puts it back with a delay, and so does a bug."""
        self._busy_since[key] = started = self._clock()
        outcome = "error"
        try:
            with self.quarantine.border(Unit.KEY, f"{key[0]}/{key[1]}") as attempt:
                outcome = self._try(key)
            if attempt.bug is not None:
                self.queue.retry(key)
                self._set_aside(key, attempt.bug)
        finally:
            del self._busy_since[key]
            self.recorder.reconciled(outcome=outcome, duration_seconds=self._clock() - started)
            self.queue.done(key)

    def _try(self, key: Key) -> str:
        try:
            outcome = self.reconciler.reconcile(key)
        except ApiFailure as failure:
            delay = self.queue.retry(key, not_before=failure.retry_after_seconds)
            _log.warning("%s/%s: %s; again in %.2f s", *key, failure, delay)
            return "retry"
        self.queue.succeeded(key)
        return outcome

    def _set_aside(self, key: Key, bug: Bug) -> None:
        """What was booked for a plan that did not reach its child is free again, and the object says that the error is ours."""
        with self.quarantine.border(Unit.KEY, f"setting {key[0]}/{key[1]} aside"):
            child = newest(one for one in (self._children.get(key), self._groups.get(GROUP.place(key))) if one is not None)
            kept = promise_of(child, gated=bool(self.ledger.gated(key))) if child is not None else None
            self.ledger.promise(key, kept)
        with self.quarantine.border(Unit.KEY, f"the status of {key[0]}/{key[1]}"):
            try:
                self.reconciler.report_bug(key, bug)
            except ApiFailure as failure:
                _log.warning("%s/%s: the status does not say that it is set aside: %s", *key, failure)

    def enqueue(self, keys: Iterable[Key]) -> None:
        """Make these keys ready."""
        for key in keys:
            self.queue.add(key)

    def unready(self) -> str:
        """Which caches are not filled yet, or have heard nothing for too long; empty when ready."""
        waiting = [informer.resource.plural for informer in self.informers if not informer.synced.is_set()]
        if waiting:
            return f"waiting for {', '.join(waiting)}"
        stale = [f"{kind} ({age:.0f} s)" for kind, age in self.watch_ages().items() if age > STALE_SECONDS]
        return f"no news from the API server about {', '.join(stale)}" if stale else ""

    def unhealthy(self) -> str:
        """Which part has stood still for too long to be waited for; empty when healthy."""
        dead = [kind for kind, age in self.watch_ages().items() if age > DEAD_WATCH_SECONDS]
        if dead:
            return f"no word from the API server about {', '.join(dead)}"
        now = self._clock()
        stuck = [key for key, since in tuple(self._busy_since.items()) if now - since > DEAD_WATCH_SECONDS]
        return f"a worker stands still at {'/'.join(stuck[0])}" if stuck else ""

    def deployments(self) -> Iterable[DeploymentSeries]:
        """See metrics.SeriesSource."""
        return self.records.deployments()

    def pools(self) -> Iterable[PoolSeries]:
        """See metrics.SeriesSource."""
        return [
            PoolSeries(
                pool=pool.name,
                gpus=(("total", pool.gpus), ("booked", pool.booked_gpus), *((("free", pool.free_gpus),) if pool.free_is_known else ())),
                gpu_memory_bytes=pool.key.usable_memory_bytes,
                problem_nodes=pool.nodes_by_problem,
            )
            for pool in self.ledger.pools()
        ]

    def queue_depth(self) -> int:
        """See metrics.SeriesSource."""
        return self.queue.depth()

    def watch_ages(self) -> Mapping[str, float]:
        """See metrics.SeriesSource."""
        ages: dict[str, float] = {}
        for informer in self.informers:
            ages[informer.resource.kind] = max(informer.age(), ages.get(informer.resource.kind, 0.0))
        return ages

    def _wake_all(self) -> None:
        self.enqueue(self.records.keys())

    def _pod_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        reading = reading_of_ended(new)
        if reading is not None:
            self.resolver.look_again(key[0], lambda wanted: request_key(wanted) == reading)
        owner = self.ledger.pod_changed(key, old, new)
        if owner is not None:
            self._touch(owner)

    def _child_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        # The label may be new, changed or gone: whoever it named and names looks at its child.
        named = [((one or {}).get("metadata", {}).get("labels") or {}).get(NAME_LABEL) for one in (old, new)]
        for name in {name or key[1] for name in named}:
            self._touch((key[0], name))
        key = (key[0], named[0] or key[1])
        if new is None and self.records.get(key) is None:
            self.ledger.promise(key, None)  # an earlier leader's child whose parent is gone

    def _service_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self.records.service_changed(key, old, new)
        self._touch(key)

    def _touch(self, key: Key) -> None:
        # Before the first reconcile the watcher's own listing brings every key; a child without a parent is none of ours.
        if self.records.get(key) is not None:
            self.queue.add(key)

    def _pool_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self.objects.pools.changed(key, old, new)
        self.ledger.correct(self.objects.pools.found())
        if self.objects.pools.unreadable(key) is not None:
            self.ledger.changed.set()  # to say so on it
        if offered(old) != offered(new):
            self.enqueue(self.records.keys())

    def _profile_changed(self, parsed: Parsed[Any]) -> Change:
        def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
            self.read_again.add(parsed.changed(key, old, new))
            self.profile_status.changed(key)
            model = ((new or old or {}).get("spec") or {}).get("model", "")
            self.enqueue(self.records.of_profile(key[1], model, key[0]))

        return change

    def _profile_read(self, key: Key) -> None:
        self.profile_status.changed(key)
        counted = self.objects.profiles.get(key)
        self.enqueue(self.records.of_profile(key[1], counted.spec.model if counted else "", key[0]))

    def _namespace_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        before = self.objects.labels_of(key[1])
        self.objects.namespace_changed(key, old, new)
        if self.objects.labels_of(key[1]) != before:  # another FitPolicy may hold
            self.enqueue([row for row in self.records.keys() if row[0] == key[1]])  # noqa: SIM118 no mapping

    def _policy_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self._trust_changed(self.objects.policies)(key, old, new)
        self.policy_status.changed(key, old, new)

    def _trust_changed(self, parsed: Parsed[Any]) -> Change:
        def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
            parsed.changed(key, old, new)
            self.calibration_writer.changed.set()

        return change

    def _all_after(self, changed: Change) -> Change:
        def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
            changed(key, old, new)
            self.enqueue(self.records.keys())

        return change


def _namespace(key: Key) -> str:
    return key[0]


def _now() -> datetime:
    return datetime.now(UTC)
