"""The threads that judge: few, fair between namespaces, and never waited for beyond a deadline.

The ASGI app hands each review to them, so that probes, other reviews and signals go on while one is judged. A namespace has a
few threads at most, and its next review waits behind those of others; bodies that are judged at once have a bound in bytes, since
what is parsed takes many times its text. Threads are daemons: no review keeps the process from ending. Knows no review.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
THREADS: Final = 8
_OF_ONE_NAMESPACE: Final = 2
_MOST_WAITING: Final = 256
_MOST_JUDGED_BYTES: Final = 4 << 20


class Busy(Exception):
    """So many reviews wait that another one would not have its turn in time."""


class Workers:
    """Turns and threads on one event loop; all methods are called on it."""

    def __init__(self, *, threads: int = THREADS, of_one_namespace: int = _OF_ONE_NAMESPACE, most_waiting: int = _MOST_WAITING) -> None:
        self._threads = threads
        self._of_one_namespace = of_one_namespace
        self._most_waiting = most_waiting
        self._running: Counter[str] = Counter()
        self._running_bytes = 0
        # Namespaces in the order of their turns; the one that has had a turn goes to the end.
        self._waiting: OrderedDict[str, deque[tuple[asyncio.Future[None], int]]] = OrderedDict()
        self._since: dict[object, float] = {}

    def longest_seconds(self) -> float:
        """For how long the review that has been judged longest is judged."""
        return asyncio.get_running_loop().time() - min(self._since.values()) if self._since else 0.0

    async def run(self, namespace: str, size: int, work: Callable[[], T], seconds: float) -> T:
        """What `work` returns or raises, worked out on a thread. Raises Busy, and TimeoutError where that takes longer than `seconds`.

        Work that is given up runs on to its own end and keeps its place until then.
        """
        async with asyncio.timeout(seconds):
            await self._turn(namespace, size)
            return await asyncio.shield(self._start(namespace, size, work))

    async def _turn(self, namespace: str, size: int) -> None:
        if not self._waiting and self._has_room(namespace, size):
            self._take(namespace, size)
            return
        if sum(map(len, self._waiting.values())) >= self._most_waiting:
            raise Busy
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append((turn, size))
        self._next_turns()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(namespace, size)
            raise

    def _has_room(self, namespace: str, size: int) -> bool:
        total = self._running.total()
        fits = total == 0 or self._running_bytes + size <= _MOST_JUDGED_BYTES
        return fits and total < self._threads and self._running[namespace] < self._of_one_namespace

    def _take(self, namespace: str, size: int) -> None:
        self._running[namespace] += 1
        self._running_bytes += size

    def _free(self, namespace: str, size: int) -> None:
        self._running_bytes -= size
        self._running[namespace] -= 1
        if not self._running[namespace]:
            del self._running[namespace]
        self._next_turns()

    def _next_turns(self) -> None:
        """Wake who can start now, one of each namespace after the other."""
        progress = True
        while progress:
            progress = False
            for namespace in list(self._waiting):
                line = self._waiting[namespace]
                while line and line[0][0].done():
                    line.popleft()  # who waited has given up
                if line and self._has_room(namespace, line[0][1]):
                    turn, size = line.popleft()
                    self._take(namespace, size)
                    turn.set_result(None)
                    self._waiting.move_to_end(namespace)
                    progress = True
                if not line:
                    del self._waiting[namespace]

    def _start(self, namespace: str, size: int, work: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        mark = object()
        self._since[mark] = loop.time()

        def finished(result: T | None, error: BaseException | None) -> None:
            del self._since[mark]
            self._free(namespace, size)
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]
            else:
                done.set_exception(error)
                done.exception()  # whoever waited may be gone

        def job() -> None:
            result, raised = None, None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 handed to whoever waits, whatever it is
                raised = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finished, result, raised)

        # One thread a review: making one costs a thousandth of judging, and none is left over.
        threading.Thread(target=job, daemon=True, name=f"judge {namespace[:40]}").start()
        return done
