"""An API server that answers lists and watches as a test lays them out, and one watch of it that is run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx

from plimsoll_operator.watch import Watched


def thing(name: str, version: int, value: str = "") -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": str(version)}, "value": value}


def page(*items: dict[str, Any], version: int = 1, token: str = "") -> httpx.Response:
    return httpx.Response(200, json={"metadata": {"resourceVersion": str(version), "continue": token}, "items": list(items)})


def event(kind: str, obj: Any) -> bytes:
    return json.dumps({"type": kind, "object": obj}, ensure_ascii=False).encode() + b"\n"


class Stream(httpx.AsyncByteStream):
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class Hang(httpx.AsyncByteStream):
    """A watch on which nothing happens any more."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""


def watch(*chunks: bytes) -> httpx.Response:
    return httpx.Response(200, stream=Stream(*chunks))


class Server:
    """Answers in order; after the last one every watch hangs. Remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.done = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if not self.answers:
            self.done.set()
            return httpx.Response(200, stream=Hang())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(
    *answers: httpx.Response | Exception,
    parse: Callable[[Mapping[str, Any]], str | None] | None = None,
    bug: Callable[[], None] = lambda: None,
    pauses: list[float] | None = None,
) -> tuple[Watched[str], Server]:
    async def go() -> tuple[Watched[str], Server]:
        server = Server(*answers)
        slept = [] if pauses is None else pauses

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await asyncio.sleep(0)

        reads = parse or (lambda obj: str(obj["value"]))
        cache: Watched[str] = Watched(kind="Thing", path="/things", parse=reads, clock=lambda: 7.0, sleep=sleep, bug=bug)
        async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="https://api") as client:
            task = asyncio.create_task(cache.run(client))
            await asyncio.wait_for(server.done.wait(), 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return cache, server

    return asyncio.run(go())
