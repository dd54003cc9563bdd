"""python -m plimsoll_operator.controller: reads arguments, wires the controller to the API server, and runs it.

Ends with 0 on SIGTERM after giving the lease back, and with 1 when the lease was lost: a fresh process starts from a clean
state. A bug ends neither the process nor the loop it was met in. Knows no reconciling.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import MAX_ID
from plimsoll_operator.controller.leader.drain import drain
from plimsoll_operator.controller.leader.lease import LeaseElector
from plimsoll_operator.controller.loops.quarantine import Quarantine, Unit
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.reporting import engine_starts
from plimsoll_operator.controller.resolving import resolver
from plimsoll_operator.controller.resolving.fetcher import Fetcher
from plimsoll_operator.controller.resolving.hub import HubFetcher, TokenFile
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings
from plimsoll_operator.controller.resolving.sources import namespace_sources
from plimsoll_operator.controller.serve import exposition, probe, serve
from plimsoll_operator.controller.watching.watcher import run_watcher
from plimsoll_operator.controller.worker import WORKERS
from plimsoll_operator.decision import decide_within
from plimsoll_operator.errors import LeaseLost, OperatorError
from plimsoll_operator.kube import KubeClient
from plimsoll_operator.logs import FORMATS, configure
from plimsoll_operator.ports import LEASE_NAME
from plimsoll_operator.profiles.access import Access, endpoint_from_environment, endpoint_of

_log = logging.getLogger("plimsoll.controller")
_DECIDE_SECONDS = 2.0
"""Decisions are made one after the other: one that takes longer than this is Undecided, so that the others go on."""
_STEADY_SECONDS = 300.0
"""How long a loop must have run for its earlier failures to be forgotten."""
_UNSTEADY_TIMES, _UNSTEADY_SECONDS = 6, 60.0
"""A loop that has ended so many times in a row, the last time within so many seconds, makes the process unhealthy."""
_LONGEST_PAUSE_SECONDS = 30.0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="plimsoll_operator.controller", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--namespace", default="plimsoll-system", help="namespace of the leader's lease")
    parser.add_argument("--health-port", type=int, default=8080, help="serves /healthz and /readyz")
    parser.add_argument("--metrics-port", type=int, default=8081, help="serves /metrics")
    bypass = "name of a ValidatingAdmissionPolicy that protects the bypass annotation, again for each; without any it is not honoured"
    parser.add_argument("--bypass-policy", action="append", default=[], metavar="NAME", help=bypass)
    guard = "name of a ValidatingAdmissionPolicy that holds this account to its work, again for each; the log says which are missing"
    parser.add_argument("--guard-policy", action="append", default=[], metavar="NAME", help=guard)
    image = "image of the pods that read volumes and use users' hub tokens in their namespaces; without it there are none"
    parser.add_argument("--reader-image", default="", help=image)
    parser.add_argument("--reader-image-pull-policy", default="IfNotPresent", choices=("Always", "IfNotPresent", "Never"))
    parser.add_argument("--reader-image-pull-secret", action="append", default=[], metavar="NAME", help="a Secret of the users' namespaces")
    parser.add_argument("--reader-user", type=_number, metavar="UID", help="as whom volumes are read where a spec does not say it")
    parser.add_argument("--reader-group", type=_number, metavar="GID", help="the group that goes with it")
    parser.add_argument("--offline", action="store_true", default=is_offline(os.environ), help="ask no hub (also HF_HUB_OFFLINE=1)")
    parser.add_argument("--hub-endpoint", metavar="URL", help="hub or mirror that model shapes are read from (default: HF_ENDPOINT)")
    parser.add_argument("--hub-token-file", metavar="FILE", type=Path, help="file with the operator's hub token (default: HF_TOKEN)")
    only = "a namespace whose pods may be listed, again for each; without it all are. With it, how many GPUs are free is not known"
    parser.add_argument("--pod-namespace", action="append", default=[], metavar="NAMESPACE", help=only)
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    form = "json: an object a line, with namespace, name and reason of what was decided (default: PLIMSOLL_LOG_FORMAT, else text)"
    parser.add_argument("--log-format", choices=FORMATS, default=os.environ.get("PLIMSOLL_LOG_FORMAT") or "text", help=form)
    options = parser.parse_args(argv)
    if options.log_format not in FORMATS:  # a default that argparse does not look at
        parser.error(f"PLIMSOLL_LOG_FORMAT: {options.log_format!r} is none of {', '.join(FORMATS)}")
    try:
        text = options.hub_endpoint
        options.hub_endpoint = endpoint_of(text, "--hub-endpoint") if text else endpoint_from_environment()
    except InvalidInput as error:
        parser.error(str(error))
    return options


def _number(text: str) -> int:
    """Of a user or group that a reader may have: not root's."""
    number = int(text)
    if not 1 <= number <= MAX_ID:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and {MAX_ID}")
    return number


