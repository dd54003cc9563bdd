"""The webhook as an ASGI application, with bodies that come as slowly as a test likes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.plimsoll_operator.webhook_world import PLAN, MemoryStore, manifest, review

from plimsoll_operator.facts import Facts
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.verdict import Admit, Verdict
from plimsoll_operator.webhook.app import WebhookApp
from plimsoll_operator.webhook.workers import Workers


@dataclass
class Sender:
    """Whoever sends a body, in parts, when told to."""

    parts: asyncio.Queue[MutableMapping[str, Any]] = field(default_factory=asyncio.Queue)

    def send(self, data: bytes, *, more: bool = True) -> None:
        self.parts.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def hang_up(self) -> None:
        self.parts.put_nowait({"type": "http.disconnect"})

    async def __call__(self) -> MutableMapping[str, Any]:
        return await self.parts.get()


@dataclass
class Slow:
    """Work that ends when it is let go."""

    gate: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> str:
        self.began.set()
        assert self.gate.wait(30)
        return "slow"


class Server:
    """The ASGI application, asked directly."""

    def __init__(self, decide: Callable[[Facts, float], Verdict], **options: Any) -> None:
        self.recorder = Recorder()
        self.app = WebhookApp(store=MemoryStore(), decide=decide, recorder=self.recorder, **options)

    async def ask(
        self, body: bytes = b"", path: str = "/validate", query: str = "", state: dict[str, Any] | None = None, probes: bool = False
    ) -> tuple[int, dict[str, Any]]:
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        sender = Sender()
        sender.send(body, more=False)
        method = "POST" if path == "/validate" else "GET"
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": [], "state": state or {}}
        entry: Callable[..., Awaitable[None]] = self.app.probes if probes else self.app
        await entry(scope, sender, send)
        return sent[0]["status"], json.loads(sent[1]["body"])


def body(namespace: str = "team", **more: Any) -> bytes:
    return json.dumps(review(manifest(), namespace=namespace, **more)).encode()


def admits(facts: Facts, seconds: float) -> Verdict:
    return Admit(plan=PLAN)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def slow_ones(workers: Workers, *namespaces: str, size: int = 10) -> AsyncIterator[list[tuple[Slow, asyncio.Task[str]]]]:
    rows = []
    for namespace in namespaces:
        slow = Slow()
        rows.append((slow, asyncio.create_task(workers.run(namespace, size, slow, 60))))
        await settle()
    yield rows
    for slow, _ in rows:
        slow.gate.set()
    await asyncio.gather(*(task for _, task in rows), return_exceptions=True)
