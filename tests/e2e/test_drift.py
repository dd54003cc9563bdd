"""Others change our children on a real API server: what the plan sets is put back, and what runs is never lost over a name."""

import json
import time
from collections.abc import Callable

import pytest
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, Installation
from tests.e2e.wishes import MERGE, Wishes, wish

pytestmark = pytest.mark.e2e
NAME_LABEL = f"{GROUP}/name"
MANAGED_LABEL = "app.kubernetes.io/managed-by"


@pytest.fixture
def wishes(installation: Installation, namespace: str) -> Wishes:
    return Wishes(installation.cluster, namespace)


def service_path(wishes: Wishes, name: str) -> str:
    return f"/api/v1/namespaces/{wishes.namespace}/services/{name}"


def child_path(wishes: Wishes, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{wishes.namespace}/deployments/{name}"


def patched(wishes: Wishes, path: str, patch: Json) -> None:
    status, answer = wishes.cluster.request("PATCH", path, patch, content_type=MERGE)
    assert status == 200, answer.get("message")


def leads_to(wishes: Wishes, name: str) -> tuple[object, list[tuple[object, ...]]]:
    spec = wishes.cluster.request("GET", service_path(wishes, name))[1]["spec"]
    return spec.get("selector"), [(port.get("name"), port["port"], port["targetPort"]) for port in spec.get("ports") or ()]


def stalled(wishes: Wishes, name: str) -> tuple[str, str]:
    rows = wishes.status(name).get("conditions", [])
    return next(((row["status"], row["reason"]) for row in rows if row["type"] == "Stalled"), ("", ""))


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"spec": {"selector": {NAME_LABEL: "other", "color": "blue"}}}, id="its selector"),
        pytest.param({"spec": {"ports": [{"name": "http", "port": 9000, "targetPort": 22}]}}, id="its port"),
        pytest.param(
            {"spec": {"type": "ExternalName", "externalName": "other.example.com", "selector": None, "ports": None}},
            id="what it stands for",
        ),
    ],
)
def test_a_service_that_somebody_has_bent_leads_to_the_pods_again(wishes: Wishes, patch: Json) -> None:
    wishes.create(wish("bent"))
    wishes.ready("bent")
    before, uids = leads_to(wishes, "bent"), wishes.uids("bent")
    patched(wishes, service_path(wishes, "bent"), patch)
    wait_until(lambda: leads_to(wishes, "bent") == before, "the Service to lead to the pods again", timeout_s=20)
    assert wishes.uids("bent") == uids


@pytest.mark.parametrize("path", [child_path, service_path], ids=["Deployment", "Service"])
@pytest.mark.parametrize("value", [None, "helm"], ids=["removed", "changed"])
def test_a_managed_by_label_that_somebody_has_bent_is_put_back(
    wishes: Wishes, path: Callable[[Wishes, str], str], value: str | None
) -> None:
    wishes.create(wish("unseen"))
    wishes.ready("unseen")
    uids = wishes.uids("unseen")
    patched(wishes, path(wishes, "unseen"), {"metadata": {"labels": {MANAGED_LABEL: value}}})

    def returned() -> bool:
        labels = wishes.cluster.request("GET", path(wishes, "unseen"))[1]["metadata"]["labels"]
        return bool(labels.get(MANAGED_LABEL) == "plimsoll")

    wait_until(returned, "the label to be put back", timeout_s=20)
    assert wishes.uids("unseen") == uids
    wishes.patch("unseen", {"spec": {"replicas": 2}})
    wait_until(lambda: len(wishes.pods("unseen")) == 2, "the child to be seen and scaled")


