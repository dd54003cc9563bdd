"""The webhook's process under what outsiders can send: what it keeps, whom it still answers, and how it stops."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import threading
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.plimsoll_operator.webhook.webhook_process import Running, ask, certificate, empty_cluster, running
from tests.plimsoll_operator.webhook_world import manifest, review

from plimsoll_estimator.catalogue import lookup

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
MIB = 1 << 20


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with empty_cluster() as server, running(tmp_path_factory.mktemp("webhook"), server) as process:
        yield process


def dry_run(number: int, padding: int) -> bytes:
    base = lookup(MODEL)
    assert base is not None
    text = json.dumps({**base.as_mapping(), "number": number, "pad": [[] for _ in range(padding)]}, separators=(",", ":"))
    assert len(text) <= 65_536
    return json.dumps(review(manifest(model={"name": MODEL, "profile": {"inline": text}}))).encode()


def allowed(answer: tuple[int, dict[str, Any]]) -> bool:
    assert answer[0] == 200, answer
    return bool(answer[1]["response"]["allowed"])


@pytest.mark.thorough
def test_distinct_large_dry_runs_keep_a_bounded_memory(webhook: Running) -> None:
    """Each is a megabyte and a half when it is parsed: remembered with all their facts, these would be 180 MiB."""
    for number in range(5):
        assert allowed(webhook.post(dry_run(number, 10)))
    before = webhook.rss_bytes()
    for number in range(120):
        assert allowed(webhook.post(dry_run(number, 20_000)))
    assert webhook.rss_bytes() - before < 130 * MIB


@contextlib.contextmanager
def connected(webhook: Running, count: int, first: bytes) -> Iterator[list[ssl.SSLSocket]]:
    context = ssl.create_default_context(cafile=str(webhook.trust))
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            plain = socket.create_connection(("127.0.0.1", webhook.port), timeout=20)
            sock = stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
            with contextlib.suppress(OSError):
                sock.sendall(first)
            found.append(sock)
        yield found


@pytest.mark.thorough
def test_unfinished_bodies_hold_no_more_than_their_budget_and_shut_nobody_out(webhook: Running) -> None:
    head = f"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: {3 * MIB}\r\n\r\n".encode()
    before = webhook.rss_bytes()
    with connected(webhook, 60, head + b"x" * (3 * MIB - 1)) as open_ones:
        assert webhook.ready() == 200
        assert allowed(webhook.post(dry_run(1, 10)))
        assert webhook.rss_bytes() - before < 120 * MIB
        answers = [sock.recv(200)[9:12] for sock in open_ones]
    assert set(answers) <= {b"503", b"408", b""}
    assert {b"503", b"408"} <= set(answers)


@pytest.mark.thorough
def test_connections_that_only_stay_open_shut_nobody_out(webhook: Running) -> None:
    with connected(webhook, 560, b"POST /validate HTTP/1.1\r\nX: ") as open_ones:
        assert webhook.ready() == 200
        assert allowed(webhook.post(dry_run(1, 10)))
        assert sum(sock.recv(10) == b"" for sock in open_ones[:20]) == 20


@pytest.mark.thorough
def test_after_sigterm_it_serves_on_unready_and_then_stops(tmp_path: Path) -> None:
    with empty_cluster() as server, running(tmp_path, server, "--drain=3", "--answer-within=4") as webhook:
        webhook.process.send_signal(signal.SIGTERM)
        served = 0
        while webhook.process.poll() is None:
            try:
                status, answer = webhook.post(dry_run(served, 10))
            except (urllib.error.URLError, OSError):
                break
            assert allowed((status, answer))
            assert served < 2 or webhook.ready() in (503, 0)
            served += 1
        assert (webhook.process.wait(timeout=15), served > 5) == (0, True)
        assert "Traceback" not in webhook.log.read_text(encoding="utf-8")


@pytest.mark.thorough
def test_whoever_asks_twice_to_stop_does_not_wait(tmp_path: Path) -> None:
    with empty_cluster() as server, running(tmp_path, server, "--drain=60") as webhook:
        webhook.process.send_signal(signal.SIGTERM)
        while webhook.ready() != 503:
            pass
        webhook.process.send_signal(signal.SIGTERM)
        assert webhook.process.wait(timeout=15) == 0


NEVER_ENDS = """
import sys, plimsoll_operator.webhook.__main__ as webhook
def never(facts, seconds, *, workers):
    while True: pass
webhook._decide = never
sys.exit(webhook.main(sys.argv[1:]))
"""


@pytest.mark.thorough
def test_sigterm_is_honoured_while_a_review_is_judged_that_never_ends(tmp_path: Path) -> None:
    """It is answered all the same, probes are meanwhile, and the process ends: nothing that is judged can hold it."""
    program = ("-c", NEVER_ENDS)
    with empty_cluster() as server, running(tmp_path, server, "--drain=0", program=program) as webhook, ThreadPoolExecutor(1) as pool:
        idle = webhook.threads()
        answer = pool.submit(webhook.post, dry_run(1, 10))
        while webhook.threads() == idle:
            assert not answer.done()
        assert webhook.ready() == 200
        webhook.process.send_signal(signal.SIGTERM)
        status, review_ = answer.result()
        assert (status, review_["response"]["allowed"]) == (200, False)
        assert "no verdict was reached within 4.5 seconds" in review_["response"]["status"]["message"]
        assert webhook.process.wait(timeout=20) == 0


@pytest.mark.thorough
def test_with_an_authority_only_its_certificates_may_ask_for_reviews(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("ca", "server", "client", "stranger")]
    for folder in folders:
        folder.mkdir()
    authority = certificate(folders[0], "front proxy authority")
    client = certificate(folders[2], "kube-apiserver", authority)
    stranger = certificate(folders[3], "somebody else")
    with empty_cluster() as server, running(folders[1], server, f"--client-ca={authority[0]}") as webhook:
        assert webhook.post(dry_run(1, 10))[0] == 403
        assert allowed(webhook.post(dry_run(1, 10), client=client))
        with pytest.raises((urllib.error.URLError, OSError)):
            webhook.post(dry_run(1, 10), client=stranger)
        assert ask(f"https://127.0.0.1:{webhook.port}/readyz", webhook.trust)[0] == 200


@pytest.mark.thorough
def test_requests_are_judged_side_by_side(webhook: Running) -> None:
    found: list[bool] = []
    threads = [threading.Thread(target=lambda number=n: found.append(allowed(webhook.post(dry_run(number, 10))))) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 40
