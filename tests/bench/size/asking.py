"""Two bare clients: one of the API server, and one that puts reviews to a webhook as fast or as often as it is told.

Called by the run at size. They do what no client could leave out, so that they are floors: connections are kept, bodies are made before
the clock runs, answers are read and not understood. Neither knows what it sends.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json

WRITERS = 8
"""As many as the controller has workers."""
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Bare:
    """The API server's administrator over kept connections, one a thread."""

    def __init__(self, plane: ControlPlane) -> None:
        pki = plane.pki.folder
        self._port = plane.ports["apiserver"]
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._mine = threading.local()

    def ask(self, method: str, path: str, body: object = None, *, content: str = "application/json") -> tuple[int, bytes]:
        """Status and body of one request. A connection that the other end has closed is opened once more."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content, "Accept": "application/json"}
        for _ in range(2):
            connection = getattr(self._mine, "connection", None)
            if connection is None:
                connection = self._mine.connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=120, context=self._tls)
            try:
                connection.request(method, path, body=data, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError):
                connection.close()
                self._mine.connection = None
        raise ConnectionError(f"{method} {path}")

    def get(self, path: str) -> Json:
        """What is there, decoded."""
        status, text = self.ask("GET", path)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {text[:300]!r}")
        found: Json = json.loads(text)
        return found

    def pages(self, path: str) -> Iterable[Json]:
        """The items of a list, 500 at a time."""
        token = ""
        while True:
            page = self.get(f"{path}?limit=500&continue={token}")
            yield from page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return

    def write(self, method: str, path: str, body: object, *, content: str = "application/json") -> None:
        """One write that has to be taken."""
        status, text = self.ask(method, path, body, content=content)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {text[:500]!r}")

    def each(self, write: Callable[[int], None], numbers: Iterable[int]) -> None:
        """The same for many, by WRITERS threads."""
        with ThreadPoolExecutor(WRITERS) as several:
            list(several.map(write, numbers))


@dataclass(slots=True, kw_only=True)
class Answers:
    """How long each answer took, in seconds, and over which time."""

    seconds: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    verdicts: set[bool] = field(default_factory=set)
    took: float = 0.0

    def percentile(self, part: float) -> float:
        """The time within which that part of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Reviewer:
    """Puts bodies to a webhook at a port of this machine."""

    def __init__(self, port: int, authority: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(authority))

    def connect(self) -> ssl.SSLSocket:
        """One connection, to be closed by who asked for it."""
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._tls.wrap_socket(plain, server_hostname="127.0.0.1")

    def flat_out(self, bodies: Sequence[bytes], seconds: float, connections: int) -> Answers:
        """As fast as so many connections carry them, one review each at a time."""
        heads, turn, until = [request(body) for body in bodies], itertools.count(), time.perf_counter() + seconds
        answers, lock = Answers(), threading.Lock()

        def work() -> None:
            with self.connect() as wire:
                while time.perf_counter() < until:
                    began = time.perf_counter()
                    said = exchange(wire, heads[next(turn) % len(heads)])
                    note(answers, lock, time.perf_counter() - began, said)

        return _by(work, connections, answers)

    def at_rate(self, bodies: Sequence[bytes], a_second: float, connections: int) -> Answers:
        """Each when it is due, whether those before it are answered or not. What waits for a free connection waits for an answer."""
        heads, turn, start = [request(body) for body in bodies], itertools.count(), time.perf_counter() + 0.3
        answers, lock = Answers(), threading.Lock()

        def work() -> None:
            with self.connect() as wire:
                while (number := next(turn)) < len(heads):
                    due = start + number / a_second
                    time.sleep(max(0.0, due - time.perf_counter()))
                    said = exchange(wire, heads[number])
                    note(answers, lock, time.perf_counter() - due, said)

        return _by(work, connections, answers)

    def at_once(self, bodies: Sequence[bytes]) -> Answers:
        """All of them, each on a connection of its own, which is open before the clock runs."""
        answers, lock, ready = Answers(), threading.Lock(), threading.Barrier(len(bodies))
        heads = iter([request(body) for body in bodies])

        def work() -> None:
            with self.connect() as wire:
                ready.wait(60)
                began = time.perf_counter()
                said = exchange(wire, next(heads))
                note(answers, lock, time.perf_counter() - began, said)

        return _by(work, len(bodies), answers)


class Prober(threading.Thread):
    """Asks /healthz of the port that answers reviews, all along: how long an answer took is how long the event loop did nothing else."""

    def __init__(self, reviewer: Reviewer) -> None:
        super().__init__(daemon=True)
        self._wire = reviewer.connect()
        self._over = threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        asked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with self._wire:
            while not self._over.wait(0.005):
                began = time.perf_counter()
                exchange(self._wire, asked)
                self.seconds.append(time.perf_counter() - began)

    def end(self) -> Answers:
        """What it found."""
        self._over.set()
        self.join(30)
        return Answers(seconds=self.seconds)


def request(body: bytes) -> bytes:
    """As the API server sends a review."""
    head = f"POST /validate?timeout=5s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def exchange(wire: ssl.SSLSocket, sent: bytes) -> bytes:
    """Send one request and read its answer whole."""
    wire.sendall(sent)
    found = b""
    while (end := found.find(b"\r\n\r\n")) < 0:
        found += received(wire)
    head = found[:end].lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    while len(found) < end + 4 + length:
        found += received(wire)
    return found


def received(wire: ssl.SSLSocket) -> bytes:
    """Some bytes more; an end is an error."""
    some = wire.recv(65536)
    if not some:
        raise ConnectionError("closed before the answer was whole")
    return some


def note(answers: Answers, lock: threading.Lock, seconds: float, said: bytes) -> None:
    """Keep one answer's time, and what it was."""
    with lock:
        answers.seconds.append(seconds)
        answers.statuses.add(int(said[9:12]))
        answers.verdicts.add(b'"allowed":true' in said or b'"allowed": true' in said)


def _by(work: Callable[[], None], threads: int, answers: Answers) -> Answers:
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as several:
        for done in [several.submit(work) for _ in range(threads)]:
            done.result()
    answers.took = time.perf_counter() - began
    return answers
