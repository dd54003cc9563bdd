"""uvicorn's connection with bounds of its own: how many there are, how long a request's head may take, and who is at the other end.

One per TCP connection, made by uvicorn. Over the bound the connection that has been idle longest is closed, never one that is being
answered: whoever only holds connections open shuts nobody out. Knows no path and no review.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from plimsoll_operator.webhook.app import CLIENT_CERTIFICATE

MOST_CONNECTIONS: Final = 512
HEAD_SECONDS: Final = 10.0


class Connection(H11Protocol):
    """HTTP/1.1 over one connection."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._idle_since = self.loop.time()
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Of too many connections close the one that has been idle longest; this one where all are busy."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        shown = tls is not None and bool(tls.getpeercert())
        self.app_state = {**self.app_state, CLIENT_CERTIFICATE: shown}
        self._wait_for_head()
        if len(self.connections) > MOST_CONNECTIONS:
            others = (other for other in self.connections if isinstance(other, Connection) and other is not self and other.is_idle)
            min(others, key=lambda other: other._idle_since, default=self).hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """As before, without the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A head that trickles in byte by byte has the same time as one that does not come."""
        super().data_received(data)
        if self.is_idle:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Idle again: uvicorn's keep-alive time runs."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self.cycle is None or self.cycle.response_complete

    def hang_up(self) -> None:
        """Close at once; what is unsent is lost."""
        self.transport.abort()

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.is_idle:
            self.hang_up()
