"""KubeClient against a small HTTP server: what it sends, and what it makes of answers a real server gives rarely."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from kubernetes import client
from tests.plimsoll_operator.quiet_server import QuietServer

from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.kube import KubeClient
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS, NODES, PODS


class Server:
    """Answers with what was queued and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, list[bytes]]] = []
        self.asked: list[tuple[str, str, dict[str, list[str]], dict[str, str], Any]] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                url = urlsplit(self.path)
                length = int(self.headers.get("content-length") or 0)
                outer.bodies.append(self.rfile.read(length))
                body = json.loads(outer.bodies[-1]) if length else None
                headers = {key.lower(): value for key, value in self.headers.items()}
                outer.asked.append((self.command, url.path, parse_qs(url.query), headers, body))
                status, chunks = outer.answers.pop(0)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for chunk in chunks:
                    self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def will(self, status: int, *bodies: object) -> None:
        self.answers.append((status, [json.dumps(body).encode() for body in bodies]))


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def kube(server: Server) -> KubeClient:
    configuration = client.Configuration(host=f"http://127.0.0.1:{server.http.server_port}")
    configuration.api_key["authorization"] = "Bearer secret"
    return KubeClient(configuration)


def refusal(code: int, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": f"{reason} it is"}


def test_a_missing_object_is_none_and_a_refusal_is_named(server: Server, kube: KubeClient) -> None:
    server.will(404, refusal(404, "NotFound"))
    assert kube.get(PODS, "ns", "p") is None
    server.will(403, refusal(403, "Forbidden"))
    with pytest.raises(ApiFailure, match="403 Forbidden: Forbidden it is") as raised:
        kube.get(PODS, "ns", "p")
    assert raised.value.status == 403
    assert server.asked[0][:2] == ("GET", "/api/v1/namespaces/ns/pods/p")
    assert server.asked[0][3]["authorization"] == "Bearer secret"


def test_apply_is_forced_under_one_field_manager_and_validated_strictly(server: Server, kube: KubeClient) -> None:
    server.will(200, {"metadata": {"name": "d"}})
    kube.apply(DEPLOYMENTS, {"metadata": {"namespace": "ns", "name": "d"}}, subresource="status")
    method, path, query, headers, body = server.asked[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/d/status")
    assert query == {"fieldManager": ["plimsoll-controller"], "force": ["true"], "fieldValidation": ["Strict"]}
    assert headers["content-type"] == "application/apply-patch+yaml"
    assert body == {"metadata": {"namespace": "ns", "name": "d"}}


UNDECLARED = {
    "kind": "Status",
    "code": 500,
    "message": "failed to create typed patch object (ns/d; inference.plimsoll.dev/v1alpha1, Kind=InferenceDeployment): errors:\n"
    '  .status.plan.podForm: field not declared in schema\n  .status.conditions[type="Ready"].since: field not declared in schema',
}  # as kube-apiserver 1.36.3 answered to an apply below an earlier release's kind


def test_a_status_is_written_without_what_an_earlier_release_s_kind_does_not_declare(
    server: Server, kube: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    ready, stalled = {"type": "Ready", "status": "True", "since": "now"}, {"type": "Stalled", "status": "False"}
    status = {"plan": {"podForm": 1, "digest": "d"}, "conditions": [ready, stalled], "replicas": 1}
    for _ in range(2):
        server.will(500, UNDECLARED)
        server.will(200, {"metadata": {"name": "d"}})
        kube.apply(INFERENCE_DEPLOYMENTS, {"metadata": {"namespace": "ns", "name": "d"}, "status": status}, subresource="status")
    left = {"plan": {"digest": "d"}, "conditions": [{"type": "Ready", "status": "True"}, stalled], "replicas": 1}
    assert [asked[4]["status"] for asked in server.asked] == [status, left] * 2
    said = [row.getMessage() for row in caplog.records]
    assert len(said) == 2
    assert "status.plan.podForm is not written" in said[1]
    assert "Apply the CustomResourceDefinitions of this release" in said[1]


@pytest.mark.parametrize(
    ("subresource", "refused", "why"),
    [
        ("", UNDECLARED, "a child is applied whole or not at all"),
        ("status", {**UNDECLARED, "message": ".status.gone: field not declared in schema"}, "nothing is left to leave out"),
        ("status", {**UNDECLARED, "message": "etcd: request timed out"}, "another failure"),
    ],
)
def test_any_other_refusal_of_an_apply_is_raised(
    server: Server, kube: KubeClient, subresource: str, refused: dict[str, Any], why: str
) -> None:
    server.will(500, refused)
    with pytest.raises(ApiFailure):
        kube.apply(INFERENCE_DEPLOYMENTS, {"metadata": {"name": "d"}, "status": {"plan": {"podForm": 1}}}, subresource=subresource)
    assert len(server.asked) == 1, why


@pytest.mark.parametrize("text", ["\U0001f600", "\U0010ffff", "a\U00020000b\\ud83d", "\x7f\x85\xa0\u2028\ufeff\uffff", "é", '"\\'])
def test_what_is_applied_is_the_same_for_a_reader_of_yaml(server: Server, kube: KubeClient, text: str) -> None:
    """The API server reads an apply as YAML, which knows no surrogate pairs and not every character unescaped."""
    server.will(200, {"metadata": {"name": "d"}})
    manifest = {"metadata": {"namespace": "ns", "name": "d", "annotations": {"note": text}}}
    kube.apply(DEPLOYMENTS, manifest)
    assert yaml.safe_load(server.bodies[0]) == manifest
    assert server.asked[0][4] == manifest


def test_what_was_not_there_is_applied_without_force(server: Server, kube: KubeClient) -> None:
    server.will(200, {"metadata": {"name": "d"}})
    kube.apply_new(DEPLOYMENTS, {"metadata": {"namespace": "ns", "name": "d"}})
    assert server.asked[0][2]["force"] == ["false"]


def test_lists_are_asked_for_in_pages(server: Server, kube: KubeClient) -> None:
    server.will(200, {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]})
    page = kube.list_page(NODES, selector="a=b", continue_token="before", limit=10)
    assert (page.resource_version, page.continue_token, len(page.items)) == ("7", "next", 1)
    assert server.asked[0][2] == {"limit": ["10"], "labelSelector": ["a=b"], "continue": ["before"]}


def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects(server: Server, kube: KubeClient) -> None:
    large = {"metadata": {"name": "large"}, "spec": {"pad": "x" * (3 << 20)}}
    page = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [large] * 4}
    for items in ([large] * 4, [large] * 2, [large], [large]):
        server.will(200, page | {"items": items})
    assert len(kube.list_page(PODS).items) == 1
    asked = [int(query["limit"][0]) for _, _, query, _, _ in server.asked]
    assert asked == sorted(asked, reverse=True)
    assert asked[0] == 500
    assert 1 <= asked[-1] < 125
    server.will(200, {"metadata": {"resourceVersion": "8"}, "items": []})
    kube.list_page(PODS, continue_token="more")
    assert int(server.asked[-1][2]["limit"][0]) == 2 * asked[-1], "the large ones may have been these alone"
    server.will(200, {"metadata": {"resourceVersion": "8"}, "items": []})
    kube.list_page(NODES)
    assert server.asked[-1][2]["limit"] == ["500"], "other kinds are listed as before"


def test_one_object_that_no_store_holds_is_a_failure_and_no_endless_list(server: Server, kube: KubeClient) -> None:
    beyond = {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}, "spec": "x" * (17 << 20)}]}
    for _ in range(6):
        server.will(200, beyond)
    with pytest.raises(ApiFailure, match="more than 16777216 bytes"):
        kube.list_page(PODS)
    assert [query["limit"] for _, _, query, _, _ in server.asked] == [["500"], ["125"], ["31"], ["7"], ["1"]]


