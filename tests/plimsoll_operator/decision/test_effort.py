"""One decision has a bound: the same number of looks everywhere, and a caller's deadline where it has one. Counted, never timed."""

import dataclasses
import itertools

import pytest
from tests.bench.timing import forget
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, deployment, refused, undecided
from tests.plimsoll_operator.nodes import H100, L4, T4, gpu_node

from plimsoll_operator.decision import OutOfTime, decide, decide_within
from plimsoll_operator.decision.effort import MOST_LOOKS
from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Reason, Reject, Undecided, Verdict

WISHES = [
    ("what is admitted", {"model": LLAMA_8B, "engine": {"maxModelLen": 16384}}),
    ("what is refused with offers", {"model": LLAMA_70B, "engine": {"maxModelLen": 131072, "tensorParallelSize": 2}}),
    ("what is resized", {"model": LLAMA_70B, "engine": {"maxModelLen": 131072, "tensorParallelSize": 2},
     "fit": {"policy": "Resize", "mayChange": ["maxModelLen"]}}),
    ("what follows from a workload", {"model": LLAMA_8B, "engine": {}, "workload": {"useCase": "chat"}}),
]  # fmt: skip
EACH = pytest.mark.parametrize(("why", "wish"), WISHES, ids=[row[0] for row in WISHES])


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    forget()


def facts_of(wish: Manifest, *nodes: Manifest) -> Facts:
    return facts_for(deployment(**wish), Files(*(nodes or (H100, L4, T4)), lws=True), applied_plan=None)


def counted(facts: Facts, most_looks: int = MOST_LOOKS) -> tuple[Verdict, int]:
    """The verdict, and the looks it took."""
    looks: list[None] = []
    return decide(facts, checkpoint=lambda: looks.append(None), most_looks=most_looks), len(looks)


def same_but_for_offers(found: Verdict, whole: Verdict) -> bool:
    if not isinstance(found, Reject) or not isinstance(whole, Reject):
        return found == whole
    offered = whole.offers[: len(found.offers)] == found.offers
    return offered and dataclasses.replace(found, message=whole.message, offers=whole.offers, offers_cut=False) == whole


