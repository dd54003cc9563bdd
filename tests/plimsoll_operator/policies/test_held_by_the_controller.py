"""What administrators allow, held by the controller itself: caps, Warn mode, and a bypass that is worth what protects it."""

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.policies.policy_world import LLAMA, POLICY, admission_policy, binding, fit_policy, world
from tests.plimsoll_operator.reconcile_world import World

from plimsoll_operator.controller.cluster.protection import Protection
from plimsoll_operator.names import BYPASS_ANNOTATION
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    EVENTS,
    FIT_POLICIES,
    INFERENCE_DEPLOYMENTS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    Manifest,
)

TOO_LONG: Manifest = {"maxModelLen": 131072, "tensorParallelSize": 1, "gpuMemoryUtilization": 0.9}


PROTECTION = [
    ("policy and binding", [admission_policy(failurePolicy="Fail")], [binding()], True),
    ("the failure policy's default is Fail", [admission_policy()], [binding()], True),
    ("a policy that nothing binds", [admission_policy()], [], False),
    ("a binding without its policy", [], [binding()], False),
    ("a binding that only audits", [admission_policy()], [binding(validationActions=["Audit", "Warn"])], False),
    ("a binding for some namespaces only", [admission_policy()], [binding(matchResources={"namespaceSelector": {}})], False),
    ("a policy that fails open", [admission_policy(failurePolicy="Ignore")], [binding()], False),
    ("a binding of another policy", [admission_policy()], [binding(policyName="other")], False),
    ("a binding for some objects only", [admission_policy()], [binding(paramRef={"selector": {"matchLabels": {"a": "b"}}})], False),
    ("a binding for every object", [admission_policy()], [binding(paramRef={"selector": {}, "parameterNotFoundAction": "Allow"})], True),
    ("one of two bindings denies", [admission_policy()], [binding("a", validationActions=["Warn"]), binding("b")], True),
]


@pytest.mark.parametrize(("why", "policies", "bindings", "holds"), PROTECTION, ids=[row[0] for row in PROTECTION])
def test_the_annotation_is_protected_only_by_a_policy_that_denies_everywhere(
    why: str, policies: list[Manifest], bindings: list[Manifest], holds: bool
) -> None:
    protection = Protection([POLICY])
    for one in policies:
        protection.policy_changed(("", one["metadata"]["name"]), None, one)
    for one in bindings:
        protection.binding_changed(("", one["metadata"]["name"]), None, one)
    assert protection.holds() is holds


def test_every_policy_must_hold_and_none_protects_nothing() -> None:
    protection = Protection([POLICY, "scale"])
    protection.policy_changed(("", POLICY), None, admission_policy())
    protection.binding_changed(("", POLICY), None, binding())
    assert not protection.holds(), "more replicas are anybody's to ask for"
    protection.policy_changed(("", "scale"), None, admission_policy())
    protection.binding_changed(("", "scale"), None, binding("scale", policyName="scale"))
    assert protection.holds()
    assert not Protection([]).holds()


def test_protection_ends_with_its_binding() -> None:
    protection = Protection([POLICY])
    protection.policy_changed(("", POLICY), None, admission_policy())
    protection.binding_changed(("", POLICY), None, binding())
    protection.binding_changed(("", POLICY), binding(), None)
    assert not protection.holds()


def test_a_lack_of_what_holds_the_controllers_own_account_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    protection = Protection([], ["guard"])
    protection.complain()
    protection.complain()
    assert [record.getMessage() for record in caplog.records] == [
        "admission does not hold this account to its work: guard missing, not bound, or not denying"
    ]
    protection.policy_changed(("", "guard"), None, admission_policy())
    protection.binding_changed(("", "guard"), None, binding("guard", policyName="guard"))
    assert protection.unguarded() == ()
    assert not protection.holds(), "it says nothing of the annotation"


def annotate(made: World, name: str, value: str) -> None:
    old = made.one(INFERENCE_DEPLOYMENTS, name)
    made.kube.replace(INFERENCE_DEPLOYMENTS, {**old, "metadata": {**old["metadata"], "annotations": {BYPASS_ANNOTATION: value}}})


def test_a_bypass_makes_pods_while_its_policy_is_installed_and_never_takes_them_away() -> None:
    made = world()
    made.wish(model=LLAMA, **TOO_LONG)
    made.settle()
    annotate(made, "chat", "measured on our own cards")
    made.settle()
    assert made.kube.get(DEPLOYMENTS, NS, "chat") is None, "nothing protects the annotation yet"
    made.kube.create(VALIDATING_ADMISSION_POLICIES, admission_policy())
    made.kube.create(VALIDATING_ADMISSION_POLICY_BINDINGS, binding())
    made.settle()
    assert "--max-model-len=131072" in made.arguments()
    assert made.condition(kind="Feasible") == ("False", "InsufficientKvCache")
    assert made.condition(kind="Stalled") == ("False", "NotStalled")
    (note,) = [event["note"] for event in made.kube.list_page(EVENTS).items if event["reason"] == "Overridden"]
    assert "measured on our own cards" in note
    made.kube.delete(VALIDATING_ADMISSION_POLICY_BINDINGS, "", POLICY)
    made.settle()
    assert "--max-model-len=131072" in made.arguments()


def test_warn_mode_makes_pods_at_pinned_sizes_and_only_warns_without() -> None:
    made = world()
    made.kube.create(FIT_POLICIES, fit_policy(mode="Warn"))
    made.wish("pinned", model=LLAMA, **TOO_LONG)
    made.wish("open", model=LLAMA, maxModelLen=131072, tensorParallelSize=1)
    made.settle()
    assert made.kube.get(DEPLOYMENTS, NS, "pinned") is not None
    assert made.kube.get(DEPLOYMENTS, NS, "open") is None
    assert made.condition("open", "Stalled") == ("True", "InsufficientKvCache")


def test_two_deployments_of_the_same_second_cannot_both_pass_a_cap() -> None:
    """Admission judges each by what is applied already; the controller plans one after the other."""
    made = world()
    made.kube.create(FIT_POLICIES, fit_policy(maxGpusPerNamespace=3))
    for name in ("a", "b"):
        made.wish(name, model=LLAMA, replicas=2, maxModelLen=8192)
    made.settle()
    held = [name for name in ("a", "b") if made.kube.get(DEPLOYMENTS, NS, name) is not None]
    assert len(held) == 1
    (other,) = {"a", "b"} - set(held)
    assert made.condition(other, "Feasible") == ("False", "PolicyCap")
    made.kube.delete(INFERENCE_DEPLOYMENTS, NS, held[0])
    made.settle()
    assert made.kube.get(DEPLOYMENTS, NS, other) is not None, "what is freed may be used"
