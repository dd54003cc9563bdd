"""KubeClient and an API server, or something between, that answers with rubbish: each is an ApiFailure, never another exception."""

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.config import ConfigException
from tests.controlplane.pki import Pki

from plimsoll_operator.backoff import LONGEST_ASKED_SECONDS
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.kube import KubeClient
from plimsoll_operator.ports import NODES, PODS

NODE = {"metadata": {"name": "n", "resourceVersion": "7"}}
DEEP = b"[" * 5000 + b"]" * 5000


def answer(body: bytes, *headers: str, status: int = 200, length: int | None = None) -> bytes:
    """One HTTP answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Any", "content-type: application/json", f"content-length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


class Wire:
    """Answers each connection with the next raw bytes and closes it; with TLS, `spoil` goes out below the encryption."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[bytes] = []
        self.spoil = b""
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            try:
                self._answer(plain)
            except OSError:
                continue  # the client hung up first

    def _answer(self, plain: socket.socket) -> None:
        with plain:
            below = plain.dup()
            spoken = self._tls.wrap_socket(plain, server_side=True) if self._tls is not None else plain
            with spoken, below:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += spoken.recv(65536)
                spoken.sendall(self.answers.pop(0))
                if self.spoil:
                    below.sendall(self.spoil)
                    below.recv(1)


@pytest.fixture
def wire() -> Iterator[Wire]:
    found = Wire()
    yield found
    found.close()


@pytest.fixture
def kube(wire: Wire) -> KubeClient:
    return KubeClient(client.Configuration(host=f"http://127.0.0.1:{wire.port}"))


def get(kube: KubeClient) -> object:
    return kube.get(PODS, "ns", "p")


def listed(kube: KubeClient) -> object:
    return kube.list_page(NODES)


def watched(kube: KubeClient) -> object:
    return list(kube.watch(NODES, resource_version="5"))


def log(kube: KubeClient) -> object:
    return kube.pod_log("ns", "p", container="c", limit_bytes=10)


def line(body: object) -> bytes:
    return answer(json.dumps(body).encode() + b"\n")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        pytest.param(get, answer(b"<html>login</html>"), id="a page of a proxy where an object belongs"),
        pytest.param(get, answer(b""), id="nothing at all"),
        pytest.param(get, answer(b"[]"), id="a list where an object belongs"),
        pytest.param(get, answer(b"{}"), id="an object without metadata"),
        pytest.param(get, answer(b'{"metadata": 5}'), id="metadata that is a number"),
        pytest.param(get, answer(b'{"metadata": {}}'), id="an object without a name"),
        pytest.param(get, answer(b'{"metadata": {"name": "p", "labels": []}}'), id="labels that are a list"),
        pytest.param(get, answer(b'{"metadata": {"name": "p", "generation": "many"}}'), id="a generation that is a word"),
        pytest.param(get, answer(b"\xff\xfe{}"), id="bytes that are no text"),
        pytest.param(get, answer(DEEP), id="an answer nested too deeply to be read"),
        pytest.param(get, answer(b'{"metadata": {"generation": ' + b"9" * 5000 + b"}}"), id="a number too long to be read"),
        pytest.param(get, answer(b"not gzip", "content-encoding: gzip"), id="what calls itself gzip and is none"),
        pytest.param(get, answer(gzip.compress(b"x" * 9999)[:20], "content-encoding: gzip"), id="gzip that is cut off"),
        pytest.param(get, answer(b'{"metadata"', length=500), id="an answer that ends in the middle"),
        pytest.param(get, b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(get, b"", id="a connection closed without a word"),
        pytest.param(get, answer(b"", "location: http://127.0.0.1:9/", status=302), id="a redirect, which is not followed with a token"),
        pytest.param(listed, answer(b'{"items": []}'), id="a list without metadata"),
        pytest.param(listed, answer(b'{"metadata": {"resourceVersion": "1"}, "items": 5}'), id="items that are a number"),
        pytest.param(listed, answer(b'{"metadata": {"resourceVersion": "1"}, "items": [5]}'), id="an item that is a number"),
        pytest.param(listed, answer(b'{"metadata": {"resourceVersion": "1"}, "items": [{}]}'), id="an item without metadata"),
        pytest.param(listed, answer(b'{"metadata": {}, "items": []}'), id="a list that cannot be watched from"),
        pytest.param(watched, answer(b"<html>\n"), id="a line that is no JSON"),
        pytest.param(watched, answer(b"5\n"), id="a line that is no object"),
        pytest.param(watched, answer(DEEP + b"\n"), id="a line nested too deeply to be read"),
        pytest.param(watched, line({"object": NODE}), id="an event without a type"),
        pytest.param(watched, line({"type": "SPAM", "object": NODE}), id="an event of a type that nobody knows"),
        pytest.param(watched, line({"type": ["ADDED"], "object": NODE}), id="an event whose type is a list"),
        pytest.param(watched, line({"type": "ADDED"}), id="an event without an object"),
        pytest.param(watched, line({"type": "ADDED", "object": {}}), id="an event whose object has no metadata"),
        pytest.param(watched, line({"type": "ADDED", "object": {"metadata": {"name": "n"}}}), id="an event without a resource version"),
        pytest.param(watched, line({"type": "ADDED", "object": {"metadata": {"resourceVersion": "7"}}}), id="an event without a name"),
        pytest.param(watched, line({"type": "BOOKMARK", "object": {"metadata": {}}}), id="a bookmark of nothing"),
        pytest.param(watched, line({"type": "ERROR"}), id="an error without words"),
        pytest.param(watched, line({"type": "ERROR", "object": {"code": "many"}}), id="an error whose code is a word"),
        pytest.param(watched, answer(b"not gzip", "content-encoding: gzip"), id="a stream that calls itself gzip and is none"),
        pytest.param(watched, answer(b"", "location: http://127.0.0.1:9/", status=302), id="a redirected watch"),
        pytest.param(watched, answer(b"busy", status=503, length=50), id="a refusal that ends in the middle"),
        pytest.param(watched, b"", id="a watch closed without a word"),
        pytest.param(log, answer(b"not gzip", "content-encoding: gzip"), id="a log that calls itself gzip and is none"),
        pytest.param(log, b"", id="a log closed without a word"),
    ],
)
def test_whatever_is_answered_is_a_failure_of_the_api(
    wire: Wire, kube: KubeClient, ask: Callable[[KubeClient], object], said: bytes
) -> None:
    wire.answers.append(said)
    with pytest.raises(ApiFailure) as raised:
        ask(kube)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1500


