"""kopf's requests where an API server goes wrong: by the rule alone, and by kopf itself against a server that ends each watch at once."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from plimsoll_operator.backoff import LONGEST_SECONDS, SHORTEST_WATCH_SECONDS
from plimsoll_operator.controller.watching.pace import Pace
from plimsoll_operator.controller.watching.watcher import run_watcher
from plimsoll_operator.kube import Connection

HOUR = 3600.0
WATCH = {"watch": "true", "resourceVersion": "5"}
LONGEST_WAIT_S = 60


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("queries", "lasts", "requests"),
    [
        pytest.param([WATCH], 0.0, (1800, 3700), id="watches that end at once: one in a second or two"),
        pytest.param([WATCH], 290.0, (12, 13), id="watches that last: no pause between them"),
        pytest.param([{"limit": "500"}, WATCH], 0.0, (360, 700), id="a version that is always too old: lists with growing pauses"),
    ],
)
def test_an_hour_of_a_server_that_goes_wrong_costs_few_requests(
    queries: list[dict[str, str]], lasts: float, requests: tuple[int, int]
) -> None:
    clock = Clock()
    pace, sent = Pace(clock), 0
    while clock.now < 1000.0 + HOUR:
        for query in queries:
            clock.now += pace.before(query) + lasts
            sent += 1
            assert sent < 10_000, "a tight loop"
    assert requests[0] <= sent <= requests[1]


def test_a_start_waits_for_nothing_and_a_list_for_none_of_its_own_pages() -> None:
    clock = Clock()
    pace = Pace(clock, chance=lambda: 1.0)
    assert [pace.before(query) for query in ({"limit": "500"}, {"continue": "x"}, {"continue": "y"}, WATCH)] == [0.0] * 4
    assert pace.before({"limit": "500"}) == 1.6
    clock.now += HOUR
    assert pace.before({"limit": "500"}) == 0.0, "so long after the last one it is the first again"
    assert all(pace.before({"limit": "500"}) <= 2 * LONGEST_SECONDS for _ in range(20))


def resources(group_version: str, *rows: tuple[str, bool, str]) -> dict[str, Any]:
    verbs = ["get", "list", "watch", "patch", "create"]
    found = [{"name": name, "singularName": "", "namespaced": spaced, "kind": kind, "verbs": verbs} for name, spaced, kind in rows]
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": found}


def group(name: str, version: str) -> dict[str, Any]:
    row = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [row], "preferredVersion": row}


OURS = "inference.plimsoll.dev/v1alpha1"
DISCOVERY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": resources("v1", ("namespaces", False, "Namespace"), ("events", True, "Event")),
    "/apis": {"kind": "APIGroupList", "groups": [group("apiextensions.k8s.io", "v1"), group(*OURS.split("/"))]},
    "/apis/apiextensions.k8s.io/v1": resources("apiextensions.k8s.io/v1", ("customresourcedefinitions", False, "CustomResourceDefinition")),
    f"/apis/{OURS}": resources(OURS, ("inferencedeployments", True, "InferenceDeployment")),
}
EXPIRED = (
    json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}).encode() + b"\n"
)


@dataclass(kw_only=True)
class Asked:
    """What kopf has asked of the server: lists and watches in order, and which forms of an answer it takes."""

    kinds: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    watches: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """kopf hangs up when it is stopped."""


def api_server(answer: bytes, asked: Asked) -> Quiet:
    """An API server without objects, whose watches all say this and end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = json.dumps(DISCOVERY.get(url.path) or {"metadata": {"resourceVersion": "5"}, "items": None}).encode()
            if "watch" in parse_qs(url.query):
                asked.kinds.append("watch")
                body = answer
                asked.watches.release()
            elif url.path.endswith("/inferencedeployments"):
                asked.kinds.append("list")
            if url.path.endswith("/inferencedeployments"):
                asked.accepted.add(self.headers["Accept"].partition(",")[0])
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
            pass

    return Quiet(("127.0.0.1", 0), Handler)


@pytest.mark.parametrize(("answer", "lists"), [(b"", False), (EXPIRED, True)], ids=["each watch ends at once", "each version is too old"])
def test_kopf_waits_before_it_asks_again(answer: bytes, lists: bool) -> None:
    stop, asked = threading.Event(), Asked()
    server = api_server(answer, asked)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    there = Connection(
        server=f"http://127.0.0.1:{server.server_port}",
        ca_path=None,
        insecure=True,
        authorization="Bearer x",
        certificate_path=None,
        private_key_path=None,
    )
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    watcher = threading.Thread(
        target=lambda: run_watcher(
            lambda: there, lambda *_event, **_gone: None, identity="t", stop=stop, ready=threading.Event(), sleep=note
        )
    )
    watcher.start()
    try:
        for _ in range(10):
            assert asked.watches.acquire(timeout=LONGEST_WAIT_S), "kopf does not watch"
    finally:
        stop.set()
        watcher.join(LONGEST_WAIT_S)
        server.shutdown()
        server.server_close()
    assert not watcher.is_alive()
    names = "application/json;as=PartialObjectMetadata"
    assert asked.accepted == {f"{names}List;g=meta.k8s.io;v=v1", f"{names};g=meta.k8s.io;v=v1"}, "kopf keeps whole lists: it gets names"
    assert ("list" in asked.kinds[2:]) == lists
    waited = [seconds for seconds in pauses[2:] if seconds > 0]
    assert len(waited) >= 8
    assert max(waited) >= SHORTEST_WATCH_SECONDS * 0.8
