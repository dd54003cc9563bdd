"""`plimsoll doctor`: every fault that a cluster can have is found and named with what to do, and a healthy one ends with 0."""

import base64
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
import yaml
from tests.plimsoll_operator.decision_world import LLAMA_8B, manifest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import H100

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest, parse_inference_deployment
from plimsoll_operator.api.unsupported import unsupported_fields
from plimsoll_operator.capacity import CapacityIndex, pool_manifest
from plimsoll_operator.certificate import issue
from plimsoll_operator.cli.doctor import lines_of
from plimsoll_operator.cli.doctor.checks import Finding, findings_of
from plimsoll_operator.cli.doctor.seen import WEBHOOK, impossible, see
from plimsoll_operator.cli.screen import Screen
from plimsoll_operator.cli.world import World
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

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOME = "plimsoll-system"
LABELS = {"app.kubernetes.io/name": "plimsoll", "app.kubernetes.io/version": "0.1.0"}
DENIED = ApiFailure(400, "BadRequest", f'admission webhook "{WEBHOOK}" denied the request: spec.placement.queueName is not supported yet')
UNREACHED = ApiFailure(500, "InternalError", f'failed calling webhook "{WEBHOOK}": connection refused')
CRDS = Path(__file__).resolve().parents[3] / "crds"
AMD: Manifest = {
    "metadata": {"name": "amd-0", "labels": {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}},
    "status": {"allocatable": {"amd.com/gpu": "8", "memory": "1Ti", "cpu": "128"}, "capacity": {"amd.com/gpu": "8"}},
}
STALE: Manifest = {"metadata": {"name": "stale-0", "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}}, "status": {}}


@cache
def definitions() -> tuple[Manifest, ...]:
    return tuple(yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml")))


def program(component: str, *, ready: int = 2, version: str = "0.1.0") -> Manifest:
    template = {"metadata": {"labels": {**LABELS, "app.kubernetes.io/component": component}}}
    labels = {**LABELS, "app.kubernetes.io/version": version}
    metadata = {"name": f"plimsoll-{component}", "namespace": HOME, "labels": labels}
    return {"metadata": metadata, "spec": {"replicas": 2, "template": template}, "status": {"readyReplicas": ready}}


def lease(*, age: float = 1.0, holder: str = "plimsoll-controller-a") -> Manifest:
    spec = {"holderIdentity": holder, "renewTime": (NOW - timedelta(seconds=age)).isoformat().replace("+00:00", "Z")}
    return {"metadata": {"name": LEASE_NAME, "namespace": HOME}, "spec": spec}


def registered(authority: bytes, *, policy: str = "Fail") -> Manifest:
    client = {"caBundle": base64.b64encode(authority).decode()}
    return {
        "metadata": {"name": "plimsoll", "labels": LABELS},
        "webhooks": [{"name": WEBHOOK, "failurePolicy": policy, "clientConfig": client}],
    }


def with_pools(kube: FakeKube, *nodes: Manifest) -> None:
    index = CapacityIndex(())
    for node in nodes:
        index.node_event("ADDED", node)
    for pool in index.pools():
        kube.create(GPU_POOLS, pool_manifest(pool))


def healthy(*nodes: Manifest, days_old: int = 1, denied: ApiFailure = DENIED) -> FakeKube:
    """A cluster in which everything is as the chart makes it, with these nodes' pools."""
    kube = FakeKube()
    for definition in definitions():
        kube.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    for component in ("controller", "webhook", "certificates"):
        kube.create(DEPLOYMENTS, program(component))
    kube.create(LEASES, lease())
    made = issue(["plimsoll-webhook.plimsoll-system.svc"], now=NOW - timedelta(days=days_old), days=100)
    kube.create(VALIDATING_WEBHOOK_CONFIGURATIONS, registered(made.authority))
    secret = {"metadata": {"name": "plimsoll-webhook-certificate", "namespace": HOME, "labels": LABELS}}
    kube.create(SECRETS, {**secret, "data": {"tls.crt": base64.b64encode(made.certificate).decode()}})
    kube.create(VALIDATING_ADMISSION_POLICIES, {"metadata": {"name": "plimsoll-controller-pods", "labels": LABELS}})
    with_pools(kube, *(nodes or (H100,)))
    kube.fail_next("dry_run", denied)
    return kube


def found(kube: FakeKube, pause: Callable[[float], None] = lambda _: None) -> tuple[Finding, ...]:
    return findings_of(see(kube, World(), "default", NOW, pause))


def lacks(kube: FakeKube) -> list[str]:
    return [finding.text for finding in found(kube) if finding.level == "lack"]


def put(kube: FakeKube, resource: Resource, item: Manifest) -> None:
    kube.delete(resource, item["metadata"].get("namespace", ""), item["metadata"]["name"])
    kube.create(resource, item)


def deployment(kube: FakeKube, *, status: Manifest | None = None, **placement: object) -> None:
    wish = manifest(LLAMA_8B)
    wish["spec"]["placement"] = {**wish["spec"].get("placement", {}), **placement}
    kube.create(INFERENCE_DEPLOYMENTS, wish)
    if status is not None:
        kube.apply(INFERENCE_DEPLOYMENTS, {**wish, "status": status}, subresource="status")


def conditions(kind: str, status: str, reason: str) -> Manifest:
    row = {"type": kind, "status": status, "reason": reason, "message": "because", "lastTransitionTime": "2026-11-29T00:00:00Z"}
    return {"conditions": [row]}


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