@pytest.mark.parametrize("ask", [get, listed, watched, log], ids=["get", "list", "watch", "log"])
def test_encryption_that_breaks_in_the_middle_is_a_failure_of_the_api(tmp_path: Path, ask: Callable[[KubeClient], object]) -> None:
    Pki.create(tmp_path).leaf("server", common_name="server")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    wire = Wire(tls)
    wire.spoil = b"this is no TLS record, whoever put it there"
    wire.answers.append(answer(b'{"type": ', length=500))
    configuration = client.Configuration(host=f"https://127.0.0.1:{wire.port}")
    configuration.ssl_ca_cert = str(tmp_path / "ca.crt")
    try:
        with pytest.raises(ApiFailure):
            ask(KubeClient(configuration))
    finally:
        wire.close()


def raising(error: Exception) -> Callable[[client.Configuration], None]:
    def hook(_configuration: client.Configuration) -> None:
        raise error

    return hook


@pytest.mark.parametrize(
    ("hook", "token"),
    [
        pytest.param(raising(FileNotFoundError("no token")), "t", id="the token's file is gone for a moment"),
        pytest.param(raising(ConfigException("Token file exists but empty.")), "t", id="the token's file is empty"),
        pytest.param(None, "two\nlines", id="a token that no header can carry"),
    ],
)
def test_credentials_that_cannot_be_used_are_a_failure_of_the_api(wire: Wire, hook: Any, token: str) -> None:
    configuration = client.Configuration(host=f"http://127.0.0.1:{wire.port}")
    configuration.api_key["authorization"] = f"Bearer {token}"
    configuration.refresh_api_key_hook = hook
    kube = KubeClient(configuration)
    with pytest.raises(ApiFailure):
        kube.get(PODS, "ns", "p")


BUSY = json.dumps({"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "slow down"}).encode()
BUSY_DETAILS = json.dumps({"code": 429, "reason": "TooManyRequests", "message": "slow", "details": {"retryAfterSeconds": 4}}).encode()


@pytest.mark.parametrize("ask", [get, listed, watched, log], ids=["get", "list", "watch", "log"])
@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        pytest.param(answer(BUSY, "retry-after: 3", status=429), 3.0, id="too many requests, come again in three seconds"),
        pytest.param(answer(b"", "retry-after: 2", status=503), 2.0, id="not available, come again in two"),
        pytest.param(answer(BUSY, "retry-after: 86400", status=429), LONGEST_ASKED_SECONDS, id="a day is cut to the bound"),
        pytest.param(answer(BUSY, "retry-after: 9" + "9" * 5000, status=429), None, id="a number of 5000 digits is nothing said"),
        pytest.param(answer(BUSY, status=429), None, id="nothing said"),
        pytest.param(answer(BUSY, "retry-after: -5", status=429), None, id="less than nothing is nothing said"),
        pytest.param(answer(BUSY, "retry-after: soon", status=429), None, id="a word is nothing said"),
        pytest.param(answer(BUSY_DETAILS, status=429), 4.0, id="said in the body alone"),
    ],
)
def test_how_long_to_stay_away_is_told(
    wire: Wire, kube: KubeClient, ask: Callable[[KubeClient], object], said: bytes, seconds: float | None
) -> None:
    wire.answers.append(said)
    with pytest.raises(ApiFailure) as raised:
        ask(kube)
    assert raised.value.retry_after_seconds == seconds


def test_an_expired_watch_is_told_from_a_broken_one(wire: Wire, kube: KubeClient) -> None:
    wire.answers.append(line({"type": "ERROR", "object": {"code": 410, "message": "too old"}}))
    with pytest.raises(WatchExpired):
        watched(kube)
