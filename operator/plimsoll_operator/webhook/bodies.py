"""Request bodies within bounds: a length, a deadline each, and a budget of bytes for all that are held at once.

Read by the ASGI app before anything is parsed. A body counts from its first byte until its review is answered. Whoever sends
slowly makes room for whoever sends at once: over the budget the oldest unfinished body is given up, not the newest.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

# etcd takes objects of 1.5 MiB; an update carries the new and the old one.
MAX_BODY_BYTES: Final = 3 << 20
BODY_SECONDS: Final = 5.0
MOST_HELD_BYTES: Final = 32 << 20


class BodyRefused(Exception):
    """The body is not taken; `status` is HTTP's word for why, the message a sentence without its full stop."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Gone(Exception):
    """Whoever asked has hung up before the body's end: there is nobody to answer."""


class Bodies:
    """All bodies of one process. Lives on the event loop."""

    def __init__(self, *, seconds: float = BODY_SECONDS, most_held_bytes: int = MOST_HELD_BYTES) -> None:
        self._seconds = seconds
        self._most_held_bytes = most_held_bytes
        self._unfinished: OrderedDict[_Held, asyncio.Timeout] = OrderedDict()
        self._given_up: set[_Held] = set()
        self.held_bytes = 0

    @asynccontextmanager
    async def read(self, length: int, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body, held against the budget until the block ends. Raises BodyRefused and Gone."""
        if length > MAX_BODY_BYTES:
            raise BodyRefused(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
        mine = _Held(self)
        try:
            yield await self._received(mine, receive)
        finally:
            mine.give_back()

    async def _received(self, mine: _Held, receive: Receive) -> bytes:
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._seconds) as limit:
                self._unfinished[mine] = limit
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    part = message.get("body", b"")
                    mine.add(len(part))
                    parts.append(part)
                    if mine.bytes > MAX_BODY_BYTES:
                        raise BodyRefused(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
                    if not message.get("more_body", False):
                        break
                    self._make_room(mine)
                self._unfinished.pop(mine, None)
                self._make_room(mine)
        except TimeoutError:
            if mine in self._given_up:
                raise BodyRefused(503, f"{self._most_held_bytes} bytes of requests are held already, and this one came slowly") from None
            raise BodyRefused(408, f"the body did not come within {self._seconds:g} seconds") from None
        finally:
            self._unfinished.pop(mine, None)
            self._given_up.discard(mine)
        return b"".join(parts)

    def _make_room(self, mine: _Held) -> None:
        """Give up the oldest unfinished bodies until the rest is within the budget; with none left to give up, this one."""
        while self.held_bytes > self._most_held_bytes:
            slowest = next(iter(self._unfinished), None)
            if slowest is None or slowest is mine:
                raise BodyRefused(503, f"{self._most_held_bytes} bytes of requests are held already")
            limit = self._unfinished.pop(slowest)
            slowest.give_back()
            if not limit.expired():
                self._given_up.add(slowest)
                limit.reschedule(asyncio.get_running_loop().time())


class _Held:
    """What one body takes of the budget."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._returned = False
        self.bytes = 0

    def add(self, count: int) -> None:
        self.bytes += count
        if not self._returned:
            self._bodies.held_bytes += count

    def give_back(self) -> None:
        if not self._returned:
            self._returned = True
            self._bodies.held_bytes -= self.bytes
