"""The log server of fake nodes: the API server asks it for pods' logs, as it asks a real kubelet.

kwok plays the rest of the node. Called by tests that give pods an output; refuses to know what is in it.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.controlplane.cluster import Json
from tests.controlplane.plane import ControlPlane


class LogServer:
    """Serves `logs` by namespace, pod and container, to holders of the API server's kubelet certificate only."""

    def __init__(self, plane: ControlPlane) -> None:
        self.logs: dict[tuple[str, str, str], bytes] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                parts = url.path.strip("/").split("/")
                found = outer.logs.get((parts[1], parts[2], parts[3])) if len(parts) == 4 and parts[0] == "containerLogs" else None
                limit = parse_qs(url.query).get("limitBytes")
                body = b"no such container" if found is None else found[: int(limit[0])] if limit else found
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Quiet."""

        pki = plane.pki.folder
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        tls.load_verify_locations(pki / "ca.crt")
        tls.verify_mode = ssl.CERT_REQUIRED
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = int(self._http.server_address[1])

    def serve(self) -> None:
        """Answer until stopped."""
        self._http.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving_logs(plane: ControlPlane) -> Iterator[LogServer]:
    """Put a log server in the place of kwok's on every node for the length of the block."""
    server = LogServer(plane)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        _direct(plane, server.port)
        yield server
    finally:
        _direct(plane, plane.ports["kwok"])
        server.stop()
        thread.join()


def _direct(plane: ControlPlane, port: int) -> None:
    """Tell the API server where the nodes' kubelets listen."""
    _, listed = plane.request("GET", "/api/v1/nodes")
    patch: Json = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}}
    for node in listed["items"]:
        path = f"/api/v1/nodes/{node['metadata']['name']}/status"
        status, answer = plane.request("PATCH", path, patch, content_type="application/merge-patch+json")
        if status != 200:
            raise RuntimeError(f"node {node['metadata']['name']}: {json.dumps(answer)[:300]}")