def is_offline(environment: Mapping[str, str]) -> bool:
    """As huggingface_hub reads HF_HUB_OFFLINE (huggingface_hub.constants)."""
    return environment.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _fetchers(kube: KubeClient, arguments: argparse.Namespace) -> list[Fetcher]:
    """The sources of shapes, each for the readings that it answers."""

    def now() -> datetime:
        return datetime.now(UTC)

    token = TokenFile(path=arguments.hub_token_file)
    access = Access(endpoint=arguments.hub_endpoint, token=token, whose="the operator's hub token")
    readers = ReaderSettings(
        image=arguments.reader_image,
        pull_policy=arguments.reader_image_pull_policy,
        pull_secrets=tuple(arguments.reader_image_pull_secret),
        hub_endpoint=arguments.hub_endpoint,
        offline=arguments.offline,
        user=arguments.reader_user,
        group=arguments.reader_group,
    )
    hub = HubFetcher(access, offline=arguments.offline, clock=time.monotonic, now=now)
    return [hub, *namespace_sources(kube, readers, now=now)]


class _Run:
    """One run of the process: the stop flag, its exit status, and its threads, which a bug may interrupt but not end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.ended = threading.Event()  # set after `stop`, when what was at hand is done: until then the lease is renewed
        self.status = 0
        self.quarantine = Quarantine()
        self.recovered = threading.Event()  # while leading: what was reserved before is known
        self.watching = threading.Event()  # while leading: the API server hands InferenceDeployments out
        self._ended: dict[str, tuple[int, float]] = {}
        self._ending = threading.Lock()
        self._pausing: frozenset[str] = frozenset()

    def unsteady(self) -> str:
        """Which loop ends again and again; empty where none does."""
        now = time.monotonic()
        ending = [
            name for name, (times, since) in tuple(self._ended.items()) if times >= _UNSTEADY_TIMES and now - since < _UNSTEADY_SECONDS
        ]
        return f"{', '.join(ending)} cannot be kept running" if ending else ""

    def unready(self, controller: Controller, elector: LeaseElector) -> str:
        """Why this process does not do its work, or could not if it were its turn; empty where it does.

        A standby must be able to have the lease; a leader must have begun to lead. A loop that ended and waits to begin anew leads nothing.
        """
        if self.stop.is_set():
            return "stopping"
        if caches := controller.unready():
            return caches
        if pausing := self._pausing:
            return f"{', '.join(sorted(pausing))} ended and waits to begin anew"
        if not elector.leads:
            return elector.unable()
        if not self.recovered.is_set():
            return "leading, but what was promised before is not known yet"
        return "" if self.watching.is_set() else "leading, but the API server hands no InferenceDeployments out"

    def fail(self, why: str) -> None:
        """End the process with status 1."""
        _log.error("%s", why)
        self.status = 1
        self.stop.set()

    def spawn(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """Run on a daemon thread until stopped. Each turn of a loop has a border of its own; what gets past it begins the loop anew."""
        thread = threading.Thread(target=partial(self._keep_running, name, target), name=name, daemon=True)
        thread.start()
        return thread

    def _keep_running(self, name: str, target: Callable[[], None]) -> None:
        failures = 0
        while not self.stop.is_set():
            started = time.monotonic()
            try:
                with self.quarantine.border(Unit.THREAD, name):
                    target()
            except OperatorError as failure:
                _log.error("%s: %s", name, failure)
            if self.stop.is_set():
                return
            failures = failures + 1 if time.monotonic() - started < _STEADY_SECONDS else 1
            self._ended[name] = (failures, time.monotonic())
            delay = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** min(failures, 10))
            _log.error("%s ended by itself; it begins anew in %.0f s", name, delay)
            with self._ending:
                self._pausing |= {name}
            self.stop.wait(delay)
            with self._ending:
                self._pausing -= {name}


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, or until the process must not go on."""
    arguments = _arguments(argv)
    configure(arguments.log_level, arguments.log_format)
    run = _Run()

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        # Not here: the main thread may have been interrupted while it holds the event's own lock.
        threading.Thread(target=run.stop.set, daemon=True).start()

    signal.signal(signal.SIGTERM, terminated)
    signal.signal(signal.SIGINT, terminated)

    kube = KubeClient.from_environment()
    identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    fetchers = _fetchers(kube, arguments)
    controller = Controller(
        kube,
        partial(decide_within, clock=time.monotonic, seconds=_DECIDE_SECONDS),
        identity=identity,
        bypass_policies=arguments.bypass_policy,
        guard_policies=arguments.guard_policy,
        pod_namespaces=arguments.pod_namespace,
        fetchers=fetchers,
    )
    run.quarantine = controller.quarantine
    elector = LeaseElector(
        kube,
        namespace=arguments.namespace,
        name=LEASE_NAME,
        identity=identity,
        clock=time.monotonic,
        now=lambda: datetime.now(UTC),
        border=run.quarantine.border,
    )
    serve(
        arguments.health_port,
        {
            "/healthz": probe(lambda: controller.unhealthy() or run.unsteady()),
            "/readyz": probe(lambda: run.unready(controller, elector)),
        },
    )
    serve(arguments.metrics_port, {"/metrics": exposition(controller.recorder.render)})
    for informer in controller.informers:
        run.spawn(f"informer-{informer.resource.plural}", partial(informer.run, run.stop))
    run.spawn("reading-again", lambda: controller.read_again.loop.run(run.stop))
    for informer in controller.informers:
        while not run.stop.is_set() and not informer.synced.wait(0.2):
            pass
    if elector.acquire(run.stop):
        _log.info("leading as %s", identity)
        _lead(run, controller, kube, elector, identity)
    return run.status


