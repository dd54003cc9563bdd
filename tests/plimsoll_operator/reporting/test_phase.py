"""The one word of `kubectl get infd`: worked out of the conditions, and contradicting none of them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from typing import Final, get_args

import pytest
from tests.folders import ROOT
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import Condition
from plimsoll_operator.conditions import (
    Blocked,
    ChildState,
    Invalid,
    Lack,
    ModelSeen,
    PodsFail,
    PodsRefused,
    Situation,
    conditions_of,
)
from plimsoll_operator.controller.reporting.status import status_of, with_bug
from plimsoll_operator.dispute import Dispute
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.phase import Phase, summary_of
from plimsoll_operator.reasons import PodsFailReason, Why
from plimsoll_operator.verdict import Admit, Reason, Reject, Undecided, Verdict

SERVES: Final = ChildState(current=True, desired=2, replicas=2, updated=2, ready=2, available=2, deadline_exceeded=False)
HALF: Final = replace(SERVES, ready=1, available=1)
STARTS: Final = replace(SERVES, ready=0, available=0)
NONE: Final = replace(SERVES, desired=0, replicas=0, updated=0, ready=0, available=0)
REJECT: Final = Reject(reason=Reason.INSUFFICIENT_KV_CACHE, message="The KV cache of this model is far too small here.", field="spec.x")
CAP: Final = Reject(reason=Reason.POLICY_CAP, message="The namespace may have no more GPUs than it has now.", field="spec.replicas")
UNKNOWN: Final = Undecided(
    reason=Reason.UNKNOWN_MODEL,
    message="The shape of acme/x is not known: no profile and no source has it.",
    next_step="Create a ModelProfile.",
)
QUOTA: Final = PodsRefused(message='pods "x-1" is forbidden: exceeded quota: small', final=True)
READY: Final = Situation(
    generation=4,
    verdict=Admit(plan=PLAN),
    adopting=True,
    model=ModelSeen(status="True", reason="Found", message="known"),
    applied_generation=4,
    replicas=2,
    bound=2,
    capacity_for_missing=True,
    child=SERVES,
)
REFUSED: Final = replace(READY, verdict=REJECT, applied_generation=None, child=None, bound=0)
RETRIED: Final = replace(READY, child=replace(STARTS, pods_refused=replace(QUOTA, final=False)))
WAITS: Final = replace(READY, bound=1, capacity_for_missing=False, child=HALF)
FAILS: Final = replace(READY, child=STARTS)


def fails(reason: PodsFailReason) -> Situation:
    return replace(FAILS, pods_fail=PodsFail(reason=reason, message="its container says why it does not come to serve", pods=2))


def conditions(situation: Situation) -> tuple[Condition, ...]:
    return conditions_of(situation, (), "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("why", "situation", "phase", "reason"),
    [
        ("all serve", READY, "Running", "Ready"),
        ("all serve, and today it would be refused", replace(READY, adopting=False, verdict=REJECT), "Running", "InsufficientKvCache"),
        ("none is wanted", replace(READY, replicas=0, bound=0, child=NONE), "ScaledToZero", "NoneWanted"),
        ("nothing is made yet", replace(READY, bound=0, child=None), "Starting", "Applying"),
        ("weights load", replace(READY, child=STARTS), "Starting", "RollingOut"),
        ("one serves, one loads", replace(READY, child=HALF), "RollingOut", "RollingOut"),
        ("a pod could not be made just now", RETRIED, "Starting", "PodsNotMade"),
        ("one serves, and the other finds no GPU", WAITS, "WaitingForGpus", "WaitingForGpus"),
        ("earlier pods are on their way", replace(WAITS, missing_because="turn"), "WaitingForTurn", "WaitingForTurn"),
        ("the scheduler does nothing", replace(WAITS, missing_because="scheduler"), "NotScheduled", "NotScheduled"),
        ("a pod does not exist", replace(WAITS, missing_because="pods"), "PodsAbsent", "PodsAbsent"),
        ("nobody knows what is free", replace(WAITS, missing_because="unknown"), "Pending", "FreeUnknown"),
        ("the engine ends again and again", fails(PodsFailReason.ENGINE_ENDS), "CrashLoop", "EngineEnds"),
        ("no image", fails(PodsFailReason.IMAGE_NOT_PULLED), "ImageNotPulled", "ImageNotPulled"),
        ("no Secret", fails(PodsFailReason.CONTAINER_NOT_STARTED), "ContainerNotStarted", "ContainerNotStarted"),
        ("the node is silent", fails(PodsFailReason.NODE_NOT_READY), "NodeNotReady", "NodeNotReady"),
        ("a quota", replace(READY, bound=0, child=replace(STARTS, pods_refused=QUOTA)), "PodsRefused", "PodsRefused"),
        ("a name is taken", replace(READY, child=None, blocked=Blocked(reason=Why.NAME_TAKEN, message="x")), "Blocked", "NameTaken"),
        ("another owner", replace(READY, blocked=Blocked(reason=Why.NOT_CONTROLLED, message="x")), "Blocked", "NotControlled"),
        ("the Deployment is refused", replace(READY, child=None, apply_problem="403"), "Blocked", "ApplyRefused"),
        ("no progress", replace(READY, child=replace(STARTS, deadline_exceeded=True)), "Overdue", "ProgressDeadlineExceeded"),
        ("somebody goes on changing it", replace(READY, dispute=Dispute(message="x", waiting=True)), "ChangedByOthers", "ChangedByOthers"),
        ("it was put back once", replace(READY, dispute=Dispute(message="x", waiting=False)), "Running", "Ready"),
        ("refused", REFUSED, "Rejected", "InsufficientKvCache"),
        ("a new spec is, the old pods serve", replace(READY, verdict=REJECT, applied_generation=3), "Rejected", "InsufficientKvCache"),
        ("replicas beyond a cap", replace(READY, adopting=False, beyond=1, beyond_because=CAP), "Rejected", "PolicyCap"),
        ("not known", replace(REFUSED, verdict=UNKNOWN), "Undecided", "UnknownModel"),
        ("cannot be read", replace(REFUSED, verdict=Invalid(message="spec: x")), "Invalid", "Invalid"),
    ],
)  # fmt: skip
def test_each_situation_has_its_word_and_the_reason_of_the_moment(why: str, situation: Situation, phase: str, reason: str) -> None:
    summary = summary_of(conditions(situation))
    assert summary is not None
    assert (summary.phase, summary.reason) == (phase, reason), why


def situations() -> Iterator[Situation]:
    """Every combination of what the conditions are made of, whether it can come about or not."""
    verdicts: tuple[Verdict | Invalid, ...] = (
        Admit(plan=PLAN),
        Admit(plan=PLAN, warnings=("Would be rejected.",), overridden=REJECT),
        REJECT,
        UNKNOWN,
        Invalid(message="x" * 40),
    )
    children = (None, SERVES, HALF, STARTS, NONE, replace(HALF, pods_refused=QUOTA), replace(STARTS, deadline_exceeded=True))
    holds = ((0, None), (2, CAP))
    unresolved = ModelSeen(status="False", reason="NotFound", message="no profile and no source has it")
    troubles: tuple[Situation, ...] = (
        READY,
        replace(READY, model=unresolved),
        replace(READY, blocked=Blocked(reason=Why.NAME_TAKEN, message="A Deployment of that name is somebody else's.")),
        replace(READY, apply_problem="403 Forbidden: exceeded quota of the namespace"),
        replace(READY, dispute=Dispute(message="the Deployment is changed by kubectl again and again", waiting=True)),
        *(fails(reason) for reason in PodsFailReason),
    )
    for verdict, child, hold, trouble, adopting, bound, replicas in product(
        verdicts, children, holds, troubles, (True, False), (0, 2), (0, 2)
    ):
        if isinstance(verdict, Invalid) and not adopting:
            continue  # what cannot be read is no plan that is judged again
        for lack in get_args(Lack):
            yield replace(
                trouble,
                verdict=verdict,
                child=child,
                beyond=hold[0],
                beyond_because=hold[1],
                adopting=adopting,
                bound=bound,
                replicas=replicas,
                missing_because=lack,
                capacity_for_missing=lack == "turn",
                applied_generation=None if child is None else 3,
            )


CALM: Final = {Phase.RUNNING, Phase.SCALED_TO_ZERO}
MOVING: Final = {
    Phase.STARTING, Phase.ROLLING_OUT, Phase.WAITING_FOR_GPUS, Phase.WAITING_FOR_TURN, Phase.NOT_SCHEDULED, Phase.PODS_ABSENT,
    Phase.PENDING, Phase.CHANGED_BY_OTHERS,
}  # fmt: skip


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.thorough)])
def test_the_word_contradicts_no_condition_and_a_sentence_stands_once_whatever_the_situation(every: int) -> None:
    reached: set[Phase] = set()
    for situation in islice(situations(), 0, None, every):
        rows = conditions(situation)
        said = {row.type: row for row in rows}
        summary = summary_of(rows)
        assert summary is not None
        reached.add(summary.phase)
        assert (said["Ready"].status == "True") == (summary.phase in CALM), situation
        assert (said["Stalled"].status == "True") == (summary.phase not in CALM | MOVING), situation
        assert summary.reason in {row.reason for row in rows}, situation
        if summary.phase in {Phase.RUNNING, Phase.ROLLING_OUT}:
            assert said["Available"].status == "True", situation
        if summary.phase is Phase.RUNNING:
            assert situation.replicas > 0, situation
        if summary.phase in {Phase.REJECTED, Phase.UNDECIDED}:
            assert said["Feasible"].status == {"Rejected": "False", "Undecided": "Unknown"}[summary.phase], situation
        if summary.phase in {Phase.WAITING_FOR_GPUS, Phase.WAITING_FOR_TURN, Phase.NOT_SCHEDULED, Phase.PODS_ABSENT}:
            assert said["CapacityAvailable"].status == "False", situation
        sentences = Counter(part for row in rows for part in set(re.split(r"[;.] ?", row.message)) if len(part) > 30)
        assert not [part for part, times in sentences.items() if times > 1], rows
    # WaitingForTurn needs GPUs that are not booked, Failed a bug of ours, Stalled a reason that nobody gives today.
    assert set(Phase) - reached == {Phase.WAITING_FOR_TURN, Phase.FAILED, Phase.STALLED}


def test_status_carries_the_word_and_an_error_of_ours_is_said_too() -> None:
    status = status_of(READY, plan=PLAN, proposed=None, selector="", previous=None, observed=None, now="2026-01-01T00:00:00Z")
    assert (status["ready"], status["phase"], status["reason"]) == ("2/2", "Running", "Ready")
    raw = {"apiVersion": API_VERSION, "metadata": {"generation": 4}, "status": status}
    broken = with_bug(raw, "An error of ours in the reconciler.", "2026-01-01T00:00:00Z")
    assert (broken["phase"], broken["reason"]) == ("Failed", "InternalError")
    assert summary_of([]) is None, "before anything was decided there is no word"


def test_the_page_has_every_word() -> None:
    page = (ROOT / "docs" / "status.md").read_text("utf-8")
    table = page.split("## In one word", 1)[1].split("\n## ", 1)[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([A-Za-z]+)`", " ".join(first))) == {str(phase) for phase in Phase} - {"Stalled"}
