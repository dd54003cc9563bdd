"""The ASGI application: POST /validate, GET /healthz, /readyz and /metrics. Bounded bodies, bounded time, no network, no state.

Served by uvicorn in `__main__`, called directly in tests. It maps a bad request to 4xx and answers each review before the API
server gives up on it: where no verdict is had in time, with a refusal that says so. A bug in one review is that review's 500, with
its traceback in the log; the API server treats it by the rule's failurePolicy.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from plimsoll_operator.facts import Decide, DecideWithin, Facts, Recall
from plimsoll_operator.text import one_line
from plimsoll_operator.verdict import Reason, Undecided, Verdict
from plimsoll_operator.webhook.bodies import Bodies, BodyRefused, Gone, Receive
from plimsoll_operator.webhook.judge import judge, out_of_time
from plimsoll_operator.webhook.lately import Asked, Lately, asked_by
from plimsoll_operator.webhook.lines import Busy
from plimsoll_operator.webhook.ports import Recorder, ReviewStore
from plimsoll_operator.webhook.review import Answer, BadReview, Review, head_of, parse_review, render_review
from plimsoll_operator.webhook.workers import TooLate, Workers

log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CLIENT_CERTIFICATE: Final = "client_certificate"
"""Key of the ASGI scope's state: whether the other end has shown a certificate that the configured authority signed."""
DEFAULT_SECONDS: Final = 5.0
_LONGEST_SECONDS: Final = 30.0
"""The longest timeoutSeconds that Kubernetes allows."""
_SHORTEST_SECONDS: Final = 0.5
_TO_DECIDE: Final = 0.75
_TO_ANSWER: Final = 0.9
"""Parts of the API server's time after which the decision is stopped, and after which an answer is sent without it."""
_TO_READ_SECONDS: Final = 0.02
_READ_BYTES_PER_SECOND: Final = 16 << 20
"""What reading a review takes at least, beside its size: with less than that left before the decision is stopped it is not begun."""
_AT_ONCE_SECONDS: Final = 0.005
"""What takes longer on the event loop has its turn on a thread when it comes again."""
_STUCK_SECONDS: Final = 60.0
_GO_DURATION: Final = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)s")
_JSON: Final = b"application/json"
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
_PROBES: Final = ("/healthz", "/readyz", "/metrics")


