"""An API server with the chart's rights and guards, nothing that acts on its objects, and the controller's token in a thief's hand.

For test_controller_rights. Manifests are those that the controller renders, so that each attack differs from its work in one thing.
"""

from __future__ import annotations

import copy
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from typing import Any

from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, NAMESPACE, RELEASE, apply, manifests
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator import group, render
from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings, reader_pod
from plimsoll_operator.verdict import Plan
from plimsoll_operator.wanted import TokenHub, Volume, Wanted

TEAM, NAME, STRANGER = "team", "chat", "payments"
IMAGE, HUB = "plimsoll/operator:under-test", "https://mirror.example"
VALUES = (
    "processes.enabled=false",
    f"reader.image={IMAGE}",
    f"hub.endpoint={HUB}",
    "webhook.url=https://127.0.0.1:1/",
    "webhook.caBundle=eA==",
)
FIRST = ("Namespace", "CustomResourceDefinition")
LATER = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
GUARDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
MERGE, APPLY, JSON = "application/merge-patch+json", "application/apply-patch+yaml", "application/json"
SPREAD = replace(PLAN, nodes_per_replica=2, gpus_per_replica=2, tensor_parallel_size=2)
_PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "LeaderWorkerSet": "/apis/leaderworkerset.x-k8s.io/v1/namespaces/{namespace}/leaderworkersets",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Event": "/apis/events.k8s.io/v1/namespaces/{namespace}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    "ModelProfile": f"/apis/{GROUP}/v1alpha1/namespaces/{{namespace}}/modelprofiles",
    "ClusterModelProfile": f"/apis/{GROUP}/v1alpha1/clustermodelprofiles",
    "GPUPool": f"/apis/{GROUP}/v1alpha1/gpupools",
    "InferenceDeployment": f"/apis/{GROUP}/v1alpha1/namespaces/{{namespace}}/inferencedeployments",
}


def path_of(manifest: Json, *, named: bool = True) -> str:
    """URL path of an object, or of its collection."""
    metadata = manifest["metadata"]
    path = _PATHS[manifest["kind"]].format(namespace=metadata.get("namespace", ""))
    return f"{path}/{metadata['name']}" if named else path


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One identity at the API server, by its token alone."""

    server: str
    tls: ssl.SSLContext
    token: str

    def call(self, method: str, path: str, body: object = None, content_type: str = JSON) -> tuple[int, Json]:
        """Status and answer. Always a dry run: admission is asked, nothing is kept."""
        query = "?dryRun=All" + ("&fieldManager=plimsoll-controller&force=true" if content_type == APPLY else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type, "Accept": JSON}
        request = urllib.request.Request(self.server + path + query, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def create(self, manifest: Json) -> tuple[int, Json]:
        """By POST."""
        return self.call("POST", path_of(manifest, named=False), manifest)

    def apply(self, manifest: Json) -> tuple[int, Json]:
        """By server-side apply with force, as the controller does."""
        return self.call("PATCH", path_of(manifest), manifest, APPLY)

    def patch(self, manifest: Json, patch: Json) -> tuple[int, Json]:
        """By merge patch of the object that the manifest names."""
        return self.call("PATCH", path_of(manifest), patch, MERGE)

    def edit(self, manifest: Json, *steps: Json) -> tuple[int, Json]:
        """By JSON patch of the object that the manifest names."""
        return self.call("PATCH", path_of(manifest), steps, "application/json-patch+json")

    def delete(self, manifest: Json) -> tuple[int, Json]:
        """The object that the manifest names."""
        return self.call("DELETE", path_of(manifest))


def caller(plane: ControlPlane, account: str) -> Caller:
    """Whoever has got hold of the account's token."""
    tls = ssl.create_default_context(cafile=str(plane.pki.folder / "ca.crt"))
    return Caller(server=plane.server, tls=tls, token=plane.token_for(NAMESPACE, account))


def install(plane: ControlPlane) -> None:
    """Kinds, rights and guards of the chart, one namespace of a tenant, and a LeaderWorkerSet kind without its controller."""
    objects = manifests(plane, *VALUES)
    apply(plane, [one for one in objects if one["kind"] in FIRST])
    for kind in (one["metadata"]["name"] for one in objects if one["kind"] == "CustomResourceDefinition"):
        plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{kind}")
    apply(plane, sorted((one for one in objects if one["kind"] in LATER), key=lambda one: LATER.index(one["kind"])))
    apply(plane, [leader_worker_sets(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}}])
    for namespace, name in ((TEAM, "default"), (TEAM, "admin"), ("kube-system", "default"), (NAMESPACE, "default")):
        apply(plane, [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}])
    apply(plane, [one for one in objects if one["kind"] in GUARDS])


