"""Text that cannot be written down and nesting without end: refused by name at every door, and nothing that is printed holds them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.decision_world import Files, undecided
from tests.plimsoll_operator.nodes import L4
from tests.plimsoll_operator.webhook_world import Webhook, manifest, review

from plimsoll_operator.api import KINDS, ApiError, ModelProfile, parse_inference_deployment, parse_object
from plimsoll_operator.controller.reporting.profile_status import status_of
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.profiles.frame import ForeignLog
from plimsoll_operator.profiles.hub import _listing
from plimsoll_operator.profiles.source import SourceFailure
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.webhook.review import BadReview, parse_review

SPECS: dict[str, dict[str, Any]] = {
    "InferenceDeployment": manifest()["spec"],
    "ModelProfile": {"model": "acme/x", "config": "{}"},
    "ClusterModelProfile": {"model": "acme/x", "config": "{}"},
    "GPUPool": {"product": "NVIDIA-L4"},
    "FitPolicy": {"mode": "Warn"},
    "EngineCalibration": {"engineMinor": "0.19"},
}
LONE = "a\ud800b"


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


def object_of(kind: str) -> dict[str, Any]:
    metadata = {"name": "x", "labels": {"a": "b"}, "annotations": {"a": "b"}}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": copy.deepcopy(SPECS[kind])}


PLACES = [
    ("a label", ("metadata", "labels", "a"), LONE, "metadata.labels.a"),
    ("an annotation", ("metadata", "annotations", "a"), LONE, "metadata.annotations.a"),
    ("a key of the spec", ("spec", LONE), 1, "spec"),
    ("a field that nobody knows", ("spec", "x"), [{"y": LONE}], "spec.x.y"),
    ("nesting in a field that nobody knows", ("spec", "x"), deep(70), ""),
    ("nesting beyond every stack", ("spec", "x"), deep(5000), ""),
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(("why", "path", "value", "field"), PLACES, ids=[row[0] for row in PLACES])
def test_every_kind_refuses_by_name(kind: str, why: str, path: tuple[str, ...], value: object, field: str) -> None:
    obj = object_of(kind)
    here = obj
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    with pytest.raises(ApiError) as caught:
        parse_object(KINDS[kind], obj)
    cause = caught.value.causes[0]
    assert cause.field == field, why
    assert "surrogate" in cause.message or "deep" in cause.message
    str(caught.value).encode()


INLINE = [
    ("half of a surrogate pair", '{"architectures":["\\ud800"]}', "config.architectures"),
    ("half of a pair in a key", '{"\\ud800": 1}', "half of a surrogate pair"),
    ("nesting that the parser just takes", '{"architectures":["LlamaForCausalLM"],"a":' * 300 + "1" + "}" * 300, "nests more than 64 deep"),
    ("nesting at the parser's end", '{"a":' * 992 + "1" + "}" * 992, "nests more than 64 deep"),
    ("more digits than Python reads", '{"hidden_size":' + "9" * 4301 + "}", "more than 64 digits"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "text", "says"), INLINE, ids=[row[0] for row in INLINE])
def test_an_inline_config_is_denied_with_a_sentence_that_can_be_written(why: str, text: str, says: str) -> None:
    webhook = Webhook()
    answer = webhook.ask(review(manifest(model={"name": "acme/x", "profile": {"inline": text}})))
    (cause,) = answer["status"]["details"]["causes"]
    assert (answer["allowed"], cause["field"]) == (False, "spec.model.profile.inline"), why
    assert says in cause["message"]
    json.dumps(answer, ensure_ascii=False).encode()


@pytest.mark.parametrize(("why", "text", "says"), INLINE, ids=[row[0] for row in INLINE])
def test_a_profile_with_such_a_config_says_so_in_its_status_and_decides_nothing(why: str, text: str, says: str) -> None:
    profile = parse_object(ModelProfile, object_of("ModelProfile") | {"spec": {"model": "acme/x", "config": text}})
    status = status_of(profile.spec, 1, {}, "2026-01-01T00:00:00Z")
    assert says in status["conditions"][0]["message"], why
    json.dumps(status, ensure_ascii=False).encode()
    wish = manifest(model={"name": "acme/x"})
    wish["metadata"] = {"name": "x", "namespace": "default"}
    profile = profile.model_copy(update={"metadata": profile.metadata.model_copy(update={"namespace": "default"})})
    verdict = undecided(decide(facts_for(parse_inference_deployment(wish), Files(L4, profiles=[profile]), applied_plan=None)))
    assert verdict.reason == "UnknownModel"
    assert says in verdict.message
    verdict.message.encode()


@law(60, derandomize=True)
@given(st.text(st.characters(codec=None), min_size=2, max_size=30))
def test_whatever_text_an_inline_config_quotes_the_answer_can_be_written(text: str) -> None:
    body = json.dumps({"architectures": [text], text: text, "hidden_size": text, "quantization_config": {"quant_method": text}})
    answer = Webhook().ask(review(manifest(model={"name": "acme/x", "profile": {"inline": body}})))
    json.dumps(answer, ensure_ascii=False).encode()


REVIEWS = [
    ("half of a pair in a user's name", json.dumps(review() | {"x": "\ud800"}), "surrogate"),
    ("raw bytes of half a pair", json.dumps(review()).encode().replace(b"u-1", b"\xed\xa0\x80"), "no UTF-8"),
    ("nesting beyond the objects' own", json.dumps(review()).replace('"u-1"', "[" * 80 + "]" * 80), "deep"),
    ("a number of many digits", json.dumps(review()).replace('"u-1"', "1" * 5000), "digits"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "body", "says"), REVIEWS, ids=[row[0] for row in REVIEWS])
def test_a_review_that_holds_them_is_no_review(why: str, body: str | bytes, says: str) -> None:
    with pytest.raises(BadReview, match=says) as caught:
        parse_review(body if isinstance(body, bytes) else body.encode())
    str(caught.value).encode()


def test_an_object_as_deep_as_allowed_gets_through_the_review_and_is_judged_by_itself() -> None:
    answer = Webhook().ask(review(manifest() | {"spec": manifest()["spec"] | {"x": deep(66)}}))
    assert answer["status"]["details"]["causes"][0]["message"].endswith("nests more than 64 deep")


@pytest.mark.parametrize("body", [b'{"sha": "\\ud800"}', b"[" * 3000, b'{"siblings":' + b"9" * 5000 + b"}", b'"\xff"'])
def test_a_hub_that_answers_so_is_unreachable(body: bytes) -> None:
    with pytest.raises(SourceFailure) as caught:
        _listing(body, "https://hub", "acme/x")
    assert caught.value.reason == "Unreachable"


def test_errors_that_quote_foreign_text_can_be_written() -> None:
    str(ForeignLog("its result holds \ud800")).encode()
    str(SourceFailure(NoShape.UNREACHABLE, "\udfff")).encode()
