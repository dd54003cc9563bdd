"""The webhook as a process: what it imports, how it refuses to start, how it serves TLS, renews certificates and stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plimsoll_operator.webhook.webhook_process import certificate, empty_cluster, environment, free_port, until

BLOCKED = ("kopf", "kubernetes", "huggingface_hub", "urllib3", "aiohttp", "cryptography")


@pytest.mark.thorough
def test_it_imports_only_its_own_extra() -> None:
    code = (
        "import sys\n"
        f"for name in {BLOCKED!r}: sys.modules[name] = None\n"
        "import plimsoll_operator.webhook.__main__, plimsoll_operator.api, plimsoll_operator.crdgen\n"
        "print('plimsoll_operator.kube' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


@pytest.fixture
def api_server() -> Iterator[str]:
    with empty_cluster() as url:
        yield url


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_it_does_not_start_without_its_certificate(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plimsoll_operator.webhook", f"--tls-cert={tmp_path}/no", f"--tls-key={tmp_path}/no"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, "is not a file" in done.stderr) == (2, True)
