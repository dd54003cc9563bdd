from dataclasses import replace

import pytest
from tests.plimsoll_operator.plans import PLAN

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_operator.api import Condition
from plimsoll_operator.conditions import (
    MAX_MESSAGE,
    ChildState,
    Invalid,
    Lack,
    ModelSeen,
    PodsRefused,
    Situation,
    conditions_of,
    model_seen,
)
from plimsoll_operator.facts import ModelFacts, ModelUnknown
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.verdict import Admit, Change, Reason, Reject, Resize, Undecided

REJECT = Reject(reason=Reason.INSUFFICIENT_KV_CACHE, message="The KV cache is too small.", field="spec.engine.maxModelLen")
CAPPED = Reject(reason=Reason.POLICY_CAP, message="Too many.", field="spec.replicas")
OVERRIDDEN = Admit(plan=PLAN, warnings=("Would be rejected (InsufficientKvCache), but the FitPolicy only warns: no.",), overridden=REJECT)
UNKNOWN = Undecided(reason=Reason.UNKNOWN_MODEL, message="No profile answers for acme/x.", next_step="Create a ModelProfile.")
RUNNING = ChildState(current=True, desired=2, replicas=2, updated=2, ready=2, available=2, deadline_exceeded=False)
NONE = replace(RUNNING, desired=0, replicas=0, updated=0, ready=0, available=0)
STARTING = replace(RUNNING, updated=1, ready=0, available=0)
FOUND = ModelSeen(status="True", reason="Found", message="known")
NOT_FOUND = ModelSeen(status="False", reason="NotFound", message="none")
READY = Situation(
    generation=4,
    verdict=Admit(plan=PLAN),
    adopting=True,
    model=FOUND,
    applied_generation=4,
    replicas=2,
    bound=2,
    capacity_for_missing=True,
    child=RUNNING,
)
ORDER = ("ModelResolved", "Feasible", "CapacityAvailable", "Progressing", "Available", "Ready", "Stalled", "AsPredicted")
RESIZED = Resize(plan=PLAN, changes=(Change(field="engine.maxModelLen", old="131072", new="8192", why="memory"),))


A, B = "a" * 40, "b" * 40


def known(revision: str | None, note: str = "") -> ModelFacts:
    return ModelFacts(name="acme/x", revision=revision, config=HfConfig({}), weights=None, source="catalogue", digest="d", note=note)


def unknown(kind: NoShape) -> ModelUnknown:
    return ModelUnknown(kind=kind, problem="why")


@pytest.mark.parametrize(
    ("why", "model", "planned", "status", "reason", "words"),
    [
        ("where it is known from", known(None), None, "True", "Found", "the shape is known from catalogue"),
        ("and at which commit", known(A), A, "True", "Found", f"the shape is known from catalogue at commit {A}"),
        ("and what is not known of it", known("main", "no totals"), None, "True", "Found", "the shape is known from catalogue; no totals"),
        (
            "a branch that moved since",
            known(B),
            A,
            "True",
            "DigestChanged",
            f"moved from commit {A} to {B} since the plan was made; the pods",
        ),
        ("a plan of before the commit was known", known(B), "main", "True", "Found", f"at commit {B}"),
        ("being read", unknown(NoShape.RESOLVING), None, "Unknown", "Resolving", "why"),
        ("gated", unknown(NoShape.GATED), A, "False", "Gated", "why"),
        ("not found", unknown(NoShape.NOT_FOUND), None, "False", "NotFound", "why"),
    ],
)
def test_model_resolved(why: str, model: ModelFacts | ModelUnknown, planned: str | None, status: str, reason: str, words: str) -> None:
    seen = model_seen(model, replace(PLAN, model_revision=planned))
    assert (seen.status, seen.reason) == (status, reason), why
    assert words in seen.message


