"""What a profile's own status says of it, whoever wrote it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.plimsoll_operator.checkpoints import CONFIG
from tests.plimsoll_operator.decision_world import Files, manifest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import L4

from plimsoll_operator.api import ModelProfileSpec, parse_inference_deployment
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.reporting.profile_status import status_of
from plimsoll_operator.decision import decide
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.facts import ModelFacts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, MODEL_PROFILES, Manifest

WEIGHTS = {"totalBytes": 8, "byDtype": [{"dtype": "BF16", "bytes": 8}]}
NOW, LATER = "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"


def spec(text: str = json.dumps(CONFIG), **fields: Any) -> ModelProfileSpec:
    return ModelProfileSpec.model_validate({"model": "acme/x", "config": text} | fields)


CASES = [
    ("a whole one", spec(weights=WEIGHTS), "True", "Found", "the shape can be read"),
    ("without totals", spec(), "True", "Found", "weights are sized from the config alone"),
    ("no JSON", spec("{nope"), "False", "Invalid", "is not JSON"),
    ("no model class", spec("{}"), "False", "Invalid", "must name the model class"),
    ("a class without rules", spec('{"architectures": ["AcmeForCausalLM"]}'), "False", "Unsupported", "AcmeForCausalLM"),
]


@pytest.mark.parametrize(("why", "given", "status", "reason", "words"), CASES, ids=[row[0] for row in CASES])
def test_what_is_said_of_a_profile(why: str, given: ModelProfileSpec, status: str, reason: str, words: str) -> None:
    found = status_of(given, 3, {}, NOW)
    (row,) = found["conditions"]
    assert (row["status"], row["reason"], row["observedGeneration"], found["observedGeneration"]) == (status, reason, 3, 3)
    assert words in row["message"]


def test_the_digest_is_the_decisions_own_and_times_move_with_the_status() -> None:
    first = status_of(spec(weights=None), 1, {}, NOW)
    item = manifest()
    item["spec"]["model"] = {"name": "acme/x", "profile": {"inline": json.dumps(CONFIG)}}
    facts = facts_for(parse_inference_deployment(item), Files(L4), applied_plan=None)
    assert isinstance(facts.model, ModelFacts)
    assert first["digest"] == facts.model.digest
    again = status_of(spec(weights=WEIGHTS), 2, first, LATER)
    assert again["conditions"][0]["lastTransitionTime"] == NOW
    broken = status_of(spec("{}"), 3, again, LATER)
    assert broken["conditions"][0]["lastTransitionTime"] == LATER


def profile(namespace: str, name: str, text: str = json.dumps(CONFIG)) -> Manifest:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"metadata": metadata, "spec": {"model": "acme/x", "config": text}}


def test_it_is_written_once_for_each_generation_and_tried_again_when_refused() -> None:
    kube = FakeKube()
    now = [0.0]
    controller = Controller(kube, decide, identity="test", clock=lambda: now[0])
    kinds = {MODEL_PROFILES: "ModelProfile", CLUSTER_MODEL_PROFILES: "ClusterModelProfile"}
    for resource, kind in kinds.items():
        namespace = "team" if resource.namespaced else ""
        kube.create(resource, profile(namespace, "p") | {"apiVersion": resource.api_version, "kind": kind})

    def settle() -> int:
        before = len(kube.writes)
        for informer in controller.informers:
            informer.relist()
        while controller.profile_status.loop.run_once(0):
            pass
        return len(kube.writes) - before

    kube.fail_next("apply", ApiFailure(500, "InternalError", "no"))
    assert settle() == 1
    now[0] += 10
    assert settle() == 1
    assert settle() == 0
    found = kube.get(MODEL_PROFILES, "team", "p")
    assert found is not None
    assert found["status"]["architecture"] == "LlamaForCausalLM"
    kube.replace(MODEL_PROFILES, {**found, "spec": {**found["spec"], "config": "{}"}})
    assert settle() == 1
    changed = kube.get(MODEL_PROFILES, "team", "p")
    assert changed is not None
    assert changed["status"]["conditions"][0]["reason"] == "Invalid"
    assert datetime.fromisoformat(changed["status"]["conditions"][0]["lastTransitionTime"]).tzinfo == UTC
