"""The controller's two HTTP ports: /healthz and /readyz for the kubelet, /metrics for Prometheus.

Started by main; asks callables that it is given. Knows nothing of what they look at.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from plimsoll_operator.metrics import CONTENT_TYPE


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, content type and body of one answer."""

    status: int
    content_type: str
    body: bytes


def probe(problem: Callable[[], str]) -> Callable[[], Answer]:
    """A probe that is 200 ok while `problem` returns an empty text, else 503 with it."""

    def answer() -> Answer:
        text = problem()
        return Answer(503 if text else 200, "text/plain; charset=utf-8", (text or "ok").encode() + b"\n")

    return answer


def exposition(render: Callable[[], bytes]) -> Callable[[], Answer]:
    """A page of metrics."""
    return lambda: Answer(200, CONTENT_TYPE, render())


class _Server(ThreadingHTTPServer):
    """A client that hangs up in the middle of an answer is no error of ours; anything else keeps its traceback."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def serve(port: int, routes: Mapping[str, Callable[[], Answer]], *, host: str = "") -> int:
    """Serve GET of the routes on a daemon thread. Port 0 takes a free one; returns the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            route = routes.get(self.path.split("?", 1)[0])
            answer = route() if route else Answer(404, "text/plain", b"not found\n")
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
            """Probes every few seconds are not worth a line each."""

    server = _Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, name=f"http-{server.server_port}", daemon=True).start()
    return server.server_port
