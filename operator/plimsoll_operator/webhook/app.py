"""The ASGI application: POST /validate, GET /healthz, /readyz and /metrics. Bounded bodies, no network, no state.

Served by uvicorn in `__main__`, called directly in tests. It maps a bad request to 4xx; a bug stays a bug and becomes
uvicorn's 500 with its traceback in the log, which the API server treats by the rule's failurePolicy.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from plimsoll_operator.webhook.judge import judge
from plimsoll_operator.webhook.ports import Decide, Recorder, ReviewStore
from plimsoll_operator.webhook.review import Answer, BadReview, Review, one_line, parse_review, render_review

log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# etcd takes objects of 1.5 MiB; an update carries the new and the old one.
MAX_BODY_BYTES: Final = 3 << 20
_JSON: Final = b"application/json"
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    status: int
    body: bytes
    content_type: bytes = _JSON


def _error(status: int, message: str) -> _Response:
    return _Response(status=status, body=json.dumps({"error": message}).encode())


class WebhookApp:
    """One ASGI application over one store. `stopping` turns readiness off before the server closes."""

    def __init__(self, *, store: ReviewStore, decide: Decide, recorder: Recorder, clock: Callable[[], float] = time.perf_counter) -> None:
        self._store = store
        self._decide = decide
        self._recorder = recorder
        self._clock = clock
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            response = await self._respond(scope, receive)
            headers = [(b"content-type", response.content_type), (b"content-length", str(len(response.body)).encode())]
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: Scope, receive: Receive) -> _Response:
        match scope["method"], scope["path"]:
            case "POST", "/validate":
                return await self._validate(scope, receive)
            case "GET", "/healthz":
                return _Response(status=200, body=b'{"status":"ok"}')
            case "GET", "/readyz":
                return self._ready()
            case "GET", "/metrics":
                return _Response(status=200, body=self._recorder.render(), content_type=_TEXT)
            case _, ("/validate" | "/healthz" | "/readyz" | "/metrics"):
                return _error(405, "method not allowed")
        return _error(404, "not found")

    def _ready(self) -> _Response:
        if self.stopping:
            return _error(503, "stopping")
        return _Response(status=200, body=b'{"status":"ready"}') if self._store.ready() else _error(503, "caches are not synced yet")

    async def _validate(self, scope: Scope, receive: Receive) -> _Response:
        if not self._store.ready():
            # Judged on an empty cache, every model would look unknown: better no answer, which fails closed.
            return _error(503, "caches are not synced yet")
        body = await _read(scope, receive)
        if body is None:
            return _error(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
        started = self._clock()
        try:
            review = parse_review(body)
        except BadReview as error:
            log.warning("refused a request that is no review: %s", error)
            return _error(400, str(error))
        answer = judge(review, self._store, self._decide)
        self._recorder.admission_reviewed(
            operation="SCALE" if review.sub_resource == "scale" else review.operation,
            verdict=answer.verdict,
            reason=answer.reason,
            duration_seconds=self._clock() - started,
        )
        _log(review, answer)
        return _Response(status=200, body=render_review(review, answer))


def _log(review: Review, answer: Answer) -> None:
    # Whoever reaches the port can send any name: a line break in it must not forge a line of the log.
    where = one_line(f"{review.namespace}/{review.name}", 320)
    log.info("%s %s: %s %s", review.operation, where, answer.verdict, answer.reason)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The body, or None when it is longer than MAX_BODY_BYTES, whether it says so or not."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
