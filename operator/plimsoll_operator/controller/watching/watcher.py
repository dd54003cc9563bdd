"""kopf's part: watch InferenceDeployments and put their keys on the work queue. Nothing else happens in a handler.

The leader runs it on a thread with an event loop of its own. Only `on.event` is used: no finalizers, no annotations and
no patches from kopf (its state-changing handlers write to every object and double its size). The only module that
imports kopf, and aiohttp, which is kopf's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Protocol, cast

import aiohttp
import kopf

from plimsoll_operator.controller.watching.pace import Pace
from plimsoll_operator.kube import Connection
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Key

# Kubernetes documentation: "API concepts", metadata-only fetches.
_NAMES_OF_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_NAMES_OF_WATCH: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_LONGEST_BACKOFF_SECONDS: Final = 10.0


class OnEvent(Protocol):
    """Told of each object that kopf hands out: its key, its metadata, and whether it is gone."""

    def __call__(self, key: Key, metadata: Mapping[str, Any], *, gone: bool) -> None:
        """Take one event."""


class _EndlessBackoffs:
    """kopf gives up on an API server after a minute of 503 unless its back-offs never end; jitter spreads the return."""

    def __iter__(self) -> Iterator[float]:
        delay = 0.2
        while True:
            yield delay * random.uniform(0.5, 1.0)
            delay = min(_LONGEST_BACKOFF_SECONDS, delay * 2)


def run_watcher(
    connection: Callable[[], Connection],
    on_event: OnEvent,
    *,
    identity: str,
    stop: threading.Event,
    ready: threading.Event,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Watch until `stop`. Returns then; returns earlier only when kopf gave up, and the caller begins anew.

    `identity` is ours: kopf would ask for the name of the user, and a container's has none. `ready` is set while the API server hands the
    objects out, which kopf's own flag does not say: it speaks of kopf.
    """
    for name in ("kopf.objects", "kopf.activities", "kopf._core", "kopf._cogs"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns that it handles no OS signals: main does.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    registry = kopf.OperatorRegistry()
    resource = INFERENCE_DEPLOYMENTS

    pace = Pace(time.monotonic)

    async def in_time(_session: aiohttp.ClientSession, _context: Any, request: aiohttp.TraceRequestStartParams) -> None:
        if request.url.path.endswith(f"/{resource.plural}"):
            # Names are all that is read here: kopf keeps whole lists, and an object may be a megabyte and more.
            request.headers["Accept"] = _NAMES_OF_WATCH if "watch" in request.url.query else _NAMES_OF_LIST
            await sleep(pace.before(request.url.query))

    async def answered(_session: aiohttp.ClientSession, _context: Any, request: aiohttp.TraceRequestEndParams) -> None:
        if request.url.path.endswith(f"/{resource.plural}"):
            (ready.set if request.response.ok else ready.clear)()

    async def login(**_: Any) -> kopf.AiohttpSession:
        return _session(_login(connection()), in_time, answered)

    async def enqueue(namespace: str | None, name: str | None, meta: Mapping[str, Any], type: str | None, **_: Any) -> None:  # noqa: A002 kopf's
        on_event((namespace or "", name or ""), meta, gone=type == "DELETED")

    kopf.on.login(registry=registry)(login)
    kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(enqueue)
    try:
        asyncio.run(
            kopf.operator(
                registry=registry,
                settings=_settings(),
                identity=cast(Any, identity),  # a str by another name, which kopf does not export
                clusterwide=True,
                standalone=True,
                stop_flag=stop,
            )
        )
    finally:
        ready.clear()


class _Answer(aiohttp.ClientResponse):
    """A list of names without any says `items: null`, where kopf counts on a list."""

    async def json(self, **how: Any) -> Any:
        """The answer decoded."""
        found = await super().json(**how)
        if isinstance(found, dict) and "items" in found:
            found["items"] = found["items"] or []
        return found


def _session(info: kopf.ConnectionInfo, before: Any, after: Any) -> kopf.AiohttpSession:
    """kopf's own way to connect (kopf.ConnectionInfo), with a look at each request before it is sent and at its answer."""
    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(before)
    trace.on_request_end.append(after)
    connector = aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context())
    headers = info.as_http_headers()
    session = aiohttp.ClientSession(connector=connector, headers=headers, trace_configs=[trace], response_class=_Answer)
    return kopf.AiohttpSession(server=info.server, aiohttp_session=session)


def _login(connection: Connection) -> kopf.ConnectionInfo:
    scheme, _, token = (connection.authorization or "").partition(" ")
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=connection.ca_path,
        insecure=connection.insecure,
        scheme=scheme or None,
        token=token or None,
        certificate_path=connection.certificate_path,
        private_key_path=connection.private_key_path,
    )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 290
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 100
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _EndlessBackoffs()
    settings.queueing.idle_timeout = 0.2
    return settings
