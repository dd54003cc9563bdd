"""A controller with the real decision, under FitPolicies."""

from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.reconcile_world import World

from plimsoll_operator.ports import (
    FIT_POLICIES,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    Manifest,
)

POLICY = "plimsoll-bypass"


LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def admission_policy(**spec: object) -> Manifest:
    resource = VALIDATING_ADMISSION_POLICIES
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": POLICY}, "spec": spec}


def binding(name: str = POLICY, **spec: object) -> Manifest:
    resource = VALIDATING_ADMISSION_POLICY_BINDINGS
    spec = {"policyName": POLICY, "validationActions": ["Deny"]} | spec
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}


def world(*, protected: bool = False) -> World:
    """A cluster of L4 nodes with the real decision."""
    made = World(FakeKube(), gpu_node("n1"), gpu_node("n2"))
    made.lead(bypass_policies=[POLICY])
    if protected:
        made.kube.create(VALIDATING_ADMISSION_POLICIES, admission_policy())
        made.kube.create(VALIDATING_ADMISSION_POLICY_BINDINGS, binding())
    return made


def fit_policy(**spec: object) -> Manifest:
    return {"apiVersion": FIT_POLICIES.api_version, "kind": FIT_POLICIES.kind, "metadata": {"name": "default"}, "spec": spec}
