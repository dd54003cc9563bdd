"""The leader's work on InferenceDeployments: a key from the queue, one reconcile, and what follows from a refusal or a bug.

Run by WORKERS threads. Knows what is done after a turn and nothing of what is done in one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.leader.recovery import reservation_of
from plimsoll_operator.controller.loops.quarantine import Bug, Quarantine, Unit
from plimsoll_operator.controller.loops.restraint import Restraint
from plimsoll_operator.controller.loops.work_queue import WorkQueue
from plimsoll_operator.controller.reconcile import Reconciler
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.ports import Key, Manifest

_log = logging.getLogger(__name__)
# Most of a key's time is spent waiting for the API server's answers; one key makes five to seven requests.
WORKERS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """`child_of` is a deployment's child as the caches have it, `forget` is told of a deployment that is deleted.

    `busy_since` are the keys that some thread is at, by the second at which it began; `clock` is monotonic seconds.
    """

    queue: WorkQueue[Key]
    restraint: Restraint
    quarantine: Quarantine
    reconciler: Reconciler
    ledger: Ledger
    recorder: Recorder
    child_of: Callable[[Key], Manifest | None]
    forget: Callable[[Key], None]
    clock: Callable[[], float]
    busy_since: dict[Key, float]

    def work(self, stop: threading.Event) -> None:
        """One of WORKERS threads: reconciles key by key until stopped; the queue hands no key to two of them."""
        while not stop.is_set():
            if not self.restraint.enter(1.0):
                continue
            try:
                key = self.queue.take(1.0)
                if key is not None:
                    self.work_on(key)
            finally:
                self.restraint.leave()

    def work_on(self, key: Key) -> None:
        """Reconcile one key that was taken from the queue. A refusal of the API server puts it back with a delay, and so does a bug."""
        self.busy_since[key] = started = self.clock()
        outcome = "error"
        try:
            with self.quarantine.border(Unit.KEY, f"{key[0]}/{key[1]}") as attempt:
                outcome = self._try(key)
            if attempt.bug is not None:
                self.queue.retry(key)
                self._set_aside(key, attempt.bug)
        finally:
            del self.busy_since[key]
            self.recorder.reconciled(outcome=outcome, duration_seconds=self.clock() - started)
            self.queue.done(key)

    def _try(self, key: Key) -> str:
        try:
            outcome = self.reconciler.reconcile(key)
        except ApiFailure as failure:
            self.restraint.refused(failure)
            delay = self.queue.retry(key, not_before=failure.retry_after_seconds)
            _log.warning("%s/%s: %s; again in %.2f s", *key, failure, delay)
            return "retry"
        self.queue.succeeded(key)
        if outcome == "deleted":
            self.forget(key)
        return outcome

    def _set_aside(self, key: Key, bug: Bug) -> None:
        """What was booked for a plan that did not reach its child is free again, and the object says that the error is ours."""
        with self.quarantine.border(Unit.KEY, f"setting {key[0]}/{key[1]} aside"):
            child = self.child_of(key)
            kept = reservation_of(child, gated=bool(self.ledger.gated(key))) if child is not None else None
            self.ledger.reserve(key, kept)
        with self.quarantine.border(Unit.KEY, f"the status of {key[0]}/{key[1]}"):
            try:
                self.reconciler.report_bug(key, bug)
            except ApiFailure as failure:
                _log.warning("%s/%s: the status does not say that it is set aside: %s", *key, failure)