@pytest.mark.parametrize(
    ("situation", "statuses"),
    [
        (READY, "True True True False True True False"),
        (replace(READY, verdict=RESIZED), "True True True False True True False"),
        (replace(READY, verdict=OVERRIDDEN), "True False True False True True False"),
        (replace(READY, bound=0, child=STARTING), "True True True True False False False"),
        (replace(READY, bound=1, capacity_for_missing=False, child=STARTING), "True True False True False False False"),
        (replace(READY, child=None, bound=0), "True True True True False False False"),
        (replace(READY, verdict=REJECT, applied_generation=None, child=None, bound=0), "True False Unknown False False False True"),
        (
            replace(READY, verdict=UNKNOWN, model=NOT_FOUND, applied_generation=None, child=None, bound=0),
            "False Unknown Unknown False False False True",
        ),
        (replace(READY, verdict=REJECT, applied_generation=3), "True False True False True False True"),
        (replace(READY, verdict=REJECT, adopting=False), "True False True False True True False"),
        (replace(READY, child=replace(STARTING, deadline_exceeded=True)), "True True True False False False True"),
        (replace(READY, child=replace(RUNNING, current=False)), "True True True True True False False"),
        (
            replace(READY, replicas=0, bound=0, child=NONE),
            "True True True False True True False",
        ),
        (
            replace(READY, verdict=Invalid(message="spec.model: is required"), applied_generation=None, child=None, bound=0),
            "Unknown Unknown Unknown False False False True",
        ),
        (replace(READY, adopting=False, beyond=2, beyond_because=CAPPED), "True False True False True False True"),
        (
            replace(READY, adopting=False, replicas=0, bound=0, beyond=2, beyond_because=CAPPED, child=NONE),
            "True False False False False False True",
        ),
    ],
    ids=[
        "admitted and all replicas available: current",
        "resized and available: feasible, because a moved value fits",
        "pods made against the prediction: not feasible, and yet served and not stalled",
        "pods not yet bound while GPUs are free: in progress",
        "too few free GPUs: not a refusal, but capacity is not available",
        "nothing applied yet: in progress",
        "rejected without pods: stalled, so that kstatus says Failed",
        "an unknown model is not known to fit and not known not to",
        "a refused new spec stalls while the old pods go on answering",
        "a re-judged plan that would be refused now leaves the running pods ready",
        "a rollout beyond its deadline is stalled",
        "a Deployment whose controller has not seen the new spec is not ready",
        "zero replicas wanted and none there: ready",
        "an object that cannot be read is stalled and unknown",
        "replicas that a cap holds stall, and the others serve",
        "and where it holds all of them nothing serves",
    ],
)
def test_conditions(situation: Situation, statuses: str) -> None:
    found = conditions_of(situation, (), "2026-01-01T00:00:00Z")
    assert tuple(condition.type for condition in found) == ORDER
    assert " ".join(condition.status for condition in found) == f"{statuses} Unknown", "no engine of these has been read"
    assert {condition.observed_generation for condition in found} == {4}


def by_type(conditions: tuple[Condition, ...]) -> dict[str, Condition]:
    return {condition.type: condition for condition in conditions}


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = conditions_of(replace(READY, bound=0, child=STARTING), (), "2026-01-01T00:00:00Z")
    after = by_type(conditions_of(READY, before, "2026-01-01T00:05:00Z"))
    assert after["Ready"].last_transition_time == "2026-01-01T00:05:00Z"
    assert after["Feasible"].last_transition_time == "2026-01-01T00:00:00Z"


