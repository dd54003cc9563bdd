"""What goes with a reason stands at its member: the word of STATUS, and whether the plan in status stands with it."""

from typing import Final

import pytest

from plimsoll_operator.api import Condition
from plimsoll_operator.cli.explain import EXPLAINED
from plimsoll_operator.conditions import PLAN_STANDS, ConditionStatus
from plimsoll_operator.phase import Phase, summary_of
from plimsoll_operator.reasons import CONDITION_REASONS, NOT_READY, PodsFailReason

STALLED: Final = {
    "EngineEnds": "CrashLoop",
    "ImageNotPulled": "ImageNotPulled",
    "ContainerNotStarted": "ContainerNotStarted",
    "NodeNotReady": "NodeNotReady",
    "PodsRefused": "PodsRefused",
    "NameTaken": "Blocked",
    "NotControlled": "Blocked",
    "ApplyRefused": "Blocked",
    "ProgressDeadlineExceeded": "Overdue",
    "InternalError": "Failed",
}
LACKING: Final = {
    "WaitingForGpus": "WaitingForGpus",
    "WaitingForTurn": "WaitingForTurn",
    "NotScheduled": "NotScheduled",
    "PodsAbsent": "PodsAbsent",
    "FreeUnknown": "Pending",
}
OF_OBJECTS: Final = {"NameTaken", "NotControlled", "ApplyRefused"}


def condition(kind: str, status: ConditionStatus, reason: str) -> Condition:
    since = "2026-01-01T00:00:00Z"
    return Condition(type=kind, status=status, reason=reason, message="x", observed_generation=1, last_transition_time=since)


def test_each_reason_says_its_word_of_status() -> None:
    assert {reason: goes.status for reason, goes in NOT_READY.items()} == STALLED | LACKING


@pytest.mark.parametrize(("reason", "word"), STALLED.items())
def test_what_stalls_is_shown_by_the_word_of_its_reason(reason: str, word: str) -> None:
    summary = summary_of([condition("Ready", "False", reason), condition("Stalled", "True", reason)])
    assert summary is not None
    assert (summary.phase, summary.reason) == (word, reason)


@pytest.mark.parametrize(("reason", "word"), LACKING.items())
def test_what_lacks_gpus_is_shown_by_the_word_of_its_reason(reason: str, word: str) -> None:
    summary = summary_of([condition("Ready", "False", "Progressing"), condition("CapacityAvailable", "False", reason)])
    assert summary is not None
    assert (summary.phase, summary.reason) == (word, reason)


def test_the_plan_stands_with_what_speaks_of_the_pods_and_falls_with_what_refuses_its_objects() -> None:
    assert STALLED.keys() - OF_OBJECTS == PLAN_STANDS
    assert set(PodsFailReason) <= PLAN_STANDS, "a deleted child of pods that fail would come back with another plan"


def test_a_word_that_is_a_reason_too_says_the_same_wherever_it_is_read() -> None:
    shared = {str(why): why for why in CONDITION_REASONS}
    assert {phase for phase in Phase if str(phase) in shared and phase.said != shared[phase].said} == set()
    assert {phase for phase in Phase if EXPLAINED[phase] != (phase.means, phase.to_do)} == set()
