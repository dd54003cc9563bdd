"""`plimsoll doctor`: every fault that a cluster can have is found and named with what to do, and a healthy one ends with 0."""

from collections.abc import Callable
from copy import deepcopy

import pytest
from tests.plimsoll_operator.cli.doctor_world import (
    AMD,
    DENIED,
    HOME,
    STALE,
    UNREACHED,
    conditions,
    definitions,
    deployment,
    found,
    healthy,
    lacks,
    lease,
    program,
    put,
    with_pools,
)
from tests.plimsoll_operator.decision_world import manifest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import H100

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest, parse_inference_deployment
from plimsoll_operator.api.unsupported import unsupported_fields
from plimsoll_operator.capacity import CapacityIndex, pool_manifest
from plimsoll_operator.cli.doctor import lines_of
from plimsoll_operator.cli.doctor.seen import impossible
from plimsoll_operator.cli.screen import Screen
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    LEADER_WORKER_SETS,
    LEASE_NAME,
    LEASES,
    SECRETS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Page,
    Resource,
)


def test_a_healthy_cluster_has_no_lack_and_says_what_works() -> None:
    findings = found(healthy())
    assert [finding for finding in findings if not finding.good] == []
    text = "\n".join(lines_of(findings, Screen()))
    for said in (
        "6 kinds are served",
        "controller: 2 of 2 pods ready",
        "a leads",
        "the webhook refuses",
        "valid until 2027-03-09",
        "all pools are trusted",
    ):
        assert said in text
    assert text.endswith("nothing is missing")


def test_gpus_of_a_vendor_without_memory_rules_are_no_fault() -> None:
    assert lacks(healthy(AMD)) == []
    assert lacks(healthy(AMD, H100)) == []


def no_webhook_pods(kube: FakeKube) -> None:
    put(kube, DEPLOYMENTS, program("webhook", ready=0))


def no_controller(kube: FakeKube) -> None:
    kube.delete(DEPLOYMENTS, HOME, "plimsoll-controller")
    kube.delete(LEASES, HOME, LEASE_NAME)


def old_lease(kube: FakeKube) -> None:
    put(kube, LEASES, lease(age=90))


def unregistered(kube: FakeKube) -> None:
    kube.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, "", "plimsoll")


def no_kind(kube: FakeKube) -> None:
    kube.delete(CUSTOM_RESOURCE_DEFINITIONS, "", "gpupools.inference.plimsoll.dev")


def old_kind(kube: FakeKube) -> None:
    definition = deepcopy(next(row for row in definitions() if row["spec"]["names"]["kind"] == "InferenceDeployment"))
    properties = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del properties["engine"]["properties"]["maxModelLen"]
    put(kube, CUSTOM_RESOURCE_DEFINITIONS, definition)


def no_pool(kube: FakeKube) -> None:
    for pool in kube.list_page(GPU_POOLS).items:
        kube.delete(GPU_POOLS, "", pool["metadata"]["name"])


def doubtful(kube: FakeKube) -> None:
    with_pools(kube, STALE)


def over_nodes(kube: FakeKube) -> None:
    deployment(kube, maxNodesPerReplica=2)


def hub_blocked(kube: FakeKube) -> None:
    deployment(kube, status=conditions("ModelResolved", "False", "Unreachable"))


def labels_full(kube: FakeKube) -> None:
    no_pool(kube)
    index = CapacityIndex([f"example.com/l{number}" for number in range(15)])
    index.node_event("ADDED", H100)
    for pool in index.pools():
        kube.create(GPU_POOLS, pool_manifest(pool))