def test_a_refusal_says_what_happens_to_the_pods() -> None:
    none = by_type(conditions_of(replace(READY, verdict=REJECT, applied_generation=None, child=None), (), "t"))
    assert none["Feasible"].message == "The KV cache is too small."
    assert (none["Stalled"].message, none["Ready"].message) == ("see Feasible; no pods are made", "see Feasible")
    assert none["Stalled"].reason == none["Ready"].reason == "InsufficientKvCache"
    kept = by_type(conditions_of(replace(READY, verdict=REJECT, applied_generation=3), (), "t"))
    assert kept["Stalled"].message == "see Feasible; the existing pods keep running on the plan of generation 3"
    asked = by_type(conditions_of(replace(READY, verdict=UNKNOWN, applied_generation=None, child=None), (), "t"))
    assert "Create a ModelProfile." in asked["Feasible"].message


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (Invalid(message="spec.replicas: -1 must be at least 0"), "spec.replicas: -1 must be at least 0"),
        (
            replace(UNKNOWN, next_step="No pods are made until it is read."),
            "No profile answers for acme/x. No pods are made until it is read.",
        ),
    ],
)
def test_a_refusal_stands_in_feasible_alone(verdict: Invalid | Undecided, message: str) -> None:
    found = by_type(conditions_of(replace(READY, verdict=verdict, applied_generation=None, child=None), (), "t"))
    assert found["Feasible"].message == message
    assert [row.type for row in found.values() if message in row.message] == ["Feasible"]


WAITS = "Fits 1 x NVIDIA-L4 per replica, but not enough GPUs are free now for 2 replicas of 1 GPU: pods will wait."


@pytest.mark.parametrize(
    ("bound", "capacity"),
    [(2, ("True", "Bound")), (1, ("False", "WaitingForGpus")), (0, ("False", "WaitingForGpus"))],
)
def test_what_was_free_when_it_was_decided_is_not_said_of_pods_that_are_on_nodes_by_now(bound: int, capacity: tuple[str, str]) -> None:
    verdict = Admit(plan=PLAN, warnings=("Lowered.", WAITS, "Doubted."), of_now=WAITS)
    found = by_type(conditions_of(replace(READY, verdict=verdict, bound=bound, capacity_for_missing=False), (), "t"))
    assert found["Feasible"].message == "Lowered. Doubted."
    assert (found["CapacityAvailable"].status, found["CapacityAvailable"].reason) == capacity, "this says what pods wait for"


def test_a_resize_names_what_was_moved() -> None:
    feasible = by_type(conditions_of(replace(READY, verdict=RESIZED), (), "t"))["Feasible"]
    assert (feasible.reason, feasible.message) == ("Resized", "fits after moving engine.maxModelLen from 131072 to 8192")


@pytest.mark.parametrize(
    ("lack", "reason"),
    [("gpus", "WaitingForGpus"), ("turn", "WaitingForTurn"), ("scheduler", "NotScheduled")],
)
def test_capacity_says_what_missing_replicas_wait_for(lack: Lack, reason: str) -> None:
    situation = replace(READY, bound=1, capacity_for_missing=False, missing_because=lack, child=STARTING)
    (found,) = [row for row in conditions_of(situation, (), "now") if row.type == "CapacityAvailable"]
    assert (found.status, found.reason) == ("False", reason)
    assert found.message.startswith("1 of 2 replicas: ")


def test_children_that_the_api_server_refuses_stall_the_deployment_in_its_words() -> None:
    situation = replace(READY, bound=0, child=None, capacity_for_missing=False, apply_problem="403 Forbidden: exceeded quota")
    found = {row.type: row for row in conditions_of(situation, (), "now")}
    assert {kind: found[kind].status for kind in ("Progressing", "Ready", "Stalled")} == {
        "Progressing": "False", "Ready": "False", "Stalled": "True",
    }  # fmt: skip
    assert "exceeded quota" in found["Stalled"].message


QUOTA = PodsRefused(message='pods "x-1" is forbidden: exceeded quota: small', final=True)
TIMEOUT = PodsRefused(message="Internal error occurred: timed out", final=False)


