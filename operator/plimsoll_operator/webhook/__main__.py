"""`python -m plimsoll_operator.webhook`: caches, the ASGI app under uvicorn with TLS, and certificates that may be renewed.

The one place of the webhook that reads arguments, environment and files, and that ends the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

import uvicorn

from plimsoll_operator.decision import decide
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.webhook.access import Access, AccessError, from_environment
from plimsoll_operator.webhook.app import WebhookApp
from plimsoll_operator.webhook.store import CacheStore, WatchSeries

log = logging.getLogger("plimsoll_operator.webhook")

# The API server keeps idle connections for 90 s: a shorter time here would close them under it and cost a handshake each.
_KEEP_ALIVE_SECONDS: Final = 120
_BACKLOG: Final = 2048
_CERTIFICATE_POLL_SECONDS: Final = 2.0
_DRAIN_SECONDS: Final = 10


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: one handler stops both servers and the watches."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m plimsoll_operator.webhook", description="Plimsoll's validating admission webhook.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=9443, help="HTTPS port (default: 9443)")
    parser.add_argument("--tls-cert", type=Path, required=True, help="serving certificate, PEM; read again when it changes")
    parser.add_argument("--tls-key", type=Path, required=True, help="its key, PEM")
    parser.add_argument("--metrics-port", type=int, default=0, help="plain HTTP port for /metrics; 0 serves it on the HTTPS port only")
    bypass = "let the bypass annotation turn a refusal into a warning: for where a ValidatingAdmissionPolicy protects the annotation"
    parser.add_argument("--bypass", action="store_true", help=bypass)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="least level that is logged")
    return parser.parse_args(argv)


def _stamps(paths: tuple[Path, ...]) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


async def _renew_certificates(config: uvicorn.Config, certificate: Path, key: Path) -> None:
    """Load renewed files into the context that serves: new handshakes see them, open connections go on."""
    seen = _stamps((certificate, key))
    while True:
        await asyncio.sleep(_CERTIFICATE_POLL_SECONDS)
        now = _stamps((certificate, key))
        if now == seen or config.ssl is None:
            continue
        try:
            config.ssl.load_cert_chain(certificate, key)
        except OSError as error:
            # ssl.SSLError is an OSError: half-written or mismatched files are tried again at the next look.
            log.warning("the renewed certificate cannot be loaded yet: %s", error)
            continue
        seen = now
        log.info("serving a renewed certificate")


async def _serve(options: argparse.Namespace, access: Access) -> None:
    store = CacheStore(bypass=options.bypass)
    app = WebhookApp(store=store, decide=decide, recorder=Recorder(WatchSeries(store)))
    common = {"app": app, "host": options.host, "log_config": None, "access_log": False, "backlog": _BACKLOG}
    main = uvicorn.Config(
        **common,
        port=options.port,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    main.load()
    servers = [_Server(main)]
    if options.metrics_port:
        servers.append(_Server(uvicorn.Config(**common, port=options.metrics_port, timeout_graceful_shutdown=1)))

    def stop() -> None:
        app.stopping = True
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with access.client() as client:
        background = [
            asyncio.create_task(store.run(client), name="caches"),
            asyncio.create_task(_renew_certificates(main, options.tls_cert, options.tls_key), name="certificates"),
        ]
        for task in background:
            # A dead cache is a bug; serving on from it would answer with old facts for ever.
            task.add_done_callback(lambda done: None if done.cancelled() else stop())
        await asyncio.gather(*(server.serve() for server in servers))
        for task in background:
            task.cancel()
        results = await asyncio.gather(*background, return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError)]
    if failed:
        raise failed[0]


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit status 2 for unusable arguments, certificates or credentials."""
    options = _options(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for path in (options.tls_cert, options.tls_key):
        if not path.is_file():
            print(f"{path} is not a file", file=sys.stderr)
            return 2
    try:
        access = from_environment()
    except AccessError as error:
        print(error, file=sys.stderr)
        return 2
    asyncio.run(_serve(options, access))
    return 0


if __name__ == "__main__":
    sys.exit(main())
