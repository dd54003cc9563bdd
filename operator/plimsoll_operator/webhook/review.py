"""AdmissionReview in and out: one request parsed without trust, one answer built within Kubernetes' limits.

Used by the ASGI app. Knows the admission.k8s.io/v1 wire form and how kubectl prints it; knows no verdicts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_estimator import DEEPEST, InvalidInput, parse_json
from plimsoll_operator.names import GROUP
from plimsoll_operator.text import one_line
from plimsoll_operator.verdict import MAX_WARNING

MAX_WARNINGS: Final = 12
MAX_CAUSES: Final = 12
MAX_CAUSE: Final = 1024
_HEAD_BYTES: Final = 4096
_HEAD: Final = {
    "uid": re.compile(rb'"uid" ?: ?"([0-9A-Za-z-]{1,64})"'),
    "subResource": re.compile(rb'"subResource" ?: ?"([a-z]{1,63})"'),
    "name": re.compile(rb'"name" ?: ?"([-a-z0-9.]{1,253})"'),
    "namespace": re.compile(rb'"namespace" ?: ?"([-a-z0-9]{1,63})"'),
    "operation": re.compile(rb'"operation" ?: ?"([A-Z]{1,16})"'),
}
_BARE: Final = {403: "Forbidden", 504: "Timeout"}
_OPERATIONS: Final = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})

_LEVELS_ABOVE: Final = 8  # of the review around its objects, whose own depth is judged as that of any object


class BadReview(ValueError):
    """The body is no AdmissionReview for this webhook: answered with 400, never with a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One admission request. `obj` and `old` are as the API server sent them; empty when it sent none."""

    uid: str
    operation: str
    namespace: str
    name: str
    sub_resource: str
    obj: Mapping[str, Any]
    old: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One cause of a refusal: a field path, or empty, and a sentence."""

    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the API server is told. `verdict`, `reason` and `plan_json` (canonical, empty without a plan) go to the audit log."""

    allowed: bool
    verdict: str
    reason: str = ""
    warnings: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    code: int = 422
    plan_json: str = ""


def parse_review(body: bytes) -> Review:
    """Raises BadReview on anything that is no AdmissionReview v1 of an InferenceDeployment or its scale."""
    try:
        data = parse_json(body, "the body", deepest=DEEPEST + _LEVELS_ABOVE)
    except InvalidInput as error:
        raise BadReview(str(error)) from error
    if not isinstance(data, Mapping) or data.get("kind") != "AdmissionReview" or data.get("apiVersion") != "admission.k8s.io/v1":
        raise BadReview("the body is not an AdmissionReview of admission.k8s.io/v1")
    request = data.get("request")
    if not isinstance(request, Mapping):
        raise BadReview("request is missing")
    uid, operation = request.get("uid"), request.get("operation")
    if not isinstance(uid, str) or not uid:
        raise BadReview("request.uid is missing")
    if operation not in _OPERATIONS:
        raise BadReview("request.operation is not one of CREATE, UPDATE, DELETE and CONNECT")
    resource = request.get("resource")
    if not isinstance(resource, Mapping) or (resource.get("group"), resource.get("resource")) != (GROUP, "inferencedeployments"):
        raise BadReview(f"request.resource is not inferencedeployments.{GROUP}")
    return Review(
        uid=uid,
        operation=operation,
        namespace=_text(request, "namespace"),
        name=_text(request, "name"),
        sub_resource=_text(request, "subResource"),
        obj=_object(request, "object"),
        old=_object(request, "oldObject"),
    )


def head_of(body: bytes) -> Review:
    """What can be told of a review before it is parsed, to take turns by and to answer with when there is no time left to parse it.

    The API server writes these before anything that users write; where they are not found, they stay empty. Nothing is decided by them.
    """
    head = body[:_HEAD_BYTES]
    found = {name: match[1].decode() for name, pattern in _HEAD.items() if (match := pattern.search(head)) is not None}
    return Review(
        uid=found.get("uid", ""),
        operation=found.get("operation", ""),
        namespace=found.get("namespace", ""),
        name=found.get("name", ""),
        sub_resource=found.get("subResource", ""),
        obj={},
        old={},
    )


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key)
    if value is not None and not isinstance(value, str):
        raise BadReview(f"request.{key} is not a string")
    return value or ""


def _object(request: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = request.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise BadReview(f"request.{key} is not an object")
    return value or {}


def render_review(review: Review, answer: Answer) -> bytes:
    """The AdmissionReview to send back."""
    response: dict[str, Any] = {"uid": review.uid, "allowed": answer.allowed}
    if answer.warnings:
        response["warnings"] = [one_line(warning, MAX_WARNING) for warning in answer.warnings[:MAX_WARNINGS]]
    if not answer.allowed:
        response["status"] = _status(review, answer)
    if answer.reason:
        noted = {"verdict": answer.verdict, "reason": answer.reason, "plan": answer.plan_json}
        response["auditAnnotations"] = {key: value for key, value in noted.items() if value}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return json.dumps(body, separators=(",", ":")).encode()


def _status(review: Review, answer: Answer) -> dict[str, Any]:
    # kubectl prints the causes and drops the message, except where there are none: both carry the main sentence.
    message = one_line(answer.faults[0].message if answer.faults else "refused", MAX_CAUSE)
    if answer.code in _BARE:
        return {"code": answer.code, "reason": _BARE[answer.code], "message": message}
    return {
        "code": answer.code,
        "reason": "Invalid",
        "message": message,
        "details": {"name": review.name, "group": GROUP, "kind": "InferenceDeployment", "causes": _causes(answer.faults)},
    }


def _causes(faults: Sequence[Fault]) -> list[dict[str, str]]:
    shown = faults[:MAX_CAUSES]
    return [{"reason": "FieldValueInvalid", "field": fault.field, "message": one_line(fault.message, MAX_CAUSE)} for fault in shown]
