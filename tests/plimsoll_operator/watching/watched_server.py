"""An API server that answers lists and watches over a socket as a test lays them out, and both transports that follow it.

`follow` runs one of them, the webhook's or the controller's, until everything has been answered and another request is held open.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
from kubernetes import client
from tests.plimsoll_operator.quiet_server import QuietServer

from plimsoll_operator.controller.cluster.informer import Informer
from plimsoll_operator.controller.loops.quarantine import Quarantine
from plimsoll_operator.kube import KubeClient
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Key, Manifest
from plimsoll_operator.watch import Watched

PATIENCE_SECONDS: Final = 20.0
Transport = Literal["webhook", "controller"]
TRANSPORTS: Final[tuple[Transport, ...]] = ("webhook", "controller")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent, and how it ends: well, cut off in the middle, without a word, or in silence."""

    status: int = 200
    chunks: tuple[bytes, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    end: Literal["well", "cut", "no word", "silence"] = "well"


def thing(name: str, version: int, value: str = "") -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": str(version)}, "value": value}


def listed(*items: dict[str, Any], version: int = 1, token: str = "") -> Answer:
    body = {"metadata": {"resourceVersion": str(version), "continue": token}, "items": list(items)}
    return Answer(chunks=(json.dumps(body).encode(),))


def event(kind: str, obj: Any) -> bytes:
    return json.dumps({"type": kind, "object": obj}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def watched(*chunks: bytes, end: Literal["well", "cut", "no word", "silence"] = "well") -> Answer:
    return Answer(chunks=chunks, end=end)


def refused(status: int, **headers: str) -> Answer:
    return Answer(status=status, headers=tuple((name.replace("_", "-"), text) for name, text in headers.items()))


class Server:
    """Answers in order; what comes after the last answer is held open. `asked` is the query of each request."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[dict[str, str]] = []
        self.done = threading.Event()
        self.over = threading.Event()
        waiting = list(answers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                outer.asked.append({key: values[0] for key, values in query.items()})
                if not waiting:
                    outer.done.set()
                    self.answer(Answer(end="silence"))
                else:
                    self.answer(waiting.pop(0))

            def answer(self, found: Answer) -> None:
                self.close_connection = found.end != "well"
                if found.end == "no word":
                    return
                self.send_response(found.status)
                for name, text in (("transfer-encoding", "chunked"), *found.headers):
                    self.send_header(name, text)
                self.end_headers()
                for chunk in found.chunks:
                    self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.flush()
                if found.end == "silence":
                    outer.over.wait(PATIENCE_SECONDS)
                if found.end != "cut":
                    self.wfile.write(b"0\r\n\r\n")

            do_GET = reply  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[None]:
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield
        finally:
            self.over.set()
            self.http.shutdown()
            self.http.server_close()


@dataclass(slots=True)
class Followed:
    """What came of it. `asked` says of each request whether it was a list or a watch, `from_versions` where watches began."""

    objects: Mapping[Key, str]
    synced: bool
    queries: list[dict[str, str]]
    pauses: list[float] = field(default_factory=list)
    bugs: int = 0

    @property
    def asked(self) -> str:
        return "".join("W" if "watch" in query else "L" for query in self.queries)

    @property
    def from_versions(self) -> list[str]:
        return [query["resourceVersion"] for query in self.queries if "watch" in query]


Reading = Callable[[Mapping[str, Any]], str]


def value_of(obj: Mapping[str, Any]) -> str:
    return str(obj["value"])


def follow(transport: Transport, *answers: Answer, read: Reading = value_of, silence_seconds: float = PATIENCE_SECONDS) -> Followed:
    """Everything that is answered, followed by this transport. Waiting takes no time."""
    server = Server(*answers)
    run = _by_webhook if transport == "webhook" else _by_controller
    with server.running():
        return run(server, read, silence_seconds)


def _by_webhook(server: Server, read: Reading, silence_seconds: float) -> Followed:
    pauses: list[float] = []
    bugs: list[None] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    async def go() -> Watched[str]:
        cache = Watched(
            kind="Thing",
            path=INFERENCE_DEPLOYMENTS.path(),
            parse=read,
            sleep=sleep,
            bug=lambda: bugs.append(None),
            clock=lambda: 7.0,
            silence_seconds=silence_seconds,
        )
        async with httpx.AsyncClient(base_url=server.address, trust_env=False) as http:
            task = asyncio.create_task(cache.run(http))
            assert await asyncio.to_thread(server.done.wait, PATIENCE_SECONDS)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return cache

    cache = asyncio.run(go())
    return Followed(cache.objects, cache.synced, server.asked, pauses, len(bugs))


class _Stop(threading.Event):
    """A stop flag for which waiting takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        return self.is_set()


def _by_controller(server: Server, read: Reading, silence_seconds: float) -> Followed:
    bugs: list[str] = []

    def trim(obj: Manifest) -> Manifest:
        return {"metadata": obj["metadata"], "value": read(obj)}

    kube = KubeClient(client.Configuration(host=server.address), silence_seconds=silence_seconds)
    border = Quarantine(count=bugs.append).border
    informer = Informer(kube, INFERENCE_DEPLOYMENTS, trim=trim, on_change=lambda *_: None, clock=lambda: 7.0, border=border)
    stop = _Stop()
    thread = threading.Thread(target=informer.run, args=(stop,))
    thread.start()
    assert server.done.wait(PATIENCE_SECONDS)
    asked = list(server.asked)
    stop.set()
    server.over.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    objects = {(row["metadata"]["namespace"], row["metadata"]["name"]): row["value"] for row in informer.values()}
    return Followed(objects, informer.synced.is_set(), asked, stop.pauses, len(bugs))
