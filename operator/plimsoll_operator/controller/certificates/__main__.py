"""python -m plimsoll_operator.controller.certificates: keeps the webhook's certificate and the registration that trusts it.

Reads arguments, looks every few seconds, and serves probes and when the certificate ends. Ends with 0 on SIGTERM. Knows no certificate.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from plimsoll_operator import logs
from plimsoll_operator.controller.certificates.keeper import Keeper, Look
from plimsoll_operator.controller.loops.quarantine import Quarantine, Unit
from plimsoll_operator.controller.serve import exposition, probe, serve
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.kube import KubeClient
from plimsoll_operator.metrics import CertificateRecorder

_log = logging.getLogger("plimsoll.certificates")
_LOOK_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 2.0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="plimsoll_operator.controller.certificates", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--namespace", required=True, help="namespace of the Secret and of the webhook's Service")
    parser.add_argument("--secret", required=True, help="Secret that the webhook serves by; made by the chart, kept filled here")
    parser.add_argument("--registration", required=True, help="ValidatingWebhookConfiguration whose caBundle is kept")
    parser.add_argument("--service", required=True, help="Service by which the API server calls the webhook")
    parser.add_argument("--valid-days", type=int, default=365, help="renewed when a third of it is left (default: 365)")
    parser.add_argument("--health-port", type=int, default=8080, help="serves /healthz and /readyz")
    parser.add_argument("--metrics-port", type=int, default=8081, help="serves /metrics")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    options = parser.parse_args(argv)
    if options.valid_days < 1:
        parser.error("--valid-days must be 1 or more")
    return options


class _Run:
    """What the last look said, for probes and metrics."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.problem = "nothing has been looked at yet"
        self.recorder = CertificateRecorder()

    def look(self) -> bool:
        """Look once; whether all is as it must be."""
        try:
            found = self._keeper.look()
        except ApiFailure as failure:
            found = Look(problem=str(failure))
        if found.problem != self.problem and found.problem:
            _log.warning("%s", found.problem)
        if found.done:
            _log.info("%s", found.done)
        self.problem = found.problem
        if found.not_after is not None:
            self.recorder.not_after(found.not_after)
        return not found.problem


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    options = _arguments(argv)
    logs.configure(options.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=stop.set, daemon=True).start())
    service = f"{options.service}.{options.namespace}.svc"
    keeper = Keeper(
        kube=KubeClient.from_environment(),
        namespace=options.namespace,
        secret=options.secret,
        registration=options.registration,
        names=(service, f"{service}.cluster.local"),
        days=options.valid_days,
        now=lambda: datetime.now(UTC),
    )
    run, quarantine = _Run(keeper), Quarantine()
    serve(options.health_port, {"/healthz": probe(lambda: ""), "/readyz": probe(lambda: "stopping" if stop.is_set() else run.problem)})
    serve(options.metrics_port, {"/metrics": exposition(run.recorder.render)})
    while not stop.is_set():
        good = False
        with quarantine.border(Unit.THREAD, "certificates") as attempt:
            good = run.look()
        if attempt.bug is not None:
            run.problem = str(attempt.bug)
        stop.wait(_LOOK_SECONDS if good else _RETRY_SECONDS)
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)  # a daemon thread may sit in a read
