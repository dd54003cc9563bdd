"""The controller as one object: informers, workers, pool writer, lease, watcher and ports, wired and run on threads.

Made by main. Standby replicas keep their caches warm and answer probes; only the leader watches InferenceDeployments,
books and writes. Any thread that dies of a bug, a lost lease or a watcher that gave up ends the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from plimsoll_operator.api import NAME_LABEL
from plimsoll_operator.controller import trim
from plimsoll_operator.controller.calibration_writer import CalibrationWriter
from plimsoll_operator.controller.children import GROUP
from plimsoll_operator.controller.course import applied_from_child, place_of
from plimsoll_operator.controller.events import EventRecorder
from plimsoll_operator.controller.informer import Change, Informer, Trim
from plimsoll_operator.controller.ledger import Ledger, Promise
from plimsoll_operator.controller.pool_writer import PoolWriter
from plimsoll_operator.controller.profile_status import ProfileStatus
from plimsoll_operator.controller.protection import BypassProtection
from plimsoll_operator.controller.reconcile import Decide, Reconciler
from plimsoll_operator.controller.records import Records
from plimsoll_operator.controller.report import Reporter
from plimsoll_operator.controller.resolving.branches import Branches
from plimsoll_operator.controller.resolving.config_map import ConfigMaps
from plimsoll_operator.controller.resolving.fetcher import Fetcher
from plimsoll_operator.controller.resolving.hub import HubFetcher
from plimsoll_operator.controller.resolving.models import Models
from plimsoll_operator.controller.resolving.reader_pod import reading_of_ended, request_key
from plimsoll_operator.controller.resolving.resolver import Resolver
from plimsoll_operator.controller.resolving.store import ProfileKeeper
from plimsoll_operator.controller.resolving.upkeep import Upkeep
from plimsoll_operator.controller.store import Parsed, ParsedObjects
from plimsoll_operator.controller.work_queue import WorkQueue
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.metrics import DeploymentSeries, PoolSeries, Recorder
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
MANAGED: Final = "app.kubernetes.io/managed-by=plimsoll"


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
        bypass_policy: str = "",
        pod_namespaces: Sequence[str] = (),
        fetchers: Sequence[Fetcher] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self.queue: WorkQueue[Key] = WorkQueue(clock)
        self.records = Records()
        self.ledger = Ledger(clock, self.enqueue, sees_all_pods=not pod_namespaces)
        self.objects = ParsedObjects()
        self.protection = BypassProtection(bypass_policy)
        self.recorder = Recorder(self)
        self._busy_since: dict[Key, float] = {}
        keeper = ProfileKeeper(kube)
        self.resolver = Resolver(fetchers, keeper, wake=self.enqueue, clock=clock)
        maps = ConfigMaps(kube=kube, now=_now)
        where = tuple(pod_namespaces) or ("",)
        profiles = self.objects.profiles.values
        self.upkeep = Upkeep(kube=kube, config_maps=maps, keeper=keeper, profiles=profiles, now=_now, pod_namespaces=where)
        hub = next((row for row in fetchers if isinstance(row, HubFetcher)), None)
        self.branches = (
            Branches(hub, keeper, profiles=self.objects.cluster_profiles.values, models=self.records.models, clock=clock, now=_now)
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
        )
        self.calibration_writer = CalibrationWriter(kube, self.objects, _now)
        self.profile_status = ProfileStatus(kube, self.objects.profiles, self.objects.cluster_profiles, clock=clock, now=_now)
        self.pool_writer = PoolWriter(kube, self.ledger, self.objects, self._wake_all, _now)
        self.informers = self._informers(kube, where)

    def _informers(self, kube: Kube, pod_namespaces: tuple[str, ...]) -> tuple[Informer, ...]:
        objects = self.objects

        def informer(resource: Resource, trimmed: Trim, change: Change, selector: str = "", namespace: str = "") -> Informer:
            return Informer(kube, resource, trim=trimmed, on_change=change, clock=self._clock, selector=selector, namespace=namespace)

        self._children = informer(DEPLOYMENTS, trim.child, self._child_changed, MANAGED)
        self._groups = Informer(
            kube,
            LEADER_WORKER_SETS,
            trim=trim.child,
            on_change=self._child_changed,
            clock=self._clock,
            selector=MANAGED,
            on_served=self._wake_all,
        )
        return (
            informer(NODES, trim.node, self.ledger.node_changed),
            *(informer(PODS, trim.pod, self._pod_changed, namespace=namespace) for namespace in pod_namespaces),
            self._children,
            self._groups,
            informer(SERVICES, trim.child, self._service_changed, MANAGED),
            informer(NAMESPACES, trim.namespace, objects.namespace_changed),
            informer(MODEL_PROFILES, trim.shape, self._profile_changed(objects.profiles)),
            informer(CLUSTER_MODEL_PROFILES, trim.shape, self._profile_changed(objects.cluster_profiles)),
            informer(GPU_POOLS, trim.whole, self._pool_changed),
            informer(FIT_POLICIES, trim.whole, self._all_after(self._trust_changed(objects.policies))),
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
            self.ledger.expire()
            self.calibration_writer.write_if_changed()
            if self._clock() >= resync_at:
                resync_at = self._clock() + RESYNC_SECONDS
                self.resync()

    def recover(self) -> None:
        """Book what the leader before us has promised, all of it before the first decision of our own."""
        promises = {}
        for child in sorted((*self._children.values(), *self._groups.values()), key=place_of):
            key, applied = deployment_of(child), applied_from_child(child)
            if applied is not None and key is not None:
                replicas = int(child["spec"].get("replicas") or 0)
                promises[key] = Promise(
                    plan=applied.plan,
                    replicas=replicas,
                    decided=applied.decided,
                    generation=applied.origin.generation,
                    gated=bool(self.ledger.gated(key)),
                    child_replicas=replicas,
                )
        self.reconciler.recover(promises)

    def resync(self) -> None:
        """Look at every deployment again with fresh eyes, also at those of which the watcher has told nothing."""
        self.reconciler.rejudge()
        self.enqueue(self.records.keys())
        token = ""
        try:
            while True:
                page = self._kube.list_page(INFERENCE_DEPLOYMENTS, continue_token=token)
                self.enqueue(key_of(item) for item in page.items)
                token = page.continue_token
                if not token:
                    return
        except ApiFailure as failure:
            _log.warning("resync: %s", failure)

    def work_on(self, key: Key) -> None:
        """Reconcile one key that was taken from the queue. A refusal of the API server puts it back with a delay."""
        self._busy_since[key] = started = self._clock()
        outcome = "error"
        try:
            outcome = self.reconciler.reconcile(key)
            self.queue.succeeded(key)
        except ApiFailure as failure:
            outcome = "retry"
            delay = self.queue.retry(key, not_before=failure.retry_after_seconds)
            _log.warning("%s/%s: %s; again in %.2f s", *key, failure, delay)
        finally:
            del self._busy_since[key]
            self.recorder.reconciled(outcome=outcome, duration_seconds=self._clock() - started)
            self.queue.done(key)

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
        named = ((new or old or {}).get("metadata", {}).get("labels") or {}).get(NAME_LABEL)
        if named is not None:
            key = (key[0], named)
        if new is None or named is not None:
            self._touch(key)
        if new is None and self.records.get(key) is None:
            self.ledger.promise(key, None)  # an earlier leader's child whose parent is gone

    def _service_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self.records.service_changed(key, old, new)
        if new is None:
            self._touch(key)

    def _touch(self, key: Key) -> None:
        # Before the first reconcile the watcher's own listing brings every key; a child without a parent is none of ours.
        if self.records.get(key) is not None:
            self.queue.add(key)

    def _pool_changed(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        self.objects.pools.changed(key, old, new)
        self.ledger.correct(self.objects.pools.values())
        if _offered(old) != _offered(new):
            self.enqueue(self.records.keys())

    def _profile_changed(self, parsed: Parsed[Any]) -> Change:
        def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
            parsed.changed(key, old, new)
            self.profile_status.changed(key)
            model = ((new or old or {}).get("spec") or {}).get("model", "")
            self.enqueue(self.records.of_profile(key[1], model, key[0]))

        return change

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


def deployment_of(child: Manifest) -> Key | None:
    """The InferenceDeployment whose plan the child runs; None where it is nobody's, whatever its labels say."""
    metadata = child["metadata"]
    name = (metadata.get("labels") or {}).get(NAME_LABEL)
    owners = [owner for owner in metadata.get("ownerReferences") or () if owner.get("kind") == INFERENCE_DEPLOYMENTS.kind]
    return (metadata.get("namespace", ""), name) if name and any(owner.get("name") == name for owner in owners) else None


def _now() -> datetime:
    return datetime.now(UTC)


def _offered(pool: Manifest | None) -> tuple[Manifest, int]:
    """What a user has put into a GPUPool, and of one that selects nodes, how many: those are left of what it may bring."""
    spec = (pool or {}).get("spec") or {}
    return spec, ((pool or {}).get("status") or {}).get("nodes", 0) if spec.get("selector") else 0