class _NotKnown(Exception):
    """The verdict has to be worked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    status: int
    body: bytes
    content_type: bytes = _JSON
    close: bool = False


def _error(status: int, message: str, *, close: bool = False) -> _Response:
    return _Response(status=status, body=json.dumps({"error": message}).encode(), close=close)


class WebhookApp:
    """One ASGI application over one store. `stopping` turns readiness off while reviews are served on.

    `seconds` is how long the API server waits where it does not say so itself. What `recall` knows is answered at once, the rest takes
    turns. With `needs_certificate` only who has shown a client certificate of the configured authority may ask for reviews.
    """

    def __init__(
        self,
        *,
        store: ReviewStore,
        decide: DecideWithin,
        recorder: Recorder,
        seconds: float = DEFAULT_SECONDS,
        needs_certificate: bool = False,
        clock: Callable[[], float] = time.monotonic,
        bodies: Bodies | None = None,
        workers: Workers | None = None,
        recall: Recall | None = None,
    ) -> None:
        self._store = store
        self._recall = recall
        self._lately = Lately()
        self._decide = decide
        self._recorder = recorder
        self._seconds = seconds
        self._needs_certificate = needs_certificate
        self._clock = clock
        self._bodies = bodies or Bodies()
        self._workers = workers or Workers()
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry of the port that the API server calls."""
        await self._serve(scope, receive, send, reviews=True)

    async def probes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry of the port of probes and metrics, which takes no reviews and so no bodies."""
        await self._serve(scope, receive, send, reviews=False)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, reviews: bool) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                response = await self._respond(scope, receive, reviews)
            except Gone:
                return
            headers = [(b"content-type", response.content_type), (b"content-length", str(len(response.body)).encode())]
            if response.close or self.stopping:  # whoever asks again finds a server that stays
                headers.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: Scope, receive: Receive, reviews: bool) -> _Response:
        match scope["method"], scope["path"]:
            case "POST", "/validate" if reviews:
                return await self._validate(scope, receive)
            case "GET", "/healthz":
                return self._alive()
            case "GET", "/readyz":
                return self._ready()
            case "GET", "/metrics":
                return _Response(status=200, body=self._recorder.render(), content_type=_TEXT)
        known = scope["path"] in _PROBES or (reviews and scope["path"] == "/validate")
        return _error(405, "method not allowed", close=True) if known else _error(404, "not found", close=True)

    def _alive(self) -> _Response:
        stuck = self._workers.longest_seconds()
        if stuck > _STUCK_SECONDS:
            return _error(503, f"a review has been judged for {stuck:.0f} s")
        return _Response(status=200, body=b'{"status":"ok"}')

    def _ready(self) -> _Response:
        if self.stopping:
            return _error(503, "stopping")
        problem = self._store.problem()
        return _error(503, problem) if problem else _Response(status=200, body=b'{"status":"ready"}')

    async def _validate(self, scope: Scope, receive: Receive) -> _Response:
        started = self._clock()
        if self._needs_certificate and not scope.get("state", {}).get(CLIENT_CERTIFICATE):
            return _error(403, "reviews are asked for with a client certificate of the configured authority", close=True)
        if not self._store.ready():
            # Judged on an empty cache, every model would look unknown: better no answer, which fails closed.
            return _error(503, "caches are not synced yet", close=True)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            async with self._bodies.read(int(length) if length.isdigit() and len(length) < 20 else 0, receive) as body:
                return await self._answered(body, started, self._limit(scope))
        except BodyRefused as refused:
            log.warning("refused a request: %s", refused)
            return _error(refused.status, f"{refused}.", close=True)

    def _limit(self, scope: Scope) -> float:
        """How long the API server waits: it says so in the query."""
        said = _said_seconds(scope.get("query_string", b"")[:256])
        return min(_LONGEST_SECONDS, max(_SHORTEST_SECONDS, self._seconds if said is None else said))

    async def _answered(self, body: bytes, started: float, seconds: float) -> _Response:
        """Parsed and judged on a thread; answered here when that is done, or without it when its time is over."""
        asked = head_of(body)
        stop_at = started + seconds * _TO_DECIDE
        answer_at = started + seconds * _TO_ANSWER
        begin_by = stop_at - _TO_READ_SECONDS - len(body) / _READ_BYTES_PER_SECOND
        too_late = f"its turn to be judged did not come within {round(begin_by - started, 2):g} seconds"

        def decide(facts: Facts) -> Verdict:
            left = stop_at - self._clock()
            if left <= 0:
                why = "no time was left to decide when the request had been read"
                return Undecided(reason=Reason.OUT_OF_TIME, message=why, next_step="")
            return self._decide(facts, left)

        def work() -> _Response:
            if self._clock() > begin_by:
                return self._without_verdict(asked, started, too_late)
            return self._judged(body, started, decide)

        now = self._clock()
        try:
            turn = partial(self._workers.run, asked.namespace, len(body), work, max(0.0, answer_at - now), begin_within=begin_by - now)
            return await self._at_once_or(turn, body, started)
        except TooLate:
            return self._without_verdict(asked, started, too_late)
        except TimeoutError:
            return self._without_verdict(asked, started, f"no verdict was reached within {answer_at - started:g} seconds")
        except Busy:
            return self._without_verdict(asked, started, "too many requests wait for their verdicts")
        except Exception:  # the border of one review: told with its traceback, and the others go on
            log.exception("a bug: the review of %s ended without an answer", one_line(asked.namespace, 63))
            self._recorder.internal_error("review")
            return _error(500, "an error of the webhook itself; its log has all of it")

    async def _at_once_or(self, turn: Callable[[], Awaitable[_Response]], body: bytes, started: float) -> _Response:
        """The answer that is known, else that of a turn, which is known from then on."""
        again = asked_by(body) if self._recall is not None else None
        if again is None:
            return await turn()
        known = self._known(again, started)
        if known is not None:
            return known
        response = await turn()
        self._lately.add(again.key)
        return response

    def _known(self, asked: Asked, started: float) -> _Response | None:
        """The answer that takes no work: on the event loop, since a thread of its own would take longer than all of it. Else None."""
        recall = self._recall
        if recall is None or asked.key not in self._lately:
            return None
        began = self._clock()

        def known(facts: Facts) -> Verdict:
            if (found := recall(facts)) is None:
                raise _NotKnown
            return found

        try:
            return self._answer(asked.review, started, known)
        except _NotKnown:
            return None
        finally:
            if self._clock() - began > _AT_ONCE_SECONDS:
                self._lately.forget(asked.key)

    def _judged(self, body: bytes, started: float, decide: Decide) -> _Response:
        """On a thread: from the body to the answer's."""
        try:
            review = parse_review(body)
        except BadReview as error:
            log.warning("refused a request that is no review: %s", error)
            return _error(400, str(error))
        return self._answer(review, started, decide)

    def _answer(self, review: Review, started: float, decide: Decide) -> _Response:
        answer = judge(review, self._store, decide)
        self._told(review, answer, started)
        return _Response(status=200, body=render_review(review, answer))

    def _without_verdict(self, asked: Review, started: float, why: str) -> _Response:
        """Refused and said so. Not /scale, which fails open by its rule, nor what is not known to be a review."""
        if not asked.uid or asked.sub_resource:
            return _error(503, f"{why}.")
        answer = out_of_time(f"{why}, so nothing is admitted. Ask again.")
        self._told(asked, answer, started)
        return _Response(status=200, body=render_review(asked, answer))

    def _told(self, review: Review, answer: Answer, started: float) -> None:
        self._recorder.admission_reviewed(
            operation="SCALE" if review.sub_resource == "scale" else review.operation,
            verdict=answer.verdict,
            reason=answer.reason,
            duration_seconds=self._clock() - started,
        )
        # Whoever reaches the port can send any name: a line break in it must not forge a line of the log.
        where = one_line(f"{review.namespace}/{review.name}", 320)
        log.info("%s %s: %s %s", review.operation, where, answer.verdict, answer.reason)


@lru_cache(maxsize=64)
def _said_seconds(query: bytes) -> float | None:
    """What the query says, the same of nearly every review."""
    said = parse_qs(query.decode("latin-1")).get("timeout", [""])[0]
    found = _GO_DURATION.fullmatch(said)
    return float(found[1]) if found else None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
