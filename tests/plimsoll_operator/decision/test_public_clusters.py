"""Clusters and manifests that people published, each with the answer that is right (data/public_clusters.json, with what says so)."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from tests.folders import DATA
from tests.plimsoll_operator.decision_world import Files

from plimsoll_operator.api import InferenceDeployment, parse_inference_deployment
from plimsoll_operator.api.parse import ApiError
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_workload
from plimsoll_operator.verdict import Admit, Resize, Verdict

DOCUMENT = json.loads((DATA / "public_clusters.json").read_text(encoding="utf-8"))
CASES = DOCUMENT["cases"]


def wish(case: Manifest) -> Manifest:
    metadata = {"name": "x", "namespace": "default"}
    return {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": metadata, "spec": case["spec"]}


@dataclass(frozen=True)
class Invalid:
    """What the API server refuses by the schema."""

    field: str
    message: str


def answered(case: Manifest) -> tuple[InferenceDeployment | None, Verdict | Invalid]:
    """The deployment and the verdict on it; None and why where the API itself refuses it."""
    try:
        deployment = parse_inference_deployment(wish(case))
    except ApiError as error:
        return None, Invalid(error.causes[0].field, error.causes[0].message)
    store = Files(*(DOCUMENT["nodes"][name] for name in case["nodes"]), corrections=case.get("gpuPools", ()), lws=True)
    return deployment, decide(facts_for(deployment, store, applied_plan=None))


def said(verdict: Verdict | Invalid) -> str:
    parts = [getattr(verdict, "message", ""), getattr(verdict, "next_step", ""), *getattr(verdict, "details", ())]
    return " ".join([*parts, *getattr(verdict, "warnings", ())])


def holds(found: Any, right: Any) -> bool:
    return bool(right[0] <= found <= right[1] if isinstance(right, list) else found == right)


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_what_people_run_and_wrote_is_answered_rightly(case: Manifest) -> None:
    right = case["answer"]
    deployment, found = answered(case)
    text = said(found)
    assert (type(found).__name__, getattr(found, "reason", None)) == (right["verdict"], right.get("reason")), text
    assert right.get("field") in (None, getattr(found, "field", None))
    assert all(words in text for words in right.get("says", ())), text
    offered = text + str(getattr(found, "offers", ()))
    assert all(offer not in offered for offer in right.get("never", ())), offered
    plan = found.plan if isinstance(found, Admit | Resize) else None
    for name, value in right.get("plan", {}).items():
        assert holds(getattr(plan, name), value), (name, getattr(plan, name), value)
    if right["verdict"] == "Admit":
        assert deployment is not None
        assert plan is not None
        check_pod(render_workload(deployment, plan, Origin(generation=1, spec_digest="", replan="")), right)


def check_pod(workload: Manifest, right: Manifest) -> None:
    """What the pod carries: every argument asked for, in one run, and probes that reach the server."""
    spec = workload["spec"]
    template = spec["template"] if "template" in spec else spec["leaderWorkerTemplate"]["leaderTemplate"]
    engine = template["spec"]["containers"][0]
    wanted = right.get("args", [])
    assert any(engine["args"][at : at + len(wanted)] == wanted for at in range(len(engine["args"])))
    for key, value in right.get("probe", {}).items():
        assert all(engine[probe]["httpGet"][key] == value for probe in ("startupProbe", "livenessProbe", "readinessProbe"))


def test_every_answer_says_what_it_is_right_by() -> None:
    assert all(case["source"] for case in CASES)
    assert len({case["why"] for case in CASES}) == len(CASES) >= 20
