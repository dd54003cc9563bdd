"""A stand-in for the Hugging Face hub that speaks its real HTTP: model API, resolve redirects, ranges, ETag, refusals, and worse.

Behaviour is set on the server object; every request is kept in `seen` with its headers.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "89abcdef01234567" * 2 + "89abcdef"
MODEL = "acme/in-house"


@dataclass
class Repo:
    """One model. `refs` are its branches and tags, `sizes` what the API claims where that differs, `refuse` an answer to everything."""

    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "refs/pr/1": COMMIT})
    refuse: tuple[int, dict[str, str]] | None = None

    def commit(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.refs.values() else None)


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", *, headers: Mapping[str, str] | None = None, **more: str) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        hub = self.server
        with hub.lock:
            hub.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            refusal = hub.refusals.pop(0) if hub.refusals else None
        if refusal is not None:
            return self.answer(refusal[0], headers=refusal[1])
        if hub.delay_seconds:
            time.sleep(hub.delay_seconds)
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/api/models/"):
            return self.api(path.removeprefix("/api/models/"))
        name, _, rest = path.lstrip("/").partition("/resolve/")
        commit, _, file = rest.partition("/")
        repo = hub.repos.get(name)
        if repo is None or repo.commit(commit) is None or file not in repo.files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if hub.drip:
            return self.dripping()
        if file.endswith(".safetensors") and hub.storage:
            return self.answer(302, Location=f"{hub.storage}{self.path}?X-Amz-Signature=1", X_Repo_Commit=commit)
        return self.file(repo.files[file])

    def api(self, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        repo = self.server.repos.get(name)
        if repo is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if repo.refuse is not None:
            return self.answer(repo.refuse[0], headers=repo.refuse[1])
        commit = repo.commit(revision or "main")
        if commit is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = [{"rfilename": file, "size": repo.sizes.get(file, len(data))} for file, data in repo.files.items()]
        body = json.dumps({"id": name, "sha": commit, "siblings": files}).encode()
        return self.answer(200, self.server.listing or body, Content_Type="application/json")

    def dripping(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)

    def file(self, data: bytes) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        if not self.server.ranges:
            return self.answer(200, data, ETag=tag)
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        return self.answer(206, part, ETag=tag, Content_Range=f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")


class HubServer(ThreadingHTTPServer):
    """`files` and `sizes` are those of MODEL."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.lock = threading.Lock()
        self.repos = {MODEL: Repo()}
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.listing: bytes | None = None
        self.storage: str | None = None
        self.ranges, self.drip, self.delay_seconds = True, False, 0.0
        self.url = f"http://{host}:{self.server_port}"

    @property
    def files(self) -> dict[str, bytes]:
        return self.repos[MODEL].files

    @files.setter
    def files(self, files: dict[str, bytes]) -> None:
        self.repos[MODEL].files = files

    @property
    def sizes(self) -> dict[str, int]:
        return self.repos[MODEL].sizes

    @sizes.setter
    def sizes(self, sizes: dict[str, int]) -> None:
        self.repos[MODEL].sizes = sizes

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the client may leave before the end of what it did not ask for
            super().handle_error(request, client_address)


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[HubServer]:
    """A server on a thread of its own, for as long as the block runs."""
    server = HubServer(host)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


TOKEN = "hf_" + "secretsecret"