def test_a_watch_is_read_line_by_line_wherever_the_chunks_end(server: Server, kube: KubeClient) -> None:
    lines = b"".join(
        json.dumps({"type": kind, "object": {"metadata": {"name": "é", "resourceVersion": str(version)}}}).encode() + b"\n"
        for version, kind in enumerate(("ADDED", "MODIFIED", "BOOKMARK"))
    )
    server.answers.append((200, [lines[:10], lines[10:95], lines[95:]]))
    events = list(kube.watch(NODES, resource_version="5"))
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "BOOKMARK"]
    assert server.asked[0][2]["allowWatchBookmarks"] == ["true"]


@pytest.mark.parametrize(
    ("status", "body"),
    [(410, refusal(410, "Expired")), (200, {"type": "ERROR", "object": refusal(410, "Expired")})],
    ids=["refused at the door", "told in the stream"],
)
def test_an_expired_watch_says_so(server: Server, kube: KubeClient, status: int, body: object) -> None:
    server.answers.append((status, [json.dumps(body).encode() + b"\n"]))
    with pytest.raises(WatchExpired):
        list(kube.watch(NODES, resource_version="5"))


def test_a_server_that_is_not_there_is_a_failure_without_status(server: Server) -> None:
    server.http.server_close()
    server.http.shutdown()
    gone = KubeClient(client.Configuration(host="http://127.0.0.1:9"))
    with pytest.raises(ApiFailure) as raised:
        gone.get(PODS, "ns", "p")
    assert raised.value.status == 0


