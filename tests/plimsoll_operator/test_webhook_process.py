"""The webhook as a process: what it imports, how it refuses to start, how it serves TLS, renews certificates and stops."""

from __future__ import annotations

import datetime as dt
import http.server
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BLOCKED = ("kopf", "kubernetes", "huggingface_hub", "urllib3", "aiohttp", "cryptography")


def test_it_imports_only_its_own_extra() -> None:
    code = (
        "import sys\n"
        f"for name in {BLOCKED!r}: sys.modules[name] = None\n"
        "import plimsoll_operator.webhook.__main__, plimsoll_operator.api, plimsoll_operator.crdgen\n"
        "print('plimsoll_operator.kube' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "tls.crt", folder / "tls.key"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_path.write_bytes(private)
    cert_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return cert_path, key_path


class _EmptyCluster(http.server.BaseHTTPRequestHandler):
    """Lists nothing, and holds watches open for a moment."""

    def do_GET(self) -> None:
        if "watch=1" in self.path:
            self.send_response(200)
            self.end_headers()
            time.sleep(0.3)
            return
        body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        return


@pytest.fixture
def api_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _EmptyCluster)
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


def test_it_serves_tls_renews_its_certificate_and_stops_on_sigterm(api_server: str, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "first")
    port, metrics = free_port(), free_port()
    command = [sys.executable, "-m", "plimsoll_operator.webhook", "--host=127.0.0.1", f"--port={port}", f"--metrics-port={metrics}"]
    log_path = tmp_path / "log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [*command, f"--tls-cert={cert}", f"--tls-key={key}"], env=environment(tmp_path, api_server), stdout=log, stderr=log
        )
    try:
        until(f"https://127.0.0.1:{port}/readyz", cert)
        assert "plimsoll_watch_staleness_seconds" in until(f"http://127.0.0.1:{metrics}/metrics", None)
        certificate(tmp_path, "second")  # the same paths: from now on only the second certificate is trusted
        until(f"https://127.0.0.1:{port}/readyz", cert)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
    finally:
        process.kill()
        process.wait()
    text = log_path.read_text()
    assert "serving a renewed certificate" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("change", "says"),
    [({"KUBECONFIG": ""}, "neither KUBECONFIG is set"), ({"KUBECONFIG": "/nonexistent"}, "nonexistent")],
)
def test_it_does_not_start_without_credentials(change: dict[str, str], says: str, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "x")
    env = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")} | change
    command = [sys.executable, "-m", "plimsoll_operator.webhook", f"--tls-cert={cert}", f"--tls-key={key}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_it_does_not_start_without_its_certificate(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plimsoll_operator.webhook", f"--tls-cert={tmp_path}/no", f"--tls-key={tmp_path}/no"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, "is not a file" in done.stderr) == (2, True)
