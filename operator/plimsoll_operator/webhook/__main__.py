"""`python -m plimsoll_operator.webhook`: caches, the ASGI app under uvicorn with TLS, and certificates that may be renewed.

The one place of the webhook that reads arguments, environment and files, and that ends the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import ssl
import sys
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from plimsoll_operator import logs
from plimsoll_operator.decision import decide_within, recall
from plimsoll_operator.facts import Facts
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.verdict import Verdict
from plimsoll_operator.webhook.access import Access, AccessError, from_environment
from plimsoll_operator.webhook.app import DEFAULT_SECONDS, WebhookApp
from plimsoll_operator.webhook.connection import Connection
from plimsoll_operator.webhook.store import CacheStore, WatchSeries
from plimsoll_operator.webhook.workers import Workers

log = logging.getLogger("plimsoll_operator.webhook")

# The API server keeps idle connections for 90 s: a shorter time here would close them under it and cost a handshake each.
_KEEP_ALIVE_SECONDS: Final = 120
_BACKLOG: Final = 2048
_CERTIFICATE_POLL_SECONDS: Final = 2.0
# After the drain, for reviews that are still being answered: longer than any of them may take would be a kill in vain.
_LAST_ANSWERS_SECONDS: Final = 10
_DRAIN_SECONDS: Final = 5.0
_HEAD_BYTES: Final = 16 << 10
_SWITCH_SECONDS: Final = 0.0005
"""How long a thread that judges may keep the event loop from its turn: Python's own 5 ms are as much as a whole answer."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: one handler stops both servers and the watches."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from {least:g} to {most:g}")
        return value

    return read


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m plimsoll_operator.webhook", description="Plimsoll's validating admission webhook.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=9443, help="HTTPS port (default: 9443)")
    parser.add_argument("--tls-cert", type=Path, required=True, help="serving certificate, PEM; read again when it changes")
    parser.add_argument("--tls-key", type=Path, required=True, help="its key, PEM")
    parser.add_argument("--metrics-port", type=int, default=0, help="plain HTTP port for probes and /metrics; 0: none")
    parser.add_argument(
        "--client-ca", type=Path, help="authority, PEM: only who shows a client certificate that it signed may ask for reviews"
    )
    within = "seconds that the API server waits for an answer where it does not say so: the rules' timeoutSeconds (default: 5)"
    parser.add_argument("--answer-within", type=_seconds(0.5, 30), default=DEFAULT_SECONDS, metavar="SECONDS", help=within)
    drain = "seconds to serve on after SIGTERM while readiness is off, so that nobody is sent here any more (default: 5)"
    parser.add_argument("--drain", type=_seconds(0, 60), default=_DRAIN_SECONDS, metavar="SECONDS", help=drain)
    bypass = "let the bypass annotation turn a refusal into a warning: for where a ValidatingAdmissionPolicy protects the annotation"
    parser.add_argument("--bypass", action="store_true", help=bypass)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="least level that is logged")
    return parser.parse_args(argv)


def _stamps(paths: tuple[Path, ...]) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


async def _renew_certificates(config: uvicorn.Config, certificate: Path, key: Path, client_ca: Path | None) -> None:
    """Load renewed files into the context that serves: new handshakes see them, open connections go on."""
    paths = (certificate, key, *((client_ca,) if client_ca else ()))
    seen = _stamps(paths)
    while True:
        await asyncio.sleep(_CERTIFICATE_POLL_SECONDS)
        now = _stamps(paths)
        if now == seen or config.ssl is None:
            continue
        try:
            config.ssl.load_cert_chain(certificate, key)
            if client_ca is not None:
                config.ssl.load_verify_locations(client_ca)
        except OSError as error:
            # ssl.SSLError is an OSError: half-written or mismatched files are tried again at the next look.
            log.warning("the renewed certificate cannot be loaded yet: %s", error)
            continue
        seen = now
        log.info("serving a renewed certificate")


def _decide(facts: Facts, seconds: float, *, workers: Workers) -> Verdict:
    # Offers cost work, not time: a process that is given little CPU finds the same ones, unless others wait.
    return decide_within(facts, time.monotonic, seconds, effort=time.thread_time, at_hand=workers.at_hand)


def _servers(options: argparse.Namespace, app: WebhookApp) -> list[_Server]:
    """The server of reviews, and that of probes and metrics where it has a port of its own: it answers whatever the first is busy with."""
    common = {
        "host": options.host,
        "log_config": None,
        "access_log": False,
        "backlog": _BACKLOG,
        "http": Connection,
        "ws": "none",
        "interface": "asgi3",
        "h11_max_incomplete_event_size": _HEAD_BYTES,
    }
    trust = {"ssl_ca_certs": options.client_ca, "ssl_cert_reqs": ssl.CERT_OPTIONAL} if options.client_ca else {}
    main = uvicorn.Config(
        **common,
        **trust,
        app=app,
        port=options.port,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
    )
    main.load()
    servers = [_Server(main)]
    if options.metrics_port:
        servers.append(_Server(uvicorn.Config(**common, app=app.probes, port=options.metrics_port, timeout_graceful_shutdown=1)))
    return servers


async def _drain(app: WebhookApp, seconds: float, servers: list[_Server]) -> None:
    """Readiness goes first; reviews are served on until nobody is sent here any more. Endpoints need a moment to move."""
    app.stopping = True
    log.info("stopping: readiness is off, reviews are served for another %g s", seconds)
    await asyncio.sleep(seconds)
    for server in servers:
        server.should_exit = True


async def _serve(options: argparse.Namespace, access: Access) -> None:
    bugs: list[Recorder] = []
    store = CacheStore(bypass=options.bypass, bug=lambda: bugs[0].internal_error("cache"))
    recorder = Recorder(WatchSeries(store))
    bugs.append(recorder)
    needs = options.client_ca is not None
    workers = Workers()
    decide = partial(_decide, workers=workers)
    limits = {"seconds": options.answer_within, "needs_certificate": needs}
    app = WebhookApp(store=store, decide=decide, recall=recall, recorder=recorder, workers=workers, **limits)
    servers = _servers(options, app)
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []

    def stop() -> None:
        """Once is asked nicely; who asks twice does not want to wait."""
        seconds = 0.0 if draining else options.drain
        draining.append(loop.create_task(_drain(app, seconds, servers), name="drain"))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with access.client() as client:
        renewal = _renew_certificates(servers[0].config, options.tls_cert, options.tls_key, options.client_ca)
        background = [asyncio.create_task(store.run(client), name="caches"), asyncio.create_task(renewal, name="certificates")]
        for task in background:
            # Each object and each kind has a border of its own: what ends here cannot go on, and serving on would answer with old facts.
            task.add_done_callback(lambda done: None if done.cancelled() else stop())
        await asyncio.gather(*(server.serve() for server in servers))
        for task in (*background, *draining):
            task.cancel()
        results = await asyncio.gather(*background, return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError)]
    if failed:
        raise failed[0]


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit status 2 for unusable arguments, certificates or credentials."""
    options = _options(argv)
    logs.configure(options.log_level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for path in (options.tls_cert, options.tls_key, options.client_ca):
        if path is not None and not path.is_file():
            print(f"{path} is not a file", file=sys.stderr)
            return 2
    try:
        access = from_environment()
    except AccessError as error:
        print(error, file=sys.stderr)
        return 2
    sys.setswitchinterval(_SWITCH_SECONDS)
    asyncio.run(_serve(options, access))
    return 0


if __name__ == "__main__":
    sys.exit(main())
