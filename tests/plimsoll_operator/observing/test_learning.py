"""What starts teach: by agreeing votes, shrunk, inside bounds, and never by what was learned already."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, admitted, deployment
from tests.plimsoll_operator.nodes import H100
from tests.plimsoll_operator.observing.learning_world import L4_ALONE, seen
from tests.plimsoll_operator.observing.logs import log_of, start

from plimsoll_estimator import GIB, MIB
from plimsoll_estimator.overhead.intervals import CAUSES
from plimsoll_operator.api import CalibrationTrust, CauseOfDoubt, Correction, EngineCalibration, Evidence, FitPolicy, Plan, parse_object
from plimsoll_operator.calibration import MOST_LOWERED_BYTES, MOST_RAISED_BYTES, applied, why_not, why_unsupported
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.learning import MOST_CORRECTIONS, MOST_EVIDENCE, Kind, NoVote, Seen, bounded, kind_of, learn, seen_in_status
from plimsoll_operator.names import API_VERSION

ALL = ("blue", "green", "red")
COLD = replace(L4_ALONE, cause="v2_cold")
THREE = (("a", "blue"), ("b", "green"), ("c", "blue"))


def starts(residual: int, *places: tuple[str, str], kind: Kind = L4_ALONE) -> list[Seen]:
    return [seen(model, namespace, residual, kind) for model, namespace in places or THREE]


def added(*found: Seen) -> int:
    (row,) = learn((), found).corrections
    return row.add_bytes


TAUGHT = [
    ("three models of two namespaces, by five sixths of what they say", starts(GIB), (GIB * 4 // 5, GIB * 9 // 10)),
    ("less is needed", starts(-GIB), (-GIB * 9 // 10, -GIB * 4 // 5)),
    ("two models are too few", starts(GIB, ("a", "blue"), ("b", "green")), (0, 0)),
    ("one namespace is too few", starts(GIB, ("a", "blue"), ("b", "blue"), ("c", "blue")), (0, 0)),
    ("one model has one vote however often it starts", starts(GIB, ("a", "blue"), ("a", "green"), ("a", "red")), (0, 0)),
    ("what differs from start to start is no cause", starts(200 * MIB), (0, 0)),
    ("starts that disagree", [*starts(GIB, ("a", "blue")), *starts(-GIB, ("b", "green")), *starts(3 * GIB, ("c", "red"))], (0, 0)),
    ("one that is far off beside four that agree", [*starts(GIB, *THREE, ("d", "red")), *starts(9 * GIB, ("x", "red"))],
     (GIB * 4 // 5, GIB)),
    ("engines that found their graphs compiled take nothing from a first start", starts(-GIB, kind=COLD), (0, 0)),
    ("a first start that takes more is believed", starts(GIB, kind=COLD), (GIB * 4 // 5, GIB * 9 // 10)),
]  # fmt: skip


@pytest.mark.parametrize(("why", "found", "between"), TAUGHT, ids=[row[0] for row in TAUGHT])
def test_what_is_learned(why: str, found: list[Seen], between: tuple[int, int]) -> None:
    assert between[0] <= added(*found) <= between[1]


def test_more_models_are_believed_further() -> None:
    places = [(f"m{number}", "blue" if number % 2 else "green") for number in range(20)]
    assert added(*starts(GIB, *places[:3])) < added(*starts(GIB, *places[:6])) < added(*starts(GIB, *places)) < GIB


def test_what_counts_where_it_was_learned_is_what_the_policy_lets_count() -> None:
    """The evidence is judged once more where it is applied: without one of the namespaces it is too little."""
    (row,) = learn((), starts(GIB)).corrections
    assert why_not(row, CalibrationTrust(mode="Apply", namespaces=ALL)) is None
    assert why_not(row, CalibrationTrust(mode="Apply", namespaces=("blue", "red"))) is not None
    assert why_not(row, CalibrationTrust(namespaces=ALL)) is not None


def test_evidence_that_moves_nothing_yet_is_kept_and_counts_later() -> None:
    early = learn((), starts(GIB, ("a", "blue"), ("b", "blue")))
    assert early.corrections[0].add_bytes == 0
    assert len(early.corrections[0].evidence) == 2
    later = learn(early.corrections, starts(GIB, ("c", "green")))
    assert later.corrections == learn((), starts(GIB, ("a", "blue"), ("b", "blue"), ("c", "green"))).corrections
    assert later.corrections[0].add_bytes > 0


def test_an_outlier_is_told_and_moves_nothing() -> None:
    four = starts(GIB, *THREE, ("d", "red"))
    learned = learn((), [*four, *starts(9 * GIB, ("x", "red"))])
    assert len(learned.outliers) == 1
    assert "x is off by +9.00 GiB" in learned.outliers[0]
    assert "it moves nothing" in learned.outliers[0]


def test_what_an_administrator_wrote_stays_as_it_is() -> None:
    by_hand = Correction(engine_minor="0.27", component="activation", add_bytes=GIB)
    for_all = Correction(engine_minor="0.27", component="nonTorch", add_bytes=GIB, product="NVIDIA-L4")
    learned = learn((by_hand, for_all), starts(2 * GIB))
    assert learned.corrections[:2] == (by_hand, for_all)
    assert [kind_of(row) for row in learned.corrections] == [None, None, L4_ALONE]


def test_kinds_do_not_vote_for_one_another() -> None:
    others = [replace(L4_ALONE, engine_minor="0.26"), replace(L4_ALONE, product="NVIDIA-A10G")]
    others += [replace(L4_ALONE, cause="encoder"), replace(L4_ALONE, interconnect="pcie")]
    votes = [seen(model, namespace, GIB, kind) for kind, (model, namespace) in zip(others, (*THREE, ("d", "red")), strict=True)]
    assert {row.add_bytes for row in learn((), votes).corrections} == {0}
    assert len(learn((), votes).corrections) == 4


def test_the_words_of_the_api_are_those_of_the_estimator() -> None:
    assert get_args(CauseOfDoubt) == CAUSES


_residuals = st.integers(min_value=-MOST_LOWERED_BYTES, max_value=MOST_RAISED_BYTES)
_rows = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(ALL), _residuals), max_size=24)


@given(_rows, st.randoms(use_true_random=False))
@law(200)
def test_no_starts_at_all_leave_the_bounds_and_their_order_is_nothing(rows: list[tuple[str, str, int]], random: object) -> None:
    found = [seen(*row) for row in rows]
    learned = learn((), found)
    for row in learned.corrections:
        votes = [start.residual_bytes for start in found]
        assert min([0, *votes]) <= row.add_bytes <= max([0, *votes])
        assert row.add_bytes == 0 or why_unsupported(row, ALL) is None
    assert learn((), sorted(found, key=lambda start: (start.observed_bytes, start.model))).corrections == learned.corrections
    assert learn(learned.corrections, found).corrections == learned.corrections, "the same starts twice teach no more than once"


HONEST = [seen(f"h{number}", "blue" if number % 2 else "green", GIB) for number in range(6)]


def assert_not_moved(hostile: list[Seen]) -> None:
    """Nothing is learned, or what the honest starts tell."""
    found = added(*HONEST, *hostile)
    assert found == 0 or abs(found - GIB) <= GIB // 3


@given(st.lists(st.tuples(st.integers(0, 60), _residuals), max_size=60))
@law(200)
def test_one_trusted_namespace_moves_no_constant_alone(lies: list[tuple[int, int]]) -> None:
    """It can make its own votes stand against those of others; a constant that others do not agree with it cannot make."""
    assert_not_moved([seen(f"x{number}", "evil", residual) for number, residual in lies])


@pytest.mark.parametrize("size", [-3 * GIB, 3 * GIB, 15 * GIB])
def test_nor_beside_somebody_s_one_outlier(size: int) -> None:
    """One start of four that is far off for a reason of its own is no second namespace for whoever says the same of many models."""
    honest = [seen(f"h{number}", "blue", MIB * number) for number in range(4)]
    outlier, hostile = seen("h4", "blue", size * 4 // 5), [seen(f"x{number}", "evil", size) for number in range(9)]
    assert added(*honest, outlier, *hostile) == 0


@given(st.lists(st.tuples(st.integers(0, 5), _residuals), max_size=60))
@law(200)
def test_nor_by_starting_the_models_of_others_more_often(lies: list[tuple[int, int]]) -> None:
    assert_not_moved([seen(f"h{number}", "evil", residual) for number, residual in lies])
    for size in (-2 * GIB, 3 * GIB):
        evidence = [
            Evidence(model=s.model, namespace=s.namespace, predicted_bytes=4 * GIB, observed_bytes=s.observed_bytes) for s in HONEST
        ]
        evidence += [Evidence(model=s.model, namespace="evil", predicted_bytes=4 * GIB, observed_bytes=4 * GIB + size) for s in HONEST] * 4
        row = Correction(engine_minor="0.27", component="nonTorch", add_bytes=size, evidence=tuple(evidence))
        assert why_unsupported(row, ("blue", "green", "evil")) is not None


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(ALL), st.integers(0, 1 << 40)), max_size=300))
@law(50)
def test_evidence_is_bounded_and_every_namespace_is_heard(rows: list[tuple[str, str, int]]) -> None:
    found = bounded(Evidence(model=model, namespace=namespace, predicted_bytes=1, observed_bytes=size) for model, namespace, size in rows)
    assert len(found) <= MOST_EVIDENCE
    assert {(row.namespace, row.model) for row in found} == {(namespace, model) for model, namespace, _ in rows}


def test_a_namespace_of_a_thousand_models_pushes_out_nobody() -> None:
    flood = [seen(f"x{number}", "evil", GIB) for number in range(1000)]
    (row,) = learn((), [*flood, *starts(GIB)]).corrections
    assert len(row.evidence) == MOST_EVIDENCE
    assert {one.namespace for one in row.evidence} == {"blue", "evil", "green"}


def test_an_object_holds_so_many_corrections_and_says_what_it_leaves_out() -> None:
    kinds = [replace(L4_ALONE, product=f"NVIDIA-X{number}") for number in range(MOST_CORRECTIONS + 2)]
    learned = learn((), [seen("a", "blue", GIB, kind) for kind in kinds])
    assert len(learned.corrections) == MOST_CORRECTIONS
    assert learned.outliers == ("2 kinds of starts are left out: an EngineCalibration holds 256 corrections",)


def test_kinds_that_one_namespace_tells_of_push_out_no_correction() -> None:
    """Sorted by name they would come first."""
    flood = [replace(L4_ALONE, engine_minor="0.10", product=f"NVIDIA-A{number}") for number in range(MOST_CORRECTIONS)]
    learned = learn((), [*(seen("a", "evil", GIB, kind) for kind in flood), *starts(GIB)])
    assert [kind_of(row) for row in learned.corrections if row.add_bytes] == [L4_ALONE]


def plan_under(corrections: Sequence[Correction]) -> Plan:
    """Llama 3.1 8B on an H100, under a policy that trusts all three namespaces."""
    spec = {"corrections": [row.model_dump(mode="json", by_alias=True, exclude_none=True) for row in corrections]}
    learned = {"apiVersion": API_VERSION, "kind": "EngineCalibration", "metadata": {"name": "learned"}, "spec": spec}
    trust = {"calibrationTrust": {"mode": "Apply", "namespaces": list(ALL)}}
    policy = {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": trust}
    store = Files(H100, policies=[parse_object(FitPolicy, policy)], calibrations=[parse_object(EngineCalibration, learned)])
    return admitted(decide(facts_for(deployment(engine={"maxModelLen": 8192}), store, applied_plan=None))).plan


def taught(plan: Plan, more: int) -> Seen:
    """What is seen of an engine of this plan that takes so much more than is predicted of it without any correction."""
    cache = plan.predicted.kv_cache_bytes + plan.calibrated_bytes - more
    found = seen_in_status(plan, start(log_of(plan, kv_gib=cache / GIB), plan), namespace="red")
    assert isinstance(found, Seen), found
    return found


def test_what_was_learned_is_no_evidence_for_itself() -> None:
    """Under the corrected plan the same engine tells the same residual, so that the correction neither decays nor grows."""
    plain = plan_under(())
    first = taught(plain, 2 * GIB)
    assert abs(first.residual_bytes - 2 * GIB) < 16 * MIB
    learned = learn((), [replace(first, model=model, namespace=namespace) for model, namespace in THREE])
    corrected = plan_under(learned.corrections)
    assert corrected.calibrated_bytes == learned.corrections[0].add_bytes > 0
    assert corrected.predicted.kv_cache_bytes < plain.predicted.kv_cache_bytes
    again = taught(corrected, 2 * GIB)
    assert abs(again.residual_bytes - first.residual_bytes) < 16 * MIB
    assert again.kind == first.kind


def test_nor_is_a_correction_of_weights_which_no_residual_is_taken_from() -> None:
    """Else what was corrected in the weights would be learned once more beside them."""
    kind = taught(plan_under(()), 0).kind
    row = Correction(
        engine_minor=kind.engine_minor, product=kind.product, component="weights", add_bytes=GIB,
        evidence=tuple(Evidence(model=m, namespace=n, predicted_bytes=4 * GIB, observed_bytes=5 * GIB) for m, n in THREE),
    )  # fmt: skip
    plain, corrected = plan_under(()), plan_under((row,))
    assert corrected.predicted.weights_bytes - plain.predicted.weights_bytes == GIB
    assert corrected.calibrated_bytes == 0
    assert abs(taught(corrected, 0).residual_bytes) < 16 * MIB


def test_a_lowered_need_is_recorded_as_far_as_it_was_lowered() -> None:
    """The interval stops a correction short, and only what it did is taken out of the prediction again."""
    kind = taught(plan_under(()), 0).kind
    row = Correction(
        engine_minor=kind.engine_minor, product=kind.product, component="nonTorch", add_bytes=-3 * GIB,
        evidence=tuple(Evidence(model=m, namespace=n, predicted_bytes=4 * GIB, observed_bytes=GIB) for m, n in THREE),
    )  # fmt: skip
    plain, lowered = plan_under(()), plan_under((row,))
    before = plain.predicted.total_bytes - plain.predicted.kv_cache_bytes
    assert lowered.calibrated_bytes == lowered.predicted.total_bytes - lowered.predicted.kv_cache_bytes - before < 0
    assert lowered.calibrated_bytes > -3 * GIB


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"interconnect": "none"}, True),
        ({"interconnect": "nvlink"}, False),
        ({"cause_of_doubt": "encoder"}, False),
        ({"interconnect": "none", "cause_of_doubt": "experts"}, False),
    ],
)
def test_a_correction_holds_for_the_kind_that_it_names(change: dict[str, str], holds: bool) -> None:
    evidence = tuple(Evidence(model=m, namespace=n, predicted_bytes=GIB, observed_bytes=2 * GIB) for m, n in THREE)
    row = Correction(engine_minor="0.19", component="nonTorch", add_bytes=GIB, evidence=evidence)
    assert (plan_under((row.model_copy(update=change),)).calibrated_bytes > 0) is holds


def test_the_narrower_of_two_corrections_holds() -> None:
    evidence = tuple(Evidence(model=m, namespace=n, predicted_bytes=GIB, observed_bytes=3 * GIB) for m, n in THREE)
    wide = Correction(engine_minor="0.19", component="nonTorch", add_bytes=2 * GIB, evidence=evidence)
    lower = tuple(row.model_copy(update={"observed_bytes": 2 * GIB}) for row in evidence)
    narrow = wide.model_copy(update={"interconnect": "none", "add_bytes": GIB, "evidence": lower})
    for pair in ((wide, narrow), (narrow, wide)):
        assert plan_under(pair).calibrated_bytes == GIB
    calibration = parse_object(
        EngineCalibration,
        {"apiVersion": API_VERSION, "kind": "EngineCalibration", "metadata": {"name": "x"},
         "spec": {"corrections": [row.model_dump(mode="json", by_alias=True, exclude_none=True) for row in (wide, narrow)]}},
    )  # fmt: skip
    assert len(applied([calibration], CalibrationTrust(mode="Apply", namespaces=ALL))) == 2


def test_what_counts_is_asked_of_the_object_as_it_was_read() -> None:
    """Whatever is remembered is of that object and that trust: another of the same name is counted by itself."""
    (row,) = learn((), starts(GIB)).corrections
    head = {"apiVersion": API_VERSION, "kind": "EngineCalibration", "metadata": {"name": "x"}}
    full, empty = (
        parse_object(EngineCalibration, head | {"spec": {"corrections": [one.model_dump(mode="json", by_alias=True) for one in rows]}})
        for rows in ((row,), ())
    )
    trust = CalibrationTrust(mode="Apply", namespaces=ALL)
    for _ in range(2):
        assert [one.add_bytes for one in applied([full], trust)] == [row.add_bytes]
        assert applied([empty], trust) == ()
        assert applied([full], CalibrationTrust(mode="Apply", namespaces=("blue",))) == ()
        assert applied([full], CalibrationTrust(namespaces=ALL)) == ()


STATUS = [
    ("another release than planned", {"version": "0.18.0"}, "is vLLM 0.18.0"),
    ("no weights that could be the model's", {"weights_gib": 10.0}, "another model"),
    ("a cache that cannot be", {"kv_gib": 4000.0}, "cannot be"),
    ("off by more than any correction may be", {"kv_gib": 2.0}, "no correction may be"),
]


@pytest.mark.parametrize(("why", "said", "words"), STATUS, ids=[row[0] for row in STATUS])
def test_a_start_that_cannot_be_of_its_plan_has_no_vote(why: str, said: dict[str, Any], words: str) -> None:
    plan = plan_under(())
    found = seen_in_status(plan, start(log_of(plan, **said), plan), namespace="red")
    assert isinstance(found, NoVote)
    assert words in found.why
    assert plan.model == LLAMA_8B


def test_a_plan_of_an_earlier_release_has_no_vote() -> None:
    plan = replace(plan_under(()), cause_of_doubt="")
    found = seen_in_status(plan, start(log_of(plan), plan), namespace="red")
    assert isinstance(found, NoVote)
