"""The threads that judge: few, fair between namespaces, and never waited for beyond a deadline.

The ASGI app hands each review to them, so that probes, other reviews and signals go on while one is judged. A namespace has a
few threads at most, and its next review waits behind those of others; bodies that are judged at once have a bound in bytes, since
what is parsed takes many times its text. What would be begun too late is not begun. Threads are daemons: no review keeps the
process from ending. Knows no review.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

from plimsoll_operator.webhook.lines import Busy, LineBounds, Lines, Place

T = TypeVar("T")
THREADS: Final = 8
_OF_ONE_NAMESPACE: Final = 2
_MOST_JUDGED_BYTES: Final = 4 << 20


class TooLate(Exception):
    """The turn of a review did not come early enough for it to be begun."""


class Workers:
    """Turns and threads on one event loop; all methods but one are called on it."""

    def __init__(self, *, threads: int = THREADS, of_one_namespace: int = _OF_ONE_NAMESPACE, bounds: LineBounds | None = None) -> None:
        self._threads = threads
        self._of_one_namespace = of_one_namespace
        self._running: Counter[str] = Counter()
        self._running_bytes = 0
        self._at_work = 0
        self._lines = Lines(bounds or LineBounds())
        self._turns: dict[Place, asyncio.Future[None]] = {}
        self._since: dict[object, float] = {}

    def longest_seconds(self) -> float:
        """For how long the review that has been judged longest is judged."""
        return asyncio.get_running_loop().time() - min(self._since.values()) if self._since else 0.0

    def at_hand(self) -> int:
        """How many reviews are judged or wait for their turn. The one method that may be called on any thread."""
        return self._at_work + len(self._turns)

    async def run(self, namespace: str, size: int, work: Callable[[], T], seconds: float, *, begin_within: float | None = None) -> T:
        """What `work` returns or raises, worked out on a thread. Raises Busy, and TimeoutError where that takes longer than `seconds`.

        Work that is given up runs on to its own end and keeps its place until then. Where its turn does not come in `begin_within`
        seconds it is never begun: TooLate.
        """
        place = Place(namespace, size)
        async with asyncio.timeout(seconds):
            await self._turn_within(place, seconds if begin_within is None else begin_within)
            return await asyncio.shield(self._start(place, work))

    async def _turn_within(self, place: Place, seconds: float) -> None:
        if seconds <= 0:
            raise TooLate
        try:
            async with asyncio.timeout(seconds):
                await self._turn(place)
        except TimeoutError:
            raise TooLate from None

    async def _turn(self, place: Place) -> None:
        # Who waits does so for a thread, for its namespace or for bytes: nobody is overtaken by one that has all three.
        if not self._lines.of(place.namespace) and self._has_room(place):
            self._take(place)
            return
        for out in self._lines.join(place):
            pushed_out = self._turns.pop(out)
            if not pushed_out.done():
                pushed_out.set_exception(Busy())
        turn = self._turns[place] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if place in self._turns:
                del self._turns[place]
                self._lines.leave(place)
                self._next_turns()
            elif turn.done() and not turn.cancelled() and turn.exception() is None:
                self._free(place)
            raise

    def _has_room(self, place: Place) -> bool:
        total = self._running.total()
        fits = total == 0 or self._running_bytes + place.size <= _MOST_JUDGED_BYTES
        return fits and total < self._threads and self._running[place.namespace] < self._of_one_namespace

    def _take(self, place: Place) -> None:
        self._at_work += 1
        self._running[place.namespace] += 1
        self._running_bytes += place.size

    def _free(self, place: Place) -> None:
        self._at_work -= 1
        self._running_bytes -= place.size
        self._running[place.namespace] -= 1
        if not self._running[place.namespace]:
            del self._running[place.namespace]
        self._next_turns()

    def _next_turns(self) -> None:
        """Wake who can start now, one of each namespace after the other."""
        while (place := self._lines.next(self._has_room)) is not None:
            turn = self._turns.pop(place)
            if not turn.done():  # or who waited has given up just now
                self._take(place)
                turn.set_result(None)

    def _start(self, place: Place, work: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        mark = object()
        self._since[mark] = loop.time()

        def finished(result: T | None, error: BaseException | None) -> None:
            del self._since[mark]
            self._free(place)
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]  # a T, where there is no error
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
        threading.Thread(target=job, daemon=True, name=f"judge {place.namespace[:40]}").start()
        return done
