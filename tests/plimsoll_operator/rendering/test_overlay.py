"""The overlay on the generated pod: it adds to what the plan needs and undoes none of it."""

import json
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, deployment, planned, verdict
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import FitPolicy, PlanStatus, parse_object
from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.booking.reservation import Reservation
from plimsoll_operator.names import API_VERSION, NAME_LABEL
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_deployment
from plimsoll_operator.verdict import Admit, Reason, Reject

FULL = {
    "labels": {"team": "a"},
    "annotations": {"example.org/note": "x"},
    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    "volumes": [
        {"name": "compiled", "mountPath": "/compiled", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}},
        {"name": "conf", "mountPath": "/etc/app", "configMap": {"name": "m"}},
        {"name": "keys", "mountPath": "/etc/keys", "secret": {"name": "s"}},
        {"name": "scratch", "mountPath": "/scratch", "emptyDir": {"sizeLimit": "1Gi"}},
    ],
    "sidecars": [{"name": "proxy", "image": "example/proxy:1", "args": ["-v"], "resources": {"cpu": "500m", "memory": "1Gi"}}],
    "imagePullSecrets": ["registry"],
}


def pod_of(template: Manifest | None = None, *, planned_for: Manifest | None = None) -> Manifest:
    """The pod with the template laid over it; `planned_for`: by the plan that the decision makes for another one."""
    spec: Manifest = {"template": template} if template is not None else {}
    found = verdict(engine={"maxModelLen": 8192}, **({"template": planned_for} if planned_for is not None else spec))
    assert isinstance(found, Admit), found
    item = deployment(engine={"maxModelLen": 8192}, **spec)
    made: Manifest = render_deployment(item, found.plan, Origin(generation=1, spec_digest="", replan=""))["spec"]["template"]
    return made


def test_everything_of_the_plan_is_still_there() -> None:
    bare, laid = pod_of(planned_for=FULL), pod_of(FULL)
    assert bare["metadata"]["labels"].items() <= laid["metadata"]["labels"].items()
    assert bare["metadata"]["annotations"].items() <= laid["metadata"]["annotations"].items()
    (engine,), (same, _) = bare["spec"]["containers"], laid["spec"]["containers"]
    assert {key: same[key] for key in engine if key not in ("env", "volumeMounts")} == {
        key: value for key, value in engine.items() if key not in ("env", "volumeMounts")
    }
    for key in ("env", "volumeMounts"):
        assert same[key][: len(engine[key])] == engine[key]
    of_sidecars = ("containers", "volumes", "shareProcessNamespace")  # the last ends where there are any
    kept = {key: value for key, value in bare["spec"].items() if key not in of_sidecars}
    assert kept.items() <= {key: value for key, value in laid["spec"].items() if key not in ("containers", "volumes")}.items()


