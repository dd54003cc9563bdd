"""What a user is told will happen next where a model's shape is not known."""

from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import Files, manifest
from tests.plimsoll_operator.nodes import L4

from plimsoll_operator.api import InferenceDeployment, parse_inference_deployment
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.checks.unknown import next_step
from plimsoll_operator.facts import ModelUnknown
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.verdict import Reason, Undecided

NAMED = {"profile": {"name": "p"}}
CLAIM = {"source": {"persistentVolumeClaim": {"claimName": "weights"}}}
TOKEN = {"source": {"huggingFace": {"tokenSecretRef": {"name": "mine"}}}}
MAP = {"profile": {"configMapRef": {"name": "shape"}}}


def wish(**model: Any) -> InferenceDeployment:
    item = manifest()
    item["spec"]["model"] = {"name": "acme/in-house"} | model
    return parse_inference_deployment(item)


STEPS = [
    (
        "a hub model, at the door",
        {},
        NoShape.NOT_FOUND,
        False,
        "the controller reads the shape from the hub next, and ModelResolved says how",
    ),
    ("a ConfigMap", MAP, NoShape.NOT_FOUND, False, "the controller reads the ConfigMap next"),
    ("a volume", CLAIM, NoShape.NOT_FOUND, False, "a pod in this namespace reads the shape next"),
    ("a user's token", TOKEN, NoShape.NOT_FOUND, False, "a pod in this namespace reads the shape next"),
    ("a named profile that is missing", NAMED, NoShape.NOT_FOUND, False, "until that is put right; a ModelProfile decides it at once"),
    ("under way", {}, NoShape.RESOLVING, True, "No pods are made until it is read; it is decided then."),
    ("asked in vain", {}, NoShape.GATED, True, "It is asked again from time to time; a ModelProfile decides it at once"),
    ("broken", {}, NoShape.INVALID, True, "until that is put right"),
    ("two profiles", {}, NoShape.AMBIGUOUS, False, "until one of them goes, or spec.model.profile.name says which holds"),
    ("several files", {}, NoShape.AMBIGUOUS, True, "It is asked again from time to time"),
]


@pytest.mark.parametrize(("why", "model", "kind", "asked", "words"), STEPS, ids=[row[0] for row in STEPS])
def test_it_is_said_what_happens_next(why: str, model: Manifest, kind: NoShape, asked: bool, words: str) -> None:
    found = next_step(ModelUnknown(kind=kind, problem="why", asked=asked), wish(**model).spec.model, "team")
    assert words in found
    assert len(found) <= 256, "a warning of the webhook"


@pytest.mark.parametrize("model", [{}, MAP, CLAIM, TOKEN, NAMED])
def test_the_verdict_carries_it(model: Manifest) -> None:
    verdict = decide(facts_for(wish(**model), Files(L4), applied_plan=None))
    assert isinstance(verdict, Undecided)
    assert (verdict.reason, verdict.next_step.endswith("`plimsoll profile` makes one.")) == (Reason.UNKNOWN_MODEL, True)