def test_deleting_what_is_gone_is_no_failure(server: Server, kube: KubeClient) -> None:
    server.will(404, refusal(404, "NotFound"))
    kube.delete(PODS, "ns", "p")
    assert server.asked[0][0] == "DELETE"


def test_the_watcher_gets_the_same_credentials(kube: KubeClient) -> None:
    assert kube.connection().authorization == "Bearer secret"


def test_a_log_is_asked_for_by_container_and_never_read_beyond_the_limit(server: Server, kube: KubeClient) -> None:
    server.answers.append((200, [b"x" * 40, b"y" * 40, b"z" * 4000]))
    assert kube.pod_log("ns", "p", container="reader", limit_bytes=100) == b"x" * 40 + b"y" * 40 + b"z" * 20
    _, path, query, headers, _ = server.asked[0]
    assert (path, query) == ("/api/v1/namespaces/ns/pods/p/log", {"container": ["reader"], "limitBytes": ["100"]})
    assert headers["accept"] == "*/*"
    server.answers.append((200, [b"x"]))
    kube.pod_log("ns", "p", container="vllm", limit_bytes=100, lines=7, previous=True)
    assert server.asked[1][2] == {"container": ["vllm"], "limitBytes": ["100"], "previous": ["true"], "tailLines": ["7"]}


def test_a_log_that_is_refused_is_a_failure_with_its_reason(server: Server, kube: KubeClient) -> None:
    server.will(400, refusal(400, "BadRequest"))
    with pytest.raises(ApiFailure, match="400 BadRequest: BadRequest it is"):
        kube.pod_log("ns", "p", container="reader", limit_bytes=100)


def test_one_namespace_is_asked_for_by_its_own_path(server: Server, kube: KubeClient) -> None:
    server.will(200, {"metadata": {"resourceVersion": "7"}, "items": []})
    server.will(200, {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}})
    kube.list_page(PODS, namespace="team-a")
    list(kube.watch(PODS, namespace="team-a", resource_version="7"))
    assert [path for _, path, *_ in server.asked] == ["/api/v1/namespaces/team-a/pods"] * 2


def padded(kind: str, name: str, megabytes: int) -> list[bytes]:
    """One event whose line is so long, in pieces as a server sends it."""
    found = {"kind": "Pod", "metadata": {"name": name, "namespace": "ns", "resourceVersion": "7", "annotations": {"x": ""}}}
    head, tail = json.dumps({"type": kind, "object": found}, separators=(",", ":")).encode().split(b'"x":"', 1)
    return [head + b'"x":"', *[b"a" * (1 << 20)] * megabytes, tail + b"\n"]


def line(name: str, version: str) -> bytes:
    metadata = {"name": name, "namespace": "ns", "resourceVersion": version}
    return json.dumps({"type": "ADDED", "object": {"kind": "Pod", "metadata": metadata}}).encode() + b"\n"


def test_an_object_as_large_as_etcd_stores_is_news_like_any_other(server: Server, kube: KubeClient) -> None:
    server.answers.append((200, [*padded("ADDED", "large", 10), line("next", "8")]))
    assert [event.object["metadata"]["name"] for event in kube.watch(PODS, resource_version="1")] == ["large", "next"]


def test_one_larger_object_is_left_out_and_the_others_go_on(server: Server, kube: KubeClient) -> None:
    server.answers.append((200, [line("before", "6"), *padded("MODIFIED", "huge", 40), line("next", "8") + line("last", "9")]))
    assert [event.object["metadata"]["name"] for event in kube.watch(PODS, resource_version="1")] == ["before", "next", "last"]


def test_the_deletion_of_a_larger_object_is_not_missed(server: Server, kube: KubeClient) -> None:
    server.answers.append((200, [*padded("DELETED", "huge", 40), line("next", "8")]))
    with pytest.raises(ApiFailure, match="longer than"):
        list(kube.watch(PODS, resource_version="1"))
