"""The controller as one object: its parts, wired, and what is due each second.

Made by main, which runs the parts on threads. Standby replicas keep their caches warm and answer probes; only the leader watches
InferenceDeployments, books and writes. A bug stops the key, event or object it was met at and nothing else (quarantine); a lost lease
ends the process. Knows no work: that is the worker's, and what is listed is relist's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.children.children import GROUP, SINGLE, Cached, newest
from plimsoll_operator.controller.children.written import Written
from plimsoll_operator.controller.cluster.copies import Copies
from plimsoll_operator.controller.cluster.protection import Protection
from plimsoll_operator.controller.cluster.store import ParsedObjects
from plimsoll_operator.controller.loops.quarantine import Quarantine, Unit
from plimsoll_operator.controller.loops.restraint import Restraint
from plimsoll_operator.controller.loops.work_queue import WorkQueue
from plimsoll_operator.controller.on_change import OnChange
from plimsoll_operator.controller.reconcile import Reconciler
from plimsoll_operator.controller.records import Records
from plimsoll_operator.controller.relist import Relist
from plimsoll_operator.controller.reporting.calibration_writer import CalibrationWriter
from plimsoll_operator.controller.reporting.engine_starts import EngineStarts
from plimsoll_operator.controller.reporting.events import EventRecorder
from plimsoll_operator.controller.reporting.policy_status import PolicyStatus
from plimsoll_operator.controller.reporting.pool_writer import PoolWriter
from plimsoll_operator.controller.reporting.profile_status import ProfileStatus
from plimsoll_operator.controller.reporting.report import Reporter
from plimsoll_operator.controller.resolving.branches import Branches
from plimsoll_operator.controller.resolving.config_map import ConfigMaps
from plimsoll_operator.controller.resolving.expiry import Expiry
from plimsoll_operator.controller.resolving.fetcher import Fetcher
from plimsoll_operator.controller.resolving.hub import HubFetcher
from plimsoll_operator.controller.resolving.models import Models
from plimsoll_operator.controller.resolving.resolver import Resolver
from plimsoll_operator.controller.resolving.store import ProfileKeeper
from plimsoll_operator.controller.resolving.upkeep import Upkeep
from plimsoll_operator.controller.series import Series
from plimsoll_operator.controller.watching.heard import Heard
from plimsoll_operator.controller.watching.news import News
from plimsoll_operator.controller.worker import WORKERS, Worker
from plimsoll_operator.facts import Decide
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.ports import Key, Kube, Manifest

RESYNC_SECONDS: Final = 600.0


class Controller:
    """See the module.

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
        self.restraint = Restraint(clock, WORKERS)
        self.records = Records()
        self.ledger = Ledger(clock, self._stand_differently, sees_all_pods=not pod_namespaces)
        self.objects = ParsedObjects()
        self.copies = Copies()
        self._written = {kind.resource: Written() for kind in (SINGLE, GROUP)}
        self.protection = Protection(bypass_policies, guard_policies)
        self._busy_since: dict[Key, float] = {}
        self.series = self._series()
        self.recorder = Recorder(self.series)
        self.quarantine = Quarantine(self.recorder.internal_error)
        where = tuple(pod_namespaces) or ("",)
        self._wire_resolving(fetchers, where)
        self._wire_reporting()
        self.engine_starts = EngineStarts(kube, self.look_again, clock, self.quarantine.border)
        reporter = Reporter(kube, EventRecorder(kube, identity=identity, now=_now), _now, self.copies)
        self.reconciler = self._reconciler(decide, reporter)
        self._changes = self._on_change(where)
        self.informers = self._changes.informers
        self.read_again = self._changes.read_again
        self._wire_work()

    def _wire_work(self) -> None:
        """How keys come to the queue, and what is done with them."""
        news = News()
        self.heard = Heard(self.queue, news, self.copies)
        self.worker = Worker(
            queue=self.queue,
            restraint=self.restraint,
            quarantine=self.quarantine,
            reconciler=self.reconciler,
            ledger=self.ledger,
            recorder=self.recorder,
            child_of=self._child_of,
            forget=news.forget,
            busy_since=self._busy_since,
            clock=self._clock,
        )
        self.relist = Relist(
            kube=self._kube,
            reconciler=self.reconciler,
            ledger=self.ledger,
            copies=self.copies,
            news=news,
            queue=self.queue,
            quarantine=self.quarantine,
            children=lambda: (*self._changes.children.values(), *self._changes.groups.values()),
            known=self.records.keys,
        )

    def _child_of(self, key: Key) -> Manifest | None:
        """As the caches have it; of two the one with the later plan."""
        both = (self._changes.children.get(key), self._changes.groups.get(GROUP.place(key)))
        return newest(one for one in both if one is not None)

    def _series(self) -> Series:
        return Series(
            records=self.records,
            ledger=self.ledger,
            queue=self.queue,
            informers=lambda: self.informers,
            busy_since=self._busy_since,
            clock=self._clock,
        )

    def _wire_resolving(self, fetchers: Sequence[Fetcher], pod_namespaces: tuple[str, ...]) -> None:
        """Who reads shapes that nobody knows, and who looks after what was read."""
        kube, border, clusters = self._kube, self.quarantine.border, self.objects.cluster_profiles.values
        keeper = ProfileKeeper(kube)
        self.resolver = Resolver(fetchers, keeper, wake=self.enqueue, clock=self._clock, border=border)
        self.upkeep = Upkeep(
            kube=kube,
            config_maps=ConfigMaps(kube=kube, now=_now),
            keeper=keeper,
            profiles=self.objects.profiles.values,
            now=_now,
            pod_namespaces=pod_namespaces,
            border=border,
            expiry=Expiry(kube, profiles=clusters, asked_for=self.records.asked_for, now=_now),
        )
        hub = next((row for row in fetchers if isinstance(row, HubFetcher)), None)
        self.branches: Branches | None = None
        if hub is not None:
            models = self.records.models
            self.branches = Branches(hub, keeper, profiles=clusters, models=models, clock=self._clock, now=_now, border=border)

    def _wire_reporting(self) -> None:
        """Who writes what is said of kinds other than InferenceDeployments."""
        kube, objects, clock, border = self._kube, self.objects, self._clock, self.quarantine.border
        self.calibration_writer = CalibrationWriter(kube, objects, _now, border)
        self.policy_status = PolicyStatus(kube, clock=clock, now=_now, border=border)
        self.profile_status = ProfileStatus(kube, objects.profiles, objects.cluster_profiles, clock=clock, now=_now, border=border)
        self.pool_writer = PoolWriter(kube, self.ledger, objects, self._wake_all, _now, border)

    def _reconciler(self, decide: Decide, reporter: Reporter) -> Reconciler:
        return Reconciler(
            kube=self._kube,
            objects=self.objects,
            ledger=self.ledger,
            records=self.records,
            models=Models(self.resolver),
            reporter=reporter,
            starts=self.engine_starts,
            decide=decide,
            now=_now,
            again=partial(self.queue.add_after, unchanged=True),
            bypass_is_protected=self.protection.holds,
            serves_groups=lambda: self._changes.groups.served,
            caches={
                SINGLE.resource: Cached(get=lambda key: self._changes.children.get(key), written=self._written[SINGLE.resource]),
                GROUP.resource: Cached(get=lambda key: self._changes.groups.get(key), written=self._written[GROUP.resource]),
            },
            copies=self.copies,
            answered=self.restraint.answered,
            clock=self._clock,
        )

    def _on_change(self, pod_namespaces: tuple[str, ...]) -> OnChange:
        return OnChange(
            self._kube,
            objects=self.objects,
            ledger=self.ledger,
            records=self.records,
            resolver=self.resolver,
            protection=self.protection,
            calibration_writer=self.calibration_writer,
            policy_status=self.policy_status,
            profile_status=self.profile_status,
            wake=self.look_again,
            wake_first=self.queue.add_first,
            border=self.quarantine.border,
            clock=self._clock,
            pod_namespaces=pod_namespaces,
            told={resource: written.told for resource, written in self._written.items()},
        )

    def keep_time(self, stop: threading.Event) -> None:
        """Until stopped, take overdue bookings back every second and resync every RESYNC_SECONDS."""
        resync_at = self._clock() + RESYNC_SECONDS
        while not stop.wait(1.0):
            self.tick()
            if self._clock() >= resync_at:
                resync_at = self._clock() + RESYNC_SECONDS
                with self.quarantine.border(Unit.TIMER, "resync"):
                    self.relist.resync()

    def tick(self) -> None:
        """What is due each second, one thing after the other."""
        with self.quarantine.border(Unit.TIMER, "overdue bookings"):
            self.ledger.expire()
        self.protection.complain()
        for listener in self._changes.listeners:
            listener.retry()
        self.calibration_writer.write_if_changed()
        self.policy_status.write_due()

    def enqueue(self, keys: Iterable[Key]) -> None:
        """Make these keys ready: somebody waits for them."""
        for key in keys:
            self.queue.add(key)

    def _stand_differently(self, keys: Iterable[Key]) -> None:
        """A booking lasts some seconds only: these come first in their namespaces, the first decided before the others."""
        for key in reversed(tuple(keys)):
            self.queue.add_first(key)

    def look_again(self, keys: Iterable[Key]) -> None:
        """Make these keys ready after those that have changed themselves: something else was, a child, a policy, the clock."""
        for key in keys:
            self.queue.add(key, unchanged=True)

    def unready(self) -> str:
        """See Series."""
        return self.series.unready()

    def unhealthy(self) -> str:
        """See Series."""
        return self.series.unhealthy()

    def _wake_all(self) -> None:
        self.look_again(self.records.keys())


def _namespace(key: Key) -> str:
    return key[0]


def _now() -> datetime:
    return datetime.now(UTC)
