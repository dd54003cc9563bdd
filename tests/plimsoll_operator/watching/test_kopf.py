"""kopf's part in a container, whose user has a number and no name; and when it counts as watching: when it is handed the objects."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.controlplane.cluster import wait_until

from plimsoll_operator.controller.watching.watcher import run_watcher
from plimsoll_operator.kube import Connection

# In a process of its own: the number of a user cannot be taken back. Nobody listens at the port.
NAMELESS = """
import os, threading
from plimsoll_operator.controller.watching.watcher import run_watcher
from plimsoll_operator.kube import Connection
import kopf._core.reactor.running, kopf._core.engines.peering
if os.getuid() == 0:
    os.setuid(65532)
absent = dict.fromkeys(("ca_path", "authorization", "certificate_path", "private_key_path"))
there = Connection(server="http://127.0.0.1:9", insecure=True, **absent)
stop, ready = threading.Event(), threading.Event()
threading.Timer(1.0, stop.set).start()
run_watcher(lambda: there, print, identity="plimsoll-0", stop=stop, ready=ready)
assert stop.is_set(), "kopf gave up before it was stopped"
assert not ready.is_set()
"""


@pytest.mark.thorough
def test_a_user_without_a_name_watches() -> None:
    done = subprocess.run([sys.executable, "-c", NAMELESS], env={}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


GROUP, VERSION = "inference.plimsoll.dev", "v1alpha1"
EXTENSIONS = "apiextensions.k8s.io"


def served(kind: str, *, namespaced: bool = False) -> dict[str, object]:
    named = {"kind": kind, "name": f"{kind.lower()}s", "singularName": ""}
    return {"resources": [{**named, "namespaced": namespaced, "verbs": ["list", "watch"]}]}


def group(name: str, version: str) -> dict[str, object]:
    return {"name": name, "versions": [{"version": version}], "preferredVersion": {"version": version}}


DISCOVERY = {
    "/api": {"versions": ["v1"]},
    "/api/v1": served("Namespace"),
    "/apis": {"groups": [group(GROUP, VERSION), group(EXTENSIONS, "v1")]},
    f"/apis/{EXTENSIONS}/v1": served("CustomResourceDefinition"),
    f"/apis/{GROUP}/{VERSION}": served("InferenceDeployment", namespaced=True),
}


class Api(BaseHTTPRequestHandler):
    """What kopf asks of an API server, which may refuse to hand the objects out; a watch of them says nothing and ends soon."""

    refuses = False
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path in DISCOVERY:
            self.answer(200, json.dumps(DISCOVERY[path]))
        elif self.refuses:
            self.answer(403, json.dumps({"kind": "Status", "code": 403, "message": "no"}))
        elif "watch" in query:
            threading.Event().wait(0.3)
            self.answer(200, "")
        else:
            self.answer(200, json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}))

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Served(ThreadingHTTPServer):
    """One such API server, with a handler class of its own to tell it what it refuses."""

    def __init__(self) -> None:
        class Here(Api):
            pass

        self.handler = Here
        super().__init__(("127.0.0.1", 0), self.handler)


@pytest.fixture
def server() -> Iterator[Served]:
    served = Served()
    served.daemon_threads = True
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def test_watching_is_being_handed_the_objects_and_ends_with_it(server: Served) -> None:
    absent = dict.fromkeys(("ca_path", "authorization", "certificate_path", "private_key_path"))
    there = Connection(server=f"http://127.0.0.1:{server.server_port}", insecure=True, **absent)
    stop, ready = threading.Event(), threading.Event()
    server.handler.refuses = True
    watcher = threading.Thread(
        target=run_watcher, args=(lambda: there, print), kwargs={"identity": "plimsoll-0", "stop": stop, "ready": ready}, daemon=True
    )
    watcher.start()
    try:
        assert not ready.wait(1.0), "nothing has been handed out yet"
        server.handler.refuses = False
        assert ready.wait(15)
        server.handler.refuses = True
        wait_until(lambda: not ready.is_set(), "the refusals to be noticed", timeout_s=15)
    finally:
        stop.set()
        watcher.join(10)
    assert not watcher.is_alive()
