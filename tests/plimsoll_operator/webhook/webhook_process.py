"""The webhook as a process for tests: certificates, an API server that has one pool, and a way to ask it."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.plimsoll_operator.webhook_world import POOL


def certificate(folder: Path, name: str, signer: tuple[Path, Path] | None = None) -> tuple[Path, Path]:
    """Certificate and key, its own authority where no `signer` is given, in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    issuer, signing_key = subject, key
    if signer is not None:
        issuer = x509.load_pem_x509_certificate(signer[0].read_bytes()).subject
        loaded = serialization.load_pem_private_key(signer[1].read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signing_key = loaded
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    cert_path, key_path = folder / "tls.crt", folder / "tls.key"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_path.write_bytes(private)
    cert_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return cert_path, key_path


class _EmptyCluster(http.server.BaseHTTPRequestHandler):
    """Lists one declared pool and nothing else, and holds watches open."""

    def do_GET(self) -> None:
        if "watch=1" in self.path:
            self.send_response(200)
            self.end_headers()
            time.sleep(60)
            return
        items = [POOL.model_dump(mode="json", by_alias=True, exclude_none=True)] if "/gpupools" in self.path else []
        body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        return


@contextlib.contextmanager
def empty_cluster() -> Iterator[str]:
    """URL of an API server that has one declared pool and nothing else."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _EmptyCluster)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, server: str) -> dict[str, str]:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return {**os.environ, "KUBECONFIG": str(path)}


def ask(url: str, trust: Path | None = None) -> tuple[int, str]:
    """Status and body; (0, "") while nothing listens."""
    context = ssl.create_default_context(cafile=str(trust)) if trust else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
    except OSError:
        return 0, ""


def until(url: str, trust: Path | None, seconds: float = 15) -> str:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        status, body = ask(url, trust)
        if status == 200:
            return body
        time.sleep(0.05)
    raise TimeoutError(url)


@dataclass(frozen=True, kw_only=True)
class Running:
    """One webhook process and where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    probes: int
    trust: Path
    log: Path

    def rss_bytes(self) -> int:
        """Resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def threads(self) -> int:
        """Threads that there are: one more for each review that is judged."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def post(self, body: bytes, *, client: tuple[Path, Path] | None = None, timeout: float = 30) -> tuple[int, dict[str, Any]]:
        """One review over a connection of its own: status and answer."""
        context = ssl.create_default_context(cafile=str(self.trust))
        if client is not None:
            context.load_cert_chain(*client)
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/validate?timeout=5s", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {"error": error.read().decode()}

    def ready(self) -> int:
        """Status of the readiness probe."""
        return ask(f"http://127.0.0.1:{self.probes}/readyz")[0]


@contextlib.contextmanager
def running(folder: Path, server: str, *options: str, program: Sequence[str] = ("-m", "plimsoll_operator.webhook")) -> Iterator[Running]:
    """A webhook that is ready; killed at the end where it has not stopped by itself."""
    cert, key = certificate(folder, "webhook")
    port, probes = free_port(), free_port()
    command = [sys.executable, *program, "--host=127.0.0.1", f"--port={port}", f"--metrics-port={probes}"]
    log_path = folder / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--tls-cert={cert}", f"--tls-key={key}", *options], env=environment(folder, server), stdout=log, stderr=log
        )
    try:
        until(f"http://127.0.0.1:{probes}/readyz", None, 30)
        yield Running(process=process, port=port, probes=probes, trust=cert, log=log_path)
    finally:
        process.kill()
        process.wait()
