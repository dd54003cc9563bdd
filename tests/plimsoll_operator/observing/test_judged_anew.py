"""A plan whose engines have less cache than asked for is judged anew by what they took: proposed, adopted when asked, never restarted."""

from dataclasses import replace

import pytest
from tests.plimsoll_operator.cluster import IMAGE, NS
from tests.plimsoll_operator.observing.engines import Engines
from tests.plimsoll_operator.observing.logs import L4, log_of, start

from plimsoll_estimator import GIB
from plimsoll_operator.api import (
    InferenceDeployment,
    InferenceDeploymentStatus,
    MemoryByComponent,
    ObservedStatus,
    Plan,
    PlanStatus,
    parse_object,
)
from plimsoll_operator.facts import AppliedCorrection
from plimsoll_operator.names import REPLAN_ANNOTATION
from plimsoll_operator.observation import MOST_LEARNED_BYTES, OWN, observed_of, own_correction
from plimsoll_operator.ports import DEPLOYMENTS, INFERENCE_DEPLOYMENTS

MANY = {"requestClasses": [{"name": "all", "promptTokens": 3000, "outputTokens": 1000, "concurrency": 110}], "headroomPercent": 0}
"""110 requests of 4,000 tokens: most of what an L4 has left beside this model."""


def wished(plan: Plan, observed: ObservedStatus | None, model: str = "acme/tiny") -> InferenceDeployment:
    """The deployment as the controller has written its status."""
    made = {
        "apiVersion": "inference.plimsoll.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"namespace": NS, "name": "chat"},
        "spec": {"model": {"name": model}, "engine": {"image": IMAGE}},
    }
    status = InferenceDeploymentStatus(plan=PlanStatus.of(plan), observed=observed)
    return parse_object(InferenceDeployment, made).model_copy(update={"status": status})


LESS = observed_of(L4, [start(log_of(kv_gib=1.5))])
"""2.5 GiB more were taken than predicted, and half a GiB of what is asked for is missing."""


def own(added: int) -> tuple[AppliedCorrection, ...]:
    return (AppliedCorrection(source=OWN, engine_minor="0.19", product=None, component="ownStarts", add_bytes=added),)


TAUGHT = replace(L4, learned_bytes=GIB)


@pytest.mark.parametrize(
    ("why", "plan", "observed", "model", "found"),
    [
        ("nothing was read", L4, None, "acme/tiny", ()),
        ("as predicted", L4, observed_of(L4, [start(log_of())]), "acme/tiny", ()),
        ("less than predicted, and it still holds what is asked", L4, observed_of(L4, [start(log_of(kv_gib=2.1))]), "acme/tiny", ()),
        ("less than what is asked", L4, LESS, "acme/tiny", own(5 * GIB // 2)),
        ("of another plan", replace(L4, max_model_len=4096), LESS, "acme/tiny", ()),
        ("of another model, which the spec names since", L4, LESS, "acme/other", ()),
        ("what an earlier plan has taught stays", TAUGHT, None, "acme/tiny", own(GIB)),
        ("and what its own engines take is added", TAUGHT, LESS, "acme/tiny", own(7 * GIB // 2)),
        ("no log can make it more than so much", replace(L4, learned_bytes=99 * GIB), None, "acme/tiny", own(MOST_LEARNED_BYTES)),
        (
            "without the sum of the rest nothing is known",
            L4,
            ObservedStatus(plan_digest=L4.digest, memory=MemoryByComponent()),
            "acme/tiny",
            (),
        ),
    ],
)
def test_what_a_deployment_s_own_engines_teach(
    why: str, plan: Plan, observed: ObservedStatus | None, model: str, found: tuple[AppliedCorrection, ...]
) -> None:
    assert own_correction(wished(plan, observed, model)) == found, why


def test_a_plan_that_holds_too_little_is_proposed_anew_and_its_pods_run_on() -> None:
    world = Engines(engine={"image": IMAGE}, workload=MANY)
    plan = world.plan
    assert plan.tensor_parallel_size == 1
    template = world.one(DEPLOYMENTS, "chat")["spec"]["template"]
    lacking = plan.kv_cache_needed_bytes / GIB - 0.5
    world.serves(log=log_of(plan, kv_gib=lacking))
    world.read()
    assert world.condition("chat", "AsPredicted") == ("False", "LessKvCache")
    world.settle(2)
    proposed = world.status("chat")["proposedPlan"]
    assert proposed["digest"] != plan.digest
    assert proposed["learnedBytes"] == world.shown()["notKvCacheBytes"] - (plan.predicted.total_bytes - plan.predicted.kv_cache_bytes)
    assert world.one(DEPLOYMENTS, "chat")["spec"]["template"] == template
    assert world.status("chat")["plan"]["digest"] == plan.digest
    assert world.condition("chat", "Stalled") == ("False", "NotStalled")


def test_an_adopted_plan_keeps_what_it_was_taught_and_the_old_one_is_not_proposed_again() -> None:
    world = Engines(engine={"image": IMAGE}, workload=MANY)
    before = world.plan
    world.serves(log=log_of(before, kv_gib=before.kv_cache_needed_bytes / GIB - 0.5))
    world.read()
    world.settle(2)
    wanted = world.one(INFERENCE_DEPLOYMENTS)
    wanted["metadata"].setdefault("annotations", {})[REPLAN_ANNOTATION] = "1"
    world.kube.replace(INFERENCE_DEPLOYMENTS, wanted)
    world.settle(2)
    after = world.plan
    assert after.learned_bytes > 0
    assert after.digest != before.digest
    assert after.kv_cache_tokens >= after.kv_cache_needed_tokens
    world.serves("2", log=log_of(after))
    world.read()
    world.settle(2)
    assert world.plan == after
    assert "proposedPlan" not in world.status("chat")
    assert world.condition("chat", "AsPredicted") == ("True", "AsPredicted")