class Clock:
    """Moves on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.thorough
@EACH
def test_a_decision_is_stopped_at_any_look_and_never_ends_in_a_plan(why: str, wish: Manifest) -> None:
    facts = facts_of(wish)
    looks = counted(facts)[1]
    forget()
    for seconds in range(1, looks + 1, 5):
        found = decide_within(facts, Clock(), seconds)
        if isinstance(found, Undecided):
            assert (found.reason, found.message) == ("OutOfTime", f"deciding did not end within {seconds} seconds."), why
        else:
            assert same_but_for_offers(found, decide(facts)), why
            forget()
    assert decide_within(facts, Clock(), looks + 1) == decide(facts)


@EACH
def test_a_stopped_decision_is_not_remembered(why: str, wish: Manifest) -> None:
    facts = facts_of(wish)
    stopped = undecided(decide_within(facts, Clock(), 2))
    assert stopped.reason == "OutOfTime"
    assert decide(facts) != stopped, why


@pytest.mark.thorough
@EACH
def test_a_budget_of_looks_ends_in_the_same_verdict_everywhere(why: str, wish: Manifest) -> None:
    facts = facts_of(wish)
    whole, looks = counted(facts)
    for most in range(1, looks, 5):
        found = decide(facts, most_looks=most)
        if isinstance(found, Undecided):
            assert (found.reason, found.message) == ("TooComplex", f"deciding takes more than {most} estimates.")
        else:
            assert same_but_for_offers(found, whole), why
        forget()
        assert decide(facts, most_looks=most) == found, "what is remembered of the model saves time and no looks"
    assert decide(facts, most_looks=looks) == whole


def test_the_checkpoint_may_say_so_by_itself() -> None:
    def checkpoint() -> None:
        raise OutOfTime

    with pytest.raises(OutOfTime):
        decide(facts_of(WISHES[0][1]), checkpoint=checkpoint)


HONEST = [
    ("every pinned value may move, nothing fits", {"model": LLAMA_70B, "engine": {
        "maxModelLen": 131072, "tensorParallelSize": 2, "pipelineParallelSize": 2, "maxNumSeqs": 512, "gpuMemoryUtilization": 0.02},
        "fit": {"policy": "Resize", "mayChange": ["tensorParallelSize", "pipelineParallelSize", "maxNumSeqs"]},
        "placement": {"maxNodesPerReplica": 8}}),
    ("a size that may move over 64 nodes of which none would do", {"model": LLAMA_70B, "engine": {
        "tensorParallelSize": 2, "gpuMemoryUtilization": 0.02}, "fit": {"policy": "Resize", "mayChange": ["tensorParallelSize"]},
        "placement": {"maxNodesPerReplica": 64}}),
    ("a workload that no number of replicas on eight nodes each holds", {"model": LLAMA_70B, "engine": {}, "replicas": 4, "workload": {
        "requestClasses": [{"name": "long", "promptTokens": 100000, "outputTokens": 20000, "concurrency": 400000},
                           {"name": "short", "promptTokens": 1000, "outputTokens": 2000, "concurrency": 400}]},
        "placement": {"maxNodesPerReplica": 8}}),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(("why", "wish"), HONEST, ids=[row[0] for row in HONEST])
def test_honest_wishes_stay_far_below_the_budget(why: str, wish: Manifest) -> None:
    cluster = [
        gpu_node(f"{name}-{number}", name, 8, mib) for name, mib in (("NVIDIA-L4", 23034), ("Tesla-T4", 15360)) for number in range(64)
    ]
    found, looks = counted(facts_of(wish, *cluster))
    assert isinstance(found, Reject), why
    assert 100 < looks < MOST_LOOKS // 10


def test_a_certain_rejection_is_told_with_the_offers_that_little_effort_finds() -> None:
    facts = facts_of(WISHES[1][1])
    whole = refused(decide(facts))
    assert len(whole.offers) > 1
    found = []
    for step in (0.0, 0.001, 0.005, 0.01, 0.02):
        forget()
        now = [0.0]

        def effort(now: list[float] = now, step: float = step) -> float:
            now[0] += step
            return now[0]

        verdict = refused(decide_within(facts, lambda: 0.0, 60, effort=effort))
        assert same_but_for_offers(verdict, whole)
        found.append(len(verdict.offers))
    assert found[0] == len(whole.offers)
    assert found == sorted(found, reverse=True)
    assert found[-1] < len(whole.offers)


@pytest.mark.parametrize("crowd", [1, 2, 8, 200])
def test_the_more_decisions_wait_the_fewer_offers_are_looked_for_and_it_is_said(crowd: int) -> None:
    facts = facts_of(WISHES[1][1])
    whole = refused(decide(facts))
    forget()
    spent = itertools.count(0, 1e-4)
    verdict = refused(decide_within(facts, lambda: 0.0, 60, effort=lambda: next(spent), at_hand=lambda: crowd))
    assert same_but_for_offers(verdict, whole)
    assert verdict.offers_cut == (crowd > 1)
    assert len(verdict.offers) == len(whole.offers) if crowd == 1 else len(verdict.offers) < len(whole.offers)
    assert refused(decide(facts)) == whole, "what was cut is not remembered"


@pytest.mark.parametrize(
    ("each_look", "decided"),
    [
        pytest.param(1e-6, True, id="a verdict that takes little work is given"),
        pytest.param(0.3, False, id="one that takes more is left to who has more time"),
    ],
)
def test_what_takes_more_work_than_a_review_may_is_left_to_the_controller(each_look: float, decided: bool) -> None:
    facts = facts_of(WISHES[0][1])
    spent = itertools.count(0, each_look)
    found = decide_within(facts, lambda: 0.0, 60, effort=lambda: next(spent))
    if decided:
        assert found == decide(facts)
    else:
        assert isinstance(found, Undecided)
        assert found.reason == Reason.TOO_COMPLEX
        assert "controller" in found.next_step
