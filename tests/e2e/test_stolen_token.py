"""What the guards leave to whoever holds the controller's token does not last: it has no owner, or its owner puts it right."""

from __future__ import annotations

import json

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, NAMESPACE, RELEASE, Installation
from tests.e2e.objects import GARBAGE_COLLECTION_S, apply, deployment, running
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator import render
from plimsoll_operator.api import parse_inference_deployment

pytestmark = pytest.mark.e2e
NOBODY = "11111111-1111-1111-1111-111111111111"


def child_of_nobody(namespace: str) -> Json:
    wish: Json = json.loads(deployment("ghost"))
    wish["metadata"] |= {"namespace": namespace, "uid": NOBODY, "generation": 1}
    return render.render_workload(parse_inference_deployment(wish), PLAN, render.Origin(generation=1, spec_digest="d", replan=""))


def test_a_child_whose_owner_does_not_exist_is_collected(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    stolen = cluster.kubeconfig_for(NAMESPACE, f"{RELEASE}-controller")
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(child_of_nobody(namespace)), kubeconfig=stolen)
    wait_until(lambda: not there(cluster, namespace, "ghost"), "the garbage collector to come", timeout_s=GARBAGE_COLLECTION_S)
    wait_until(lambda: not cluster.pods(namespace), "its pods to go", timeout_s=GARBAGE_COLLECTION_S)


def there(cluster: Cluster, namespace: str, name: str) -> bool:
    return cluster.kubectl("get", "deployment", name, "-n", namespace, check=False).returncode == 0


def test_another_image_in_a_child_is_put_right(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    apply(cluster, namespace, deployment("serve"))
    wait_until(lambda: running(cluster, namespace, "serve", 1), "its pod to run")
    stolen = cluster.kubeconfig_for(NAMESPACE, f"{RELEASE}-controller")
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "vllm", "image": "evil/tool:1"}]}}}}
    cluster.kubectl("patch", "deployment", "serve", "-n", namespace, "-p", json.dumps(patch), kubeconfig=stolen)

    def images() -> set[str]:
        spec = cluster.get("deployment", "serve", "-n", namespace)["spec"]["template"]["spec"]
        return {container["image"] for container in spec["containers"]}

    wait_until(lambda: images() == {"vllm/vllm-openai:v0.19.0"}, "the controller to put it right")
    owners = cluster.get("deployment", "serve", "-n", namespace)["metadata"]["ownerReferences"]
    assert [(row["apiVersion"], row["controller"]) for row in owners] == [(f"{GROUP}/v1alpha1", True)]