def test_a_taken_service_name_loses_nothing_and_is_taken_up_when_it_is_free(wishes: Wishes) -> None:
    wishes.create(wish("named"))
    wishes.ready("named")
    plan, uids = wishes.status("named")["plan"], wishes.uids("named")
    cluster = wishes.cluster
    strangers = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "named"},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]},
    }

    def taken() -> bool:
        # Ours comes back within milliseconds: whoever wants the name has to be quick.
        cluster.request("DELETE", service_path(wishes, "named"))
        return cluster.request("POST", f"/api/v1/namespaces/{wishes.namespace}/services", strangers)[0] == 201

    wait_until(taken, "a stranger's Service to get the name", every_s=0.0)
    wait_until(lambda: stalled(wishes, "named") == ("True", "NameTaken"), "status to say so", timeout_s=20)
    found = wishes.status("named")
    assert found["plan"] == plan
    assert any(f"A Service {wishes.namespace}/named exists" in row["message"] for row in found["conditions"])
    assert wishes.condition("named", "CapacityAvailable") == "True", "its pods' GPUs stay booked"
    assert wishes.uids("named") == uids
    assert cluster.request("GET", service_path(wishes, "named"))[1]["spec"]["selector"] == {"app": "other"}
    cluster.request("DELETE", service_path(wishes, "named"))
    wishes.ready("named")
    assert leads_to(wishes, "named")[0] == {NAME_LABEL: "named"}
    assert wishes.uids("named") == uids
    assert wishes.status("named")["plan"] == plan


def test_who_goes_on_changing_a_child_is_named_and_answered_ever_more_slowly(wishes: Wishes) -> None:
    wishes.create(wish("fought-over"))
    wishes.ready("fought-over")
    path = f"{child_path(wishes, 'fought-over')}/scale?fieldManager=greedy-autoscaler"
    put_back, until = 0, time.monotonic() + 12
    while time.monotonic() < until:
        child = wishes.child("fought-over")
        assert child is not None
        if child["spec"]["replicas"] != 3:
            patched(wishes, path, {"spec": {"replicas": 3}})
            put_back += 1
        time.sleep(0.02)
    print(f"put back {put_back} times in 12 s")
    assert 2 <= put_back <= 6
    assert stalled(wishes, "fought-over") == ("False", "ChangedByOthers")
    said = [row["message"] for row in wishes.status("fought-over")["conditions"] if row["reason"] == "ChangedByOthers"]
    assert len(said) == 3
    assert [message for message in said if 'by "greedy-autoscaler" again and again' in message] == said[:1]
    assert set(said[1:]) == {"see Progressing"}
    events = wishes.cluster.kubectl("get", "events", "-n", wishes.namespace, "-o", "json").stdout
    assert any(row["reason"] == "ChangedByOthers" and "greedy-autoscaler" in row["message"] for row in json.loads(events)["items"])
    wishes.ready("fought-over")
    child = wishes.child("fought-over")
    assert child is not None
    assert child["spec"]["replicas"] == 1


def test_a_child_that_its_tenant_hands_to_another_owner_is_left_alone_and_taken_up_when_it_is_put_right(wishes: Wishes) -> None:
    wishes.create(wish("handed-over"))
    wishes.ready("handed-over")
    uids, child = wishes.uids("handed-over"), wishes.child("handed-over")
    assert child is not None
    ours = child["metadata"]["ownerReferences"]
    other = {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "mine", "uid": "f1", "controller": True}
    owners = [ours[0] | {"controller": False}, other]
    patched(wishes, child_path(wishes, "handed-over"), {"metadata": {"ownerReferences": owners}})
    wishes.patch("handed-over", {"spec": {"replicas": 2, "template": {"labels": {"a": "b"}}}})
    wait_until(lambda: stalled(wishes, "handed-over") == ("True", "NotControlled"), "status to say so", timeout_s=20)
    said = [row["message"] for row in wishes.status("handed-over")["conditions"] if row["reason"] == "NotControlled"]
    assert sum("remove Fleet mine from its metadata.ownerReferences" in message for message in said) == 1, "it is said once"
    assert wishes.uids("handed-over") == uids
    patched(wishes, child_path(wishes, "handed-over"), {"metadata": {"ownerReferences": ours}})
    wishes.ready("handed-over")
    wait_until(lambda: len(wishes.pods("handed-over")) == 2, "the new spec to be applied")
    assert stalled(wishes, "handed-over") == ("False", "NotStalled")
