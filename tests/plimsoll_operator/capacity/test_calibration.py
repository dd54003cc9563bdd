"""Corrections from running engines: whose evidence counts, how far it may move a need, and what the object says of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, admitted, deployment
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import H100

from plimsoll_operator import calibration
from plimsoll_operator.api import CalibrationTrust, EngineCalibration, FitPolicy, Plan, parse_object
from plimsoll_operator.controller.cluster.store import ParsedObjects
from plimsoll_operator.controller.reporting.calibration_writer import CalibrationWriter, condition_of
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import ENGINE_CALIBRATIONS, Manifest
from plimsoll_operator.verdict import Admit, Reject

MIB, GIB = 1 << 20, 1 << 30
TRUST = CalibrationTrust(mode="Apply", namespaces=("blue", "green", "red"))
H100_NAME = "NVIDIA-H100-80GB-HBM3"


def start(model: str, namespace: str, difference: int, predicted: int = 10 * GIB) -> Manifest:
    return {"model": model, "namespace": namespace, "predictedBytes": predicted, "observedBytes": predicted + difference}


def agreeing(add: int, *places: tuple[str, str]) -> list[Manifest]:
    return [start(model, namespace, add) for model, namespace in places or (("a", "blue"), ("b", "green"), ("c", "blue"))]


def correction(
    add: int = GIB, component: str = "nonTorch", minor: str = "0.19", evidence: list[Manifest] | None = None, **more: str
) -> Manifest:
    rows = agreeing(add) if evidence is None else evidence
    return {"engineMinor": minor, "component": component, "addBytes": add, "evidence": rows, **more}


def learned(*corrections: Manifest, name: str = "learned") -> EngineCalibration:
    item = {"apiVersion": API_VERSION, "kind": "EngineCalibration", "metadata": {"name": name}, "spec": {"corrections": list(corrections)}}
    return parse_object(EngineCalibration, item)


def policy(mode: str = "Apply", namespaces: Sequence[str] = ("blue", "green", "red"), name: str = "default") -> FitPolicy:
    spec = {"calibrationTrust": {"mode": mode, "namespaces": list(namespaces)}}
    selector: Manifest = {} if name == "default" else {"namespaceSelector": {}}
    return parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": name}, "spec": spec | selector})


OUTCOMES = [  # sentence, correction, trust, words of why it does not count
    ("three models of two trusted namespaces agree", correction(), TRUST, None),
    ("so they do on a lower need", correction(-GIB), TRUST, None),
    ("nothing counts while trust is off", correction(), CalibrationTrust(), "is Off"),
    ("two models are too few", correction(evidence=agreeing(GIB, ("a", "blue"), ("b", "green"))), TRUST, "2 models"),
    ("one namespace is too few", correction(evidence=agreeing(GIB, ("a", "blue"), ("b", "blue"), ("c", "blue"))), TRUST,
     "1 trusted namespace"),
    ("a model has one vote however often it starts",
     correction(evidence=agreeing(GIB, ("a", "blue"), ("a", "green"), ("a", "red"), ("b", "blue"))), TRUST, "2 models"),
    ("namespaces that nobody trusts have no vote",
     correction(evidence=agreeing(GIB, ("a", "blue"), ("b", "green"), ("c", "evil"), ("d", "evil"))), TRUST, "2 models"),
    ("starts that say otherwise do not agree", correction(evidence=agreeing(3 * GIB)), TRUST, "0 models"),
    ("starts of the other direction do not either", correction(evidence=agreeing(-GIB)), TRUST, "0 models"),
    ("as many dissenters stop it",
     correction(evidence=agreeing(GIB) + [start(m, "red", 0) for m in ("x", "y", "z")]), TRUST, "more than half"),
    ("fewer do not", correction(evidence=agreeing(GIB) + [start(m, "red", 0) for m in ("x", "y")]), TRUST, None),
    ("beyond the bound nothing counts", correction(17 * GIB), TRUST, "is outside"),
    ("nor below it", correction(-5 * GIB), TRUST, "is outside"),
    ("what is outside the budget is never lowered", correction(-GIB, "outsideBudget"), TRUST, "never lowered"),
    ("nothing at all is no correction", correction(0), TRUST, "adds nothing yet"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "given_", "trust", "words"), OUTCOMES, ids=[row[0] for row in OUTCOMES])
def test_what_counts(why: str, given_: Manifest, trust: CalibrationTrust, words: str | None) -> None:
    (row,) = learned(given_).spec.corrections
    found = calibration.why_not(row, trust)
    assert found is None if words is None else found is not None and words in found


def test_of_two_for_one_component_the_one_that_needs_more_counts() -> None:
    found = calibration.applied([learned(correction(GIB), name="a"), learned(correction(2 * GIB), name="b")], TRUST)
    assert [(row.source, row.add_bytes) for row in found] == [("b", 2 * GIB)]


def facts(*calibrations: EngineCalibration, mode: str = "Apply", engine: dict[str, int] | None = None) -> Facts:
    store = Files(H100, policies=[policy(mode)], calibrations=calibrations)
    wish = deployment(engine={"maxModelLen": 8192, "tensorParallelSize": 1} | (engine or {}))
    return facts_for(wish, store, applied_plan=None)


def plan(*calibrations: EngineCalibration, mode: str = "Apply") -> Plan:
    found = decide(facts(*calibrations, mode=mode))
    assert isinstance(found, Admit)
    return found.plan


def test_a_raised_need_leaves_less_cache_and_is_told() -> None:
    plain, raised = plan(), plan(learned(correction(2 * GIB)))
    assert raised.predicted.non_torch_bytes - plain.predicted.non_torch_bytes == 2 * GIB
    assert plain.predicted.kv_cache_bytes - raised.predicted.kv_cache_bytes == 2 * GIB
    told = admitted(decide(facts(learned(correction(2 * GIB))))).warnings
    assert "Figures are corrected by EngineCalibration learned: nonTorch +2.0 GiB." in told
    assert decide(facts(learned(correction(2 * GIB)), mode="Off")) == decide(facts())


def test_a_need_is_lowered_no_further_than_the_shipped_interval() -> None:
    plain = plan()
    for add in (-100 * MIB, -4 * GIB):
        lowered = plan(learned(correction(add)))
        gained = lowered.predicted.kv_cache_bytes - plain.predicted.kv_cache_bytes
        assert 0 < gained <= min(-add, plain.kv_cache_interval_bytes[1] - plain.predicted.kv_cache_bytes)


def test_more_outside_the_budget_lowers_the_utilisation() -> None:
    assert float(plan(learned(correction(4 * GIB, "outsideBudget"))).gpu_memory_utilization) < float(plan().gpu_memory_utilization)


MISSES = [
    ("another minor", correction(2 * GIB, minor="0.18")),
    ("another product", correction(2 * GIB, product="NVIDIA-L4")),
]


@pytest.mark.parametrize(("why", "given_"), MISSES, ids=[row[0] for row in MISSES])
def test_a_correction_of_something_else_changes_nothing(why: str, given_: Manifest) -> None:
    assert plan(learned(given_)) == plan()


def test_the_product_s_own_correction_comes_before_the_general_one() -> None:
    both = learned(correction(3 * GIB), correction(GIB, product=H100_NAME))
    assert plan(both).predicted.non_torch_bytes - plan().predicted.non_torch_bytes == GIB


def test_what_no_longer_fits_is_refused() -> None:
    heavy = learned(*(correction(16 * GIB, component) for component in ("weights", "activation", "nonTorch")))
    found = decide(facts(heavy, engine={"maxModelLen": 131072}))
    assert isinstance(decide(facts(engine={"maxModelLen": 131072})), Admit)
    assert isinstance(found, Reject)
    assert LLAMA_8B in found.message


@law(30)
@given(st.sampled_from(["weights", "activation", "cudaGraphs", "nonTorch"]), st.integers(-4 * GIB, 8 * GIB))
def test_no_correction_reservations_more_than_the_uncorrected_interval(component: str, add: int) -> None:
    plain, corrected = plan(), plan(learned(correction(add, component)))
    assert corrected.predicted.kv_cache_bytes <= plain.kv_cache_interval_bytes[1]
    if add >= 0:
        assert corrected.predicted.kv_cache_bytes <= plain.predicted.kv_cache_bytes
        assert corrected.kv_cache_tokens <= plain.kv_cache_tokens


CONDITIONS = [
    ("nothing to say of nothing", learned(), [policy()], ("False", "Empty")),
    ("no policy trusts", learned(correction()), [policy("Off")], ("False", "NotTrusted")),
    ("all count", learned(correction()), [policy()], ("True", "Applied")),
    ("one of two counts", learned(correction(), correction(component="weights", evidence=[])), [policy()], ("True", "PartlyApplied")),
    ("none counts", learned(correction(evidence=[])), [policy()], ("False", "NotEnoughEvidence")),
    ("one policy is enough", learned(correction()), [policy("Off"), policy(name="team")], ("True", "Applied")),
]


@pytest.mark.parametrize(("why", "item", "policies", "outcome"), CONDITIONS, ids=[row[0] for row in CONDITIONS])
def test_the_object_says_what_counts(why: str, item: EngineCalibration, policies: list[FitPolicy], outcome: tuple[str, str]) -> None:
    status, reason, message = condition_of(item, policies)
    assert (status, reason) == outcome
    if reason in ("PartlyApplied", "NotEnoughEvidence"):
        assert "does not count under FitPolicy default: 0 models of trusted namespaces agree" in message


def test_the_condition_is_written_once_and_again_when_it_changes() -> None:
    kube, objects = FakeKube(), ParsedObjects()
    item = {
        "apiVersion": API_VERSION,
        "kind": "EngineCalibration",
        "metadata": {"name": "learned"},
        "spec": {"corrections": [correction()]},
    }
    stored = kube.create(ENGINE_CALIBRATIONS, item)
    objects.engine_calibrations.changed(("", "learned"), None, stored)
    writer = CalibrationWriter(kube, objects, lambda: datetime(2026, 11, 26, tzinfo=UTC))

    def look() -> Manifest:
        writer.changed.set()
        writer.write_if_changed()
        now = kube.get(ENGINE_CALIBRATIONS, "", "learned")
        assert now is not None
        objects.engine_calibrations.changed(("", "learned"), None, now)
        return now

    first = look()
    (row,) = first["status"]["conditions"]
    assert (row["type"], row["status"], row["reason"]) == ("Applied", "False", "NotTrusted")
    assert look()["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"], "nothing new is not written"
    trusting = policy().model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    objects.policies.changed(("", "default"), None, {"apiVersion": API_VERSION, "kind": "FitPolicy", **trusting})
    (row,) = look()["status"]["conditions"]
    assert (row["status"], row["reason"]) == ("True", "Applied")


def test_facts_differ_by_what_counts_alone() -> None:
    assert replace(facts(learned(correction(evidence=[]))), corrections=()) == facts()
    assert facts(learned(correction(evidence=[]))).corrections == ()
