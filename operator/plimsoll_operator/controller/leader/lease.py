"""Leader election on a coordination.k8s.io/v1 Lease: at most one controller books and writes.

Runs on a thread of its own beside the worker. Timing is controller-runtime's: a lease lasts 15 s, is renewed every 2 s,
and a holder that could not renew for 10 s stops on its own, refused or for a bug. Others judge expiry by their own clock since
they last saw the lease change, so clocks need not agree. Knows nothing of what is led.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.errors import ApiFailure, LeaseLost
from plimsoll_operator.ports import LEASES, Kube, Manifest

_log = logging.getLogger(__name__)
LEASE_SECONDS: Final = 15
RENEW_DEADLINE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0


class LeaseElector:
    """One candidate. `clock` is monotonic seconds, `now` the wall clock that is written into the lease."""

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        border: Border = no_border,
    ) -> None:
        self._border = border
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = clock()
        self._renewed_at = clock()
        self._answered_at: float | None = None
        self._refusal = ""
        self.leads = False
        """Whether the last attempt that was answered took or renewed the lease."""

    def acquire(self, stop: threading.Event) -> bool:
        """Wait until this process leads. False when stopped first."""
        while not stop.is_set():
            with self._border(Unit.LEASE, self._name):
                try:
                    if self.attempt():
                        return True
                except ApiFailure as failure:
                    _log.warning("lease %s: %s", self._name, failure)
            stop.wait(RETRY_SECONDS)
        return False

    def hold(self, stop: threading.Event) -> None:
        """Renew until stopped. Raises LeaseLost when the lease was taken or could not be renewed in time."""
        while not stop.wait(RETRY_SECONDS):
            with self._border(Unit.LEASE, self._name):
                try:
                    if not self.attempt():
                        raise LeaseLost(f"lease {self._name} was taken by {self._seen[0]}")
                except ApiFailure as failure:
                    _log.warning("lease %s not renewed: %s", self._name, failure)
            if self.overdue():
                raise LeaseLost(f"lease {self._name} could not be renewed for {RENEW_DEADLINE_SECONDS:.0f} s")

    def overdue(self) -> bool:
        """Whether a holder has gone so long without a renewal that it must stop before another may start.

        A renewal can hang in a request: whoever acts on the lease asks here rather than waiting for `hold` to notice.
        """
        return self._clock() - self._renewed_at > RENEW_DEADLINE_SECONDS

    def unable(self) -> str:
        """Why this process could not lead as things are: nobody has let it try, or not for long. Empty where it could."""
        answered = self._answered_at
        if answered is None:
            return f"lease {self._name} is not known yet {self._refusal}".rstrip()
        silent = self._clock() - answered
        return f"no answer about lease {self._name} for {silent:.0f} s {self._refusal}".rstrip() if silent > RENEW_DEADLINE_SECONDS else ""

    def attempt(self) -> bool:
        """Take or renew the lease once. True when this process holds it. Raises ApiFailure other than a lost race."""
        started = self._clock()
        try:
            self.leads = self._attempt(started)
        except ApiFailure as failure:
            self._refusal = f"({failure})"
            raise
        self._answered_at, self._refusal = started, ""
        return self.leads

    def _attempt(self, started: float) -> bool:
        lease = self._kube.get(LEASES, self._namespace, self._name)
        try:
            if lease is None:
                self._kube.create(LEASES, self._manifest(transitions=0, acquired=self._stamp()))
                self._renewed_at = started
                return True
            spec = lease.get("spec") or {}
            holder = str(spec.get("holderIdentity") or "")
            self._observe(holder, str(lease["metadata"]["resourceVersion"]))
            mine = holder == self._identity
            if not mine and holder and self._clock() - self._seen_at < LEASE_SECONDS:
                return False
            transitions = int(spec.get("leaseTransitions") or 0)
            acquired = str(spec.get("acquireTime") or self._stamp()) if mine else self._stamp()
            renewed = self._manifest(transitions=transitions if mine else transitions + 1, acquired=acquired)
            renewed["metadata"]["resourceVersion"] = lease["metadata"]["resourceVersion"]
            self._kube.replace(LEASES, renewed)
        except ApiFailure as failure:
            if failure.status == 409:
                return False
            raise
        self._renewed_at = started
        return True

    def release(self) -> None:
        """Give the lease back so that the next leader need not wait for it to expire. Best effort, nobody renews any more."""
        try:
            lease = self._kube.get(LEASES, self._namespace, self._name)
            if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                self._kube.replace(LEASES, lease)
        except ApiFailure as failure:
            _log.warning("lease %s not given back: %s", self._name, failure)

    def _observe(self, holder: str, version: str) -> None:
        if self._seen != (holder, version):
            self._seen = (holder, version)
            self._seen_at = self._clock()

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _manifest(self, *, transitions: int, acquired: str) -> Manifest:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": acquired,
                "renewTime": self._stamp(),
                "leaseTransitions": transitions,
            },
        }
