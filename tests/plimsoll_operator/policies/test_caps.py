"""The caps of a FitPolicy: what they count, and how much of a grown wish the controller lets through where no webhook has looked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.plans import PLAN
from tests.plimsoll_operator.policies.policy_world import LLAMA, fit_policy, world
from tests.plimsoll_operator.reconcile_world import World

from plimsoll_operator.api import FitPolicySpec
from plimsoll_operator.decision.checks.caps import over_cap, use_of_plan, within_caps
from plimsoll_operator.facts import NamespaceUse
from plimsoll_operator.ports import DEPLOYMENTS, EVENTS, FIT_POLICIES, INFERENCE_DEPLOYMENTS

GIB = 1 << 30


def allows(**caps: Any) -> FitPolicySpec:
    return FitPolicySpec.model_validate(caps)


def beside(gpus: int) -> NamespaceUse:
    return NamespaceUse(gpus=gpus, predicted_bytes=gpus * GIB)


HOLDS = [
    ("no cap, nothing is held", {}, 0, 1, 9, 9),
    ("within the cap", {"maxGpusPerNamespace": 4}, 0, 1, 4, 4),
    ("up to the cap and no further", {"maxGpusPerNamespace": 4}, 0, 1, 9, 4),
    ("the others count", {"maxGpusPerNamespace": 4}, 3, 0, 9, 1),
    ("the others hold it all", {"maxGpusPerNamespace": 4}, 4, 0, 9, 0),
    ("what runs beyond a lowered cap runs on", {"maxGpusPerNamespace": 1}, 0, 3, 3, 3),
    ("and grows no further", {"maxGpusPerNamespace": 1}, 0, 3, 5, 3),
    ("but may always shrink", {"maxGpusPerNamespace": 1}, 0, 3, 2, 2),
    ("a cap on predicted memory", {"maxPredictedGibPerNamespace": 30}, 0, 0, 9, 1),
    ("a replica larger than a lowered cap on replicas is not made again", {"maxGpusPerReplica": 1}, 0, 2, 3, 2),
    ("where the policy only warns, nothing is held", {"maxGpusPerNamespace": 1, "mode": "Warn"}, 0, 1, 9, 9),
]


@pytest.mark.parametrize(("why", "caps", "others", "has", "wanted", "kept"), HOLDS, ids=[row[0] for row in HOLDS])
def test_replicas_beyond_a_cap_are_held(why: str, caps: dict[str, Any], others: int, has: int, wanted: int, kept: int) -> None:
    large = "maxGpusPerReplica" in caps
    size = 2 if large else 1
    predicted = replace(PLAN.predicted, weights_bytes=20 * GIB)
    plan = replace(PLAN, tensor_parallel_size=size, gpus_per_replica=size, predicted=predicted)
    held = within_caps(allows(**caps), beside(others), plan, wanted=wanted, has=has)
    assert held.replicas == kept, why
    assert (held.reject is not None) == (kept < wanted), "what is held is said, and nothing else"


@given(cap=st.integers(0, 40), others=st.integers(0, 40), has=st.integers(0, 12), wanted=st.integers(0, 12), per_replica=st.integers(1, 8))
def test_a_hold_takes_no_pod_away_and_lets_nothing_past(cap: int, others: int, has: int, wanted: int, per_replica: int) -> None:
    policy, plan = allows(maxGpusPerNamespace=cap), replace(PLAN, tensor_parallel_size=per_replica, gpus_per_replica=per_replica)
    kept = within_caps(policy, beside(others), plan, wanted=wanted, has=has).replicas
    assert min(wanted, has) <= kept <= wanted
    if kept > has:
        assert over_cap(policy, beside(others), use_of_plan(plan, kept)) is None
    if kept < wanted:
        assert over_cap(policy, beside(others), use_of_plan(plan, kept + 1)) is not None


def capped(**caps: Any) -> World:
    made = world()
    made.kube.create(FIT_POLICIES, fit_policy(**caps))
    return made


def grow(made: World, *steps: int, name: str = "chat") -> int:
    """What the child asks for after these wishes, one after the other; no webhook stands in the way here."""
    for replicas in steps:
        made.wish(name, model=LLAMA, replicas=replicas, maxModelLen=8192)
        made.settle()
    found: int = made.one(DEPLOYMENTS, name)["spec"]["replicas"]
    return found


def test_what_was_scaled_past_a_cap_is_not_applied_and_said() -> None:
    made = capped(maxGpusPerNamespace=2)
    assert grow(made, 1, 0, 4) == 2
    for kind, status in (("Feasible", "False"), ("Ready", "False"), ("Stalled", "True")):
        assert made.condition(kind=kind) == (status, "PolicyCap"), kind
    (message,) = [row["message"] for row in made.status()["conditions"] if row["type"] == "Feasible"]
    assert "the FitPolicy allows 2" in message
    assert "2 of 4 replicas are kept" in message
    assert made.status()["ready"] == "0/4"
    assert [event["reason"] for event in made.kube.list_page(EVENTS).items if event["type"] == "Warning"] == ["PolicyCap"]
    assert made.writes(made.settle) == [], "and it is said once"


def test_a_lowered_cap_takes_no_pod_away_and_lets_none_be_added() -> None:
    made = capped(maxGpusPerNamespace=4)
    assert grow(made, 3) == 3
    made.kube.delete(FIT_POLICIES, "", "default")
    made.kube.create(FIT_POLICIES, fit_policy(maxGpusPerNamespace=1))
    made.settle()
    assert made.one(DEPLOYMENTS)["spec"]["replicas"] == 3
    assert grow(made, 4) == 3
    assert grow(made, 2) == 2
    assert grow(made, 3) == 2


def test_what_is_held_is_free_for_others_and_comes_when_the_cap_has_room() -> None:
    made = capped(maxGpusPerNamespace=3)
    assert grow(made, 1, name="a") == 1
    assert grow(made, 1, 9, name="b") == 2
    assert grow(made, 0, name="a") == 0
    made.settle()
    assert made.one(DEPLOYMENTS, "b")["spec"]["replicas"] == 3
    made.kube.delete(INFERENCE_DEPLOYMENTS, NS, "b")


def test_a_held_deployment_is_looked_at_again_by_itself() -> None:
    made = capped(maxGpusPerNamespace=1)
    grow(made, 1, 3)
    assert made.controller.queue.depth() == 1