def rights_gone(kube: FakeKube) -> None:
    kube.denied = {("plimsoll-controller", verb, "deployments", "") for verb in ("create", "patch")}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (no_webhook_pods, "webhook: 0 of 2 pods ready"),
        (no_controller, "no Deployment of the chart runs the controller: install the chart"),
        (old_lease, "renewed its lease 90 s ago, and none has taken over"),
        (unregistered, "no ValidatingWebhookConfiguration has the webhook"),
        (no_kind, "not served: GPUPool"),
        (old_kind, "InferenceDeployment is of another release, without .spec.engine.maxModelLen"),
        (no_pool, "no GPUPool"),
        (doubtful, "pools that nothing is planned on: "),
        (over_nodes, "LeaderWorkerSet is not served, and needed by default/x"),
        (hub_blocked, "where models are cannot be reached, which default/x wait for: because"),
        (
            rights_gone,
            "the ServiceAccount plimsoll-system/plimsoll-controller may not create deployments, patch deployments: install the chart",
        ),
        (labels_full, "all 16 label keys of nodeSelectors are in use"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_is_found_alone_and_says_what_to_do(fault: Callable[[FakeKube], None], said: str) -> None:
    kube = healthy()
    fault(kube)
    (only,) = lacks(kube)
    assert said in only


@pytest.mark.parametrize(("days_old", "said"), [(85, "should be renewed by now"), (101, "ended on 2026-11-29")])
def test_a_certificate_that_nobody_renewed_is_a_fault(days_old: int, said: str) -> None:
    texts = lacks(healthy(days_old=days_old))
    assert [said in text for text in texts] == [True, True]
    assert texts[0].startswith("the authority that the API server trusts")
    assert texts[1].startswith("the webhook's certificate")


def test_a_webhook_that_is_not_reached_is_a_fault_in_the_api_server_s_words() -> None:
    assert lacks(healthy(denied=UNREACHED)) == [f"the API server cannot ask the webhook: {UNREACHED}"]


def test_what_is_tried_is_well_formed_and_refused_for_a_field_that_is_not_honoured() -> None:
    assert [path for path, _ in unsupported_fields(parse_inference_deployment(impossible("default")).spec)] == ["spec.placement.queueName"]


def test_what_must_be_refused_and_is_not_means_that_nobody_judges() -> None:
    kube = healthy()
    with pytest.raises(ApiFailure):
        kube.dry_run_create(INFERENCE_DEPLOYMENTS, manifest())
    (only,) = lacks(kube)
    assert only.startswith("nobody judges at `kubectl apply`")


def test_a_clock_that_differs_is_no_fault_where_the_lease_is_renewed_meanwhile() -> None:
    kube = healthy()
    put(kube, LEASES, lease(age=600))
    assert all(finding.good for finding in found(kube, lambda _: put(kube, LEASES, lease(age=598))))


def test_what_a_tenant_calls_like_the_charts_objects_is_not_taken_for_them() -> None:
    kube = healthy()
    hook = kube.get(VALIDATING_WEBHOOK_CONFIGURATIONS, "", "plimsoll") or {}
    hook["webhooks"][0]["clientConfig"]["service"] = {"namespace": HOME, "name": "plimsoll-webhook"}
    put(kube, VALIDATING_WEBHOOK_CONFIGURATIONS, hook)
    spoofed = lease(holder="\x1b[31mevil")
    kube.create(LEASES, {**spoofed, "metadata": {"name": LEASE_NAME, "namespace": "a-team"}})
    assert any(finding.text == "plimsoll-controller-a leads" for finding in found(kube))
    kube.delete(LEASES, HOME, LEASE_NAME)
    kube.fail_next("dry_run", DENIED)
    assert lacks(kube) == ["no controller has ever led: its log says what it waits for"]
    put(kube, LEASES, lease(holder="\x1b[31mevil"))
    kube.fail_next("dry_run", DENIED)
    assert any(finding.text == "[31mevil leads" for finding in found(kube)), "no terminal obeys what a lease says"


def test_processes_outside_of_the_cluster_are_no_fault_while_they_answer() -> None:
    kube = healthy()
    for component in ("controller", "webhook"):
        kube.delete(DEPLOYMENTS, HOME, f"plimsoll-{component}")
    findings = found(kube)
    assert all(finding.good for finding in findings)
    assert sum("runs outside of this cluster" in finding.text for finding in findings) == 2


class OfAnEditor(FakeKube):
    """What the API server shows to somebody with `edit` in a namespace and the chart's view of what is of the whole cluster."""

    shown = (INFERENCE_DEPLOYMENTS, GPU_POOLS)

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        if resource in (CUSTOM_RESOURCE_DEFINITIONS, LEASES):
            raise ApiFailure(403, "Forbidden", f"{resource.plural} is forbidden")
        return FakeKube.get(self, resource, namespace, name)

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        if resource in (DEPLOYMENTS, LEASES, SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS, VALIDATING_ADMISSION_POLICIES, LEADER_WORKER_SETS):
            raise ApiFailure(403, "Forbidden", f"{resource.plural} is forbidden")
        return FakeKube.list_page(self, resource, namespace=namespace, selector=selector, continue_token=continue_token, limit=limit)


def test_what_the_rights_do_not_show_is_said_and_no_fault() -> None:
    kube = OfAnEditor()
    with_pools(kube, H100)
    kube.fail_next("dry_run", DENIED)
    findings = found(kube)
    assert all(finding.good for finding in findings)
    assert sum("with your rights" in finding.text for finding in findings) == 4


def test_a_cluster_that_does_not_answer_is_bad_input() -> None:
    kube = FakeKube()
    kube.fail_next("get", ApiFailure(0, "", "connection refused"))
    with pytest.raises(InvalidInput, match="cannot be asked: connection refused"):
        found(kube)