def test_each_part_of_the_template_reaches_the_pod() -> None:
    laid = pod_of(FULL)
    assert (laid["metadata"]["labels"]["team"], laid["metadata"]["annotations"]["example.org/note"]) == ("a", "x")
    engine, proxy = laid["spec"]["containers"]
    assert engine["env"] == [
        {"name": "NCCL_DEBUG", "value": "INFO"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    assert laid["spec"]["volumes"][-4:] == [
        {"name": "compiled", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}},
        {"name": "conf", "configMap": {"name": "m"}},
        {"name": "keys", "secret": {"secretName": "s"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    assert engine["volumeMounts"][-4] == {"name": "compiled", "mountPath": "/compiled", "readOnly": True}
    assert proxy["resources"] == {"requests": {"cpu": "500m", "memory": "1Gi"}}
    assert proxy["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert laid["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert laid["spec"]["automountServiceAccountToken"] is False
    assert NAME_LABEL in laid["metadata"]["labels"]


RESOURCES = [
    ("more of both is taken", {"cpu": "64", "memory": "900Gi"}, ("64000m", f"{900 * 1024}Mi")),
    ("less of either changes nothing", {"cpu": "100m", "memory": "1Mi"}, None),
    ("one alone leaves the other", {"cpu": "64"}, ("64000m", None)),
    ("a fraction is rounded up", {"memory": "900.5Gi"}, (None, f"{900 * 1024 + 512}Mi")),
]


@pytest.mark.parametrize(("why", "resources", "expected"), RESOURCES, ids=[row[0] for row in RESOURCES])
def test_cpu_and_memory_only_go_upward(why: str, resources: dict[str, str], expected: tuple[str | None, str | None] | None) -> None:
    asked = pod_of()["spec"]["containers"][0]["resources"]["requests"]
    got = pod_of({"resources": resources})["spec"]["containers"][0]["resources"]["requests"]
    cpu, memory = expected or (None, None)
    assert got == asked | ({"cpu": cpu} if cpu else {}) | ({"memory": memory} if memory else {})


SMALL = gpu_node("l4", "NVIDIA-L4", 4, 23034, host="64Gi", cpu="8")
SIXTY = {"name": "a", "image": "x:1", "resources": {"memory": "60Gi"}}
HOST = [
    ("the floor of the engine's container", {"resources": {"memory": "128Gi"}}, Reason.HOST_MEMORY),
    ("the memory of a sidecar beside it", {"sidecars": [SIXTY]}, Reason.HOST_MEMORY),
    ("the CPU of sidecars", {"sidecars": [{"name": name, "image": "x:1", "resources": {"cpu": "4"}} for name in "ab"]}, Reason.HOST_CPU),
    ("a modest overlay", {"resources": {"cpu": "3"}, "sidecars": [{"name": "a", "image": "x:1", "resources": {"memory": "1Gi"}}]}, None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "template", "reason"), HOST, ids=[row[0] for row in HOST])
def test_the_whole_pod_must_fit_its_node(why: str, template: Manifest, reason: Reason | None) -> None:
    found = verdict(LLAMA_8B, engine={"maxModelLen": 8192}, template=template, store=Files(SMALL))
    assert (found.reason if isinstance(found, Reject) else None) == reason


def test_what_the_overlay_adds_is_in_the_plan_and_booked() -> None:
    template = {"resources": {"memory": "40Gi"}, "sidecars": [SIXTY | {"resources": {"memory": "1Gi", "cpu": "500m"}}]}
    bare = planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=Files(SMALL)))
    plan = planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, template=template, store=Files(SMALL)))
    assert plan.host_memory_bytes + plan.template_memory_bytes == 41 << 30
    assert (plan.template_cpu_millis, bare.template_cpu_millis, bare.template_memory_bytes) == (500, 0, 0)
    assert PlanStatus.of(plan).as_plan() == plan
    ledger = Ledger()
    ledger.node_changed(("", "l4"), None, SMALL)
    ledger.reserve(("team", "chat"), Reservation(plan=plan, replicas=1, child_replicas=1))
    (booked,) = [pool for pool in ledger.pools() if pool.booked_gpus]
    (left,) = [row for row in booked.free_nodes if row.nodes]
    assert left.host_memory_bytes is not None
    assert left.host_memory_bytes <= (64 - 41) << 30


def policy(**spec: Any) -> FitPolicy:
    return parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": spec})


@pytest.mark.parametrize(("allowed", "reason"), [((), Reason.POLICY_CAP), (("other",), Reason.POLICY_CAP), (("models",), None)])
def test_an_account_is_used_only_where_the_policy_lists_it(allowed: tuple[str, ...], reason: Reason | None) -> None:
    store = Files(SMALL, policies=(policy(allowedServiceAccounts=list(allowed)),))
    found = verdict(LLAMA_8B, engine={"maxModelLen": 8192}, template={"serviceAccountName": "models"}, store=store)
    assert (found.reason if isinstance(found, Reject) else None) == reason
    if isinstance(found, Reject):
        assert found.field == "spec.template.serviceAccountName"


def test_a_listed_account_brings_its_token() -> None:
    item = deployment(engine={"maxModelLen": 8192}, template={"serviceAccountName": "models"})
    plan = planned(verdict(engine={"maxModelLen": 8192}))
    spec = render_deployment(item, plan, Origin(generation=1, spec_digest="", replan=""))["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "models"
    assert "automountServiceAccountToken" not in spec


def test_laying_over_leaves_the_plan_s_own_template_as_it_was() -> None:
    first = json.dumps(pod_of())
    pod_of(FULL)
    assert json.dumps(pod_of()) == first
