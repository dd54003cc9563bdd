"""A cluster as `plimsoll doctor` looks at it, healthy or with a fault put in: for the tests of its checks."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from tests.documents import documents
from tests.plimsoll_operator.decision_world import LLAMA_8B, manifest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import H100

from plimsoll_operator.api import Manifest
from plimsoll_operator.capacity import CapacityIndex, pool_manifest
from plimsoll_operator.certificate import issue
from plimsoll_operator.cli.doctor.checks import Finding, findings_of
from plimsoll_operator.cli.doctor.seen import WEBHOOK, see
from plimsoll_operator.cli.world import World
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    LEASE_NAME,
    LEASES,
    SECRETS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
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
    return tuple(documents(path.read_text())[0] for path in sorted(CRDS.glob("*.yaml")))


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


def healthy(*nodes: Manifest, days_old: int = 1, denied: ApiFailure = DENIED, kube: FakeKube | None = None) -> FakeKube:
    """A cluster in which everything is as the chart makes it, with these nodes' pools."""
    kube = FakeKube() if kube is None else kube
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
