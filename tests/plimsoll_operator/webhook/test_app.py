"""The webhook as the API server meets it: HTTP in, AdmissionReview out, bounded bodies, readiness, metrics and logs."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.plimsoll_operator.webhook_world import MemoryStore, Webhook, manifest, never, review

from plimsoll_operator.webhook.bodies import MAX_BODY_BYTES


def broken(**request: Any) -> bytes:
    body = review()
    body["request"] |= request
    return json.dumps(body).encode()


BAD = [
    ("no body", b""),
    ("no JSON", b"{"),
    ("not UTF-8", b"\xff\xfe{}"),
    ("nested beyond the parser", b"[" * 100_000),
    ("a list", b"[]"),
    ("another kind", b'{"apiVersion":"v1","kind":"Pod"}'),
    ("no request", b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}'),
    ("an old version", broken().replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1")),
    ("no uid", broken(uid=None)),
    ("an unknown operation", broken(operation="PATCH")),
    ("an operation that is a list", broken(operation="x" * 10)),
    ("another resource", broken(resource={"group": "", "resource": "pods"})),
    ("a resource that is text", broken(resource="pods")),
    ("an object that is text", broken(object="x")),
    ("a namespace that is a number", broken(namespace=3)),
]


@pytest.mark.parametrize(("why", "body"), BAD, ids=[why for why, _ in BAD])
def test_what_is_no_review_is_a_400_that_says_why(why: str, body: bytes) -> None:
    answer = Webhook(judge=never).call("POST", "/validate", content=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True), why


def test_bodies_are_bounded_whether_they_say_their_length_or_not() -> None:
    body = b'{"a":"' + b"x" * MAX_BODY_BYTES + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    webhook = Webhook(judge=never)
    assert webhook.call("POST", "/validate", content=body).status_code == 413
    assert webhook.call("POST", "/validate", content=chunks()).status_code == 413


def test_two_mebibytes_of_annotations_are_judged_like_any_object() -> None:
    heavy = manifest()
    heavy["metadata"] = heavy["metadata"] | {"annotations": {"a": "x" * (2 << 20)}}
    assert Webhook().ask(review(heavy))["allowed"] is True


def test_not_ready_before_the_caches_are_and_while_stopping() -> None:
    webhook = Webhook(store=MemoryStore(synced=False), judge=never)
    assert [webhook.call("GET", path).status_code for path in ("/healthz", "/readyz")] == [200, 503]
    assert webhook.call("POST", "/validate", json=review()).status_code == 503
    webhook.store.synced = True
    assert webhook.call("GET", "/readyz").status_code == 200
    webhook.app.stopping = True
    assert webhook.call("GET", "/readyz").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/validate", 405), ("POST", "/metrics", 405), ("GET", "/", 404), ("POST", "/validate/x", 404), ("PUT", "/readyz", 405)],
)
def test_other_paths_and_methods(method: str, path: str, status: int) -> None:
    assert Webhook(judge=never).call(method, path).status_code == status


def test_every_review_is_counted_once_by_operation_verdict_and_reason() -> None:
    webhook = Webhook()
    webhook.ask(review())
    webhook.ask(review(manifest(replicas=-1)))
    webhook.ask(review({}, old=manifest(), operation="DELETE"))
    webhook.call("POST", "/validate", content=b"{")
    text = webhook.call("GET", "/metrics").text
    for labels in (
        'operation="CREATE",reason="Fits",verdict="Admit"',
        'operation="CREATE",reason="Invalid",verdict="Invalid"',
        'operation="DELETE",reason="Unchanged",verdict="Skipped"',
    ):
        assert f"plimsoll_admission_reviews_total{{{labels}}} 1.0" in text
    assert "plimsoll_admission_review_duration_seconds_count 3.0" in text


def test_a_bug_in_one_review_is_its_own_500_with_a_traceback_and_the_next_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook(judge=never)
    answer = webhook.call("POST", "/validate", json=review())
    assert (answer.status_code, answer.json()["error"]) == (500, "an error of the webhook itself; its log has all of it")
    assert "Traceback" in caplog.text
    assert "without a judgement" in caplog.text
    assert webhook.ask(review({}, old=manifest(), operation="DELETE"))["allowed"] is True
    assert 'plimsoll_internal_errors_total{unit="review"} 1.0' in webhook.call("GET", "/metrics").text


def test_a_review_changes_nothing_it_was_given() -> None:
    body = review()
    before = copy.deepcopy(body)
    Webhook().ask(body)
    assert body == before


def test_a_name_with_a_line_break_forges_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Webhook().ask(review(name="x\n2026 ERROR forged"))
    assert [record.getMessage() for record in caplog.records if "team/x" in record.getMessage()] == [
        "CREATE team/x 2026 ERROR forged: Admit Fits"
    ]