def leader_worker_sets() -> Json:
    """The kind as far as an API server needs it."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "LeaderWorkerSet", "plural": "leaderworkersets", "singular": "leaderworkerset", "listKind": "LeaderWorkerSetList"}
    spec = {"group": "leaderworkerset.x-k8s.io", "scope": "Namespaced", "names": names, "versions": [version]}
    name = "leaderworkersets.leaderworkerset.x-k8s.io"
    note = {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/lws"}
    metadata = {"name": name, "annotations": note}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}


def wish(name: str = NAME, **template: Any) -> Json:
    """An InferenceDeployment as its user writes it, with all that spec.template may lay over the pod."""
    overlay = {
        "labels": {"team": "a"},
        "env": [{"name": "A", "value": "b"}],
        "volumes": [
            {"name": "scratch", "mountPath": "/scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "settings", "mountPath": "/settings", "configMap": {"name": "settings"}},
            {"name": "keys", "mountPath": "/keys", "secret": {"name": "keys"}},
            {"name": "data", "mountPath": "/data", "persistentVolumeClaim": {"claimName": "data"}},
        ],
        "sidecars": [{"name": "proxy", "image": "acme/proxy:1"}],
    }
    spec = {
        "model": {"name": "acme/tiny"},
        "engine": {"image": "vllm/vllm-openai:v0.19.0"},
        "placement": {"waitForCapacity": True},
        "template": overlay | template,
    }
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"namespace": TEAM, "name": name}, "spec": spec}


@dataclass(kw_only=True)
class World:
    """What the controller makes for one InferenceDeployment, and what others have in the same namespace."""

    plane: ControlPlane
    uid: str

    def child(self, name: str = NAME, *, plan: Plan = PLAN, uid: str = "", **template: Any) -> Json:
        """The Deployment, or the LeaderWorkerSet of a plan over nodes."""
        raw = wish(name, **template)
        raw["metadata"] |= {"uid": uid or self.uid, "generation": 1}
        origin = render.Origin(generation=1, spec_digest="d", replan="")
        return copy.deepcopy(render.render_workload(parse_inference_deployment(raw), plan, origin))

    def service(self) -> Json:
        """The Service."""
        raw = wish()
        raw["metadata"] |= {"uid": self.uid, "generation": 1}
        return copy.deepcopy(render.render_service(parse_inference_deployment(raw)))

    def engine_pod(self) -> Json:
        """A pod of the plan behind the gate, as the ReplicaSet makes it."""
        template = self.child()["spec"]["template"]
        metadata = {"namespace": TEAM, "name": f"{NAME}-1", "labels": template["metadata"]["labels"]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def group_of(world: World) -> Json:
    """The LeaderWorkerSet of a plan over two nodes."""
    made = world.child(plan=SPREAD)
    assert made["metadata"]["name"] == group.name_of(NAME)
    return made


def reader(source: Volume | TokenHub, namespace: str = TEAM) -> Json:
    """A reader pod as the controller makes it."""
    wanted = Wanted(namespace=namespace, model="acme/in-house", revision=None, source=source)
    return reader_pod(wanted, source, ReaderSettings(image=IMAGE, hub_endpoint=HUB))


def strangers() -> list[Json]:
    """What somebody else has in the namespace."""
    labels = {"app": STRANGER}
    pod = {"containers": [{"name": "main", "image": "acme/payments:1"}]}
    gated = {**pod, "schedulingGates": [{"name": "acme/quota"}]}
    metadata = {"namespace": TEAM, "name": STRANGER, "labels": labels}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "name": "gated"}, "spec": gated},
    ]


def profile(kind: str, name: str, *, managed: bool) -> Json:
    """A profile of the controller's, or of a person's."""
    metadata: Json = {"name": name, "labels": {"app.kubernetes.io/managed-by": "plimsoll"} if managed else {}}
    metadata |= {"namespace": TEAM} if kind == "ModelProfile" else {}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": {"model": "acme/tiny", "config": "{}"}}


def pool(name: str, *, derived: bool, **spec: Any) -> Json:
    """A GPUPool that the controller derives, or one of the administrator's."""
    notes = {f"{GROUP}/indexed-label-keys": ""} if derived else {}
    made: Json = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "GPUPool", "metadata": {"name": name, "annotations": notes}}
    return made | {"spec": spec} if spec else made


def begin(plane: ControlPlane) -> World:
    """Install, and make what the table of attacks is about."""
    install(plane)
    status, made = plane.request("POST", path_of(wish(), named=False), wish())
    assert status == 201, made
    world = World(plane=plane, uid=made["metadata"]["uid"])
    own = [world.child(), group_of(world), world.service(), world.engine_pod(), reader(Volume(claim="weights", path="a"))]
    kept = [profile(kind, name, managed=name == "read") for kind in ("ModelProfile", "ClusterModelProfile") for name in ("read", "written")]
    pools = [pool("derived", derived=True), pool("corrected", derived=True, product="NVIDIA-L4"), pool("declared", derived=False)]
    for one in (*own, *strangers(), *kept, *pools):
        status, answer = plane.request("POST", path_of(one, named=False), one)
        assert status == 201, answer
    thief = caller(plane, f"{RELEASE}-controller")
    # Guards hold a moment after they were made.
    wait_until(lambda: thief.create({**strangers()[0], "metadata": {"namespace": TEAM, "name": "x"}})[0] == 403, "the guards to hold")
    return world