@pytest.mark.parametrize(
    ("why", "situation", "statuses", "reasons", "says"),
    [
        (
            "no pod is let in: failed for kstatus, and each condition says why",
            replace(READY, bound=0, child=replace(STARTING, replicas=0, updated=0, pods_refused=QUOTA)),
            "False False False True",
            "PodsRefused PodsRefused PodsRefused PodsRefused",
            "Stalled",
        ),
        (
            "the second pod is not let in: the first goes on serving",
            replace(READY, bound=1, child=replace(RUNNING, replicas=1, updated=1, available=1, pods_refused=QUOTA)),
            "False True False True",
            "PodsRefused MinimumReplicasAvailable PodsRefused PodsRefused",
            "Stalled",
        ),
        (
            "an error that may pass by itself: in progress",
            replace(READY, bound=0, child=replace(STARTING, replicas=0, updated=0, pods_refused=TIMEOUT)),
            "True False False False",
            "PodsNotMade NoReplicaAvailable Progressing PodsNotMade",
            "Progressing",
        ),
        (
            "the API server's refusal says more than the deadline that follows from it",
            replace(READY, bound=0, child=replace(STARTING, pods_refused=QUOTA, deadline_exceeded=True)),
            "False False False True",
            "PodsRefused PodsRefused PodsRefused PodsRefused",
            "Stalled",
        ),
        (
            "a refused spec comes first: its pods are not wanted",
            replace(READY, verdict=REJECT, bound=0, applied_generation=3, child=replace(STARTING, pods_refused=QUOTA)),
            "False False False True",
            "PodsRefused NoReplicaAvailable InsufficientKvCache InsufficientKvCache",
            "Progressing",
        ),
    ],
)
def test_pods_that_the_api_server_refuses_are_said_in_its_words_once(
    why: str, situation: Situation, statuses: str, reasons: str, says: str
) -> None:
    found = by_type(conditions_of(situation, (), "t"))
    kinds = ("Progressing", "Available", "Ready", "Stalled")
    assert " ".join(found[kind].status for kind in kinds) == statuses, why
    assert " ".join(found[kind].reason for kind in kinds) == reasons, why
    child = situation.child
    assert child is not None
    assert child.pods_refused is not None
    assert [kind for kind, row in found.items() if child.pods_refused.message in row.message] == [says], why


@pytest.mark.parametrize("said", ["half a pair \ud800", "two\nlines", "a \u2028 separator", "a null \x00", "x" * 5000])
def test_what_a_condition_says_can_be_written_down(said: str) -> None:
    rows = conditions_of(replace(READY, verdict=replace(REJECT, message=said), apply_problem=said), (), "2026-01-01T00:00:00Z")
    for row in rows:
        assert row.message.encode()
        assert row.message.isprintable()
        assert len(row.message) <= MAX_MESSAGE


def test_pods_that_do_not_come_are_said_to_be_missing_and_where_it_is_said_why() -> None:
    group = replace(STARTING, replicas=0, updated=0, made_by="StatefulSets of the LeaderWorkerSet")
    situation = replace(READY, bound=0, capacity_for_missing=False, missing_because="pods", child=group)
    found = by_type(conditions_of(situation, (), "t"))
    assert [(found[kind].status, found[kind].reason) for kind in ("Progressing", "Stalled")] == [
        ("True", "PodsAbsent"),
        ("False", "PodsAbsent"),
    ]
    assert found["Stalled"].message == found["Progressing"].message == "see CapacityAvailable"
    assert "2 of 2 replicas" in found["CapacityAvailable"].message
    assert "the events of the StatefulSets of the LeaderWorkerSet say why" in found["CapacityAvailable"].message
    refused = by_type(conditions_of(replace(situation, child=replace(group, pods_refused=QUOTA)), (), "t"))
    assert refused["Stalled"].reason == "PodsRefused", "the API server's own words say more"
    here = by_type(conditions_of(replace(situation, bound=2), (), "t"))
    assert here["Stalled"].reason == "NotStalled"


def test_what_holds_replicas_gives_its_own_reason() -> None:
    unreadable = Reject(reason=Reason.POLICY_UNREADABLE, message="It cannot be read.", field="metadata.namespace")
    held = replace(READY, adopting=False, beyond=2, beyond_because=unreadable)
    rows = {row.type: (row.reason, row.message) for row in conditions_of(held, (), "2026-01-01T00:00:00Z")}
    assert rows["Feasible"] == ("PolicyUnreadable", "It cannot be read. 2 of 4 replicas are kept.")
    assert rows["Stalled"] == ("PolicyUnreadable", "see Feasible")