def _lead(run: _Run, controller: Controller, kube: KubeClient, elector: LeaseElector, identity: str) -> None:
    """Work until stopped; then finish the keys at hand before the lease is given back, so that two leaders never overlap."""

    def hold() -> None:
        # The one loop that is never begun anew: whoever cannot tell that it still leads must not write.
        with run.quarantine.border(Unit.THREAD, "lease"):
            try:
                elector.hold(run.ended)
            except LeaseLost as lost:
                run.fail(str(lost))
        if not run.ended.is_set():
            run.fail("the lease is not renewed any more")

    # A thread of its own, not begun anew: it goes on after `stop`.
    renewal = threading.Thread(target=hold, name="lease", daemon=True)
    renewal.start()
    _recover(run, controller)
    writers = [run.spawn(f"worker-{number}", lambda: controller.worker.work(run.stop)) for number in range(WORKERS)]
    writers.append(run.spawn("pool-writer", lambda: controller.pool_writer.run(run.stop)))
    for number in range(resolver.WORKERS):
        run.spawn(f"resolver-{number}", lambda: controller.resolver.work(run.stop))
    writers.append(run.spawn("timer", lambda: controller.keep_time(run.stop)))
    writers.append(run.spawn("profile-status", lambda: controller.profile_status.loop.run(run.stop)))
    branches = controller.branches
    if branches is not None:
        run.spawn("branches", lambda: branches.run(run.stop))
    for number in range(engine_starts.WORKERS):
        run.spawn(f"engine-log-{number}", lambda: controller.engine_starts.work(run.stop))
    run.spawn("upkeep", lambda: controller.upkeep.run(run.stop))
    watch = partial(run_watcher, kube.connection, controller.heard, identity=identity, stop=run.stop, ready=run.watching)
    run.spawn("watcher", watch)
    while not run.stop.wait(0.5):
        if elector.overdue():
            run.fail("the lease is overdue")
    controller.queue.close()
    if run.status == 0:
        # Readings are not waited for: a hub may take its time, and what was read after `stop` is not written any more.
        drain(writers, renewal, run.ended, elector)


def _recover(run: _Run, controller: Controller) -> None:
    """Before all else, and until it is done: whoever does not know what was reserved would book it again."""
    failures = 0
    while not run.stop.is_set():
        try:
            with run.quarantine.border(Unit.RECOVERY, "all children") as attempt:
                controller.relist.recover()
            if attempt.bug is None:
                run.recovered.set()
                return
        except OperatorError as failure:
            _log.warning("what was promised is not known yet: %s", failure)
        failures += 1
        run.stop.wait(min(_LONGEST_PAUSE_SECONDS, 0.2 * 2.0 ** min(failures, 10)))


if __name__ == "__main__":
    code = main()
    # Daemon threads may sit in a read of a minute: flush and leave without waiting for them.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
