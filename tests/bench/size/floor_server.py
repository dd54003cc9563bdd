"""`python -m tests.bench.size.floor_server PORT CERTIFICATE KEY`: the webhook's own server with a handler that only says yes.

Started by the run at size. What it costs to take a review off the wire and to answer it, nobody can leave out: that is the floor. It reads
the body and decodes it, and knows nothing of what it says.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from plimsoll_operator.webhook.connection import Connection

_HEADERS = (b"content-type", b"application/json")


async def handler(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Yes to each review, by its uid."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        part = await receive()
        body += part.get("body", b"")
        if not part.get("more_body"):
            break
    uid = json.loads(body)["request"]["uid"] if body else ""
    answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, "allowed": True}}
    said = json.dumps(answer).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [_HEADERS, (b"content-length", str(len(said)).encode())]})
    await send({"type": "http.response.body", "body": said})


def main(port: str, certificate: str, key: str) -> None:
    """Serve until stopped, set up as the webhook's own server is."""
    config = uvicorn.Config(
        app=handler,
        host="127.0.0.1",
        port=int(port),
        log_config=None,
        access_log=False,
        http=Connection,
        ws="none",
        interface="asgi3",
        lifespan="off",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_keep_alive=120,
    )
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main(*sys.argv[1:4])
