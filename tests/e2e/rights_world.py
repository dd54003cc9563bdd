"""An API server with the chart's rights and guards, nothing that acts on its objects, and the controller's token in a thief's hand.

For test_controller_rights. Manifests are those that the controller renders, so that each attack differs from its work in one thing.
"""

from __future__ import annotations

import copy
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, NAMESPACE, RELEASE, apply, manifests
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator import group, render
from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings, reader_pod
from plimsoll_operator.read_request import ByPod, ImageVolume, ReadRequest, TokenHub, Volume
from plimsoll_operator.verdict import Plan

Change = Callable[[Json], object]
TEAM, NAME, STRANGER = "team", "chat", "payments"
IMAGE, HUB = "plimsoll/operator:under-test", "https://mirror.example"
VALUES = (
    "processes.enabled=false",
    f"reader.image={IMAGE}",
    f"hub.endpoint={HUB}",
    "webhook.url=https://127.0.0.1:1/",
    # Of the form of a certificate: nobody calls this webhook.
    "webhook.caBundle=LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BQT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=",
    f"controller.serviceAccounts[0].namespace={TEAM}",
    "controller.serviceAccounts[0].name=engine",
    "controller.csiDrivers[0]=csi.example.com",
)
FIRST = ("Namespace", "CustomResourceDefinition")
LATER = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
GUARDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
MERGE, APPLY, JSON = "application/merge-patch+json", "application/apply-patch+yaml", "application/json"
SPREAD = replace(PLAN, nodes_per_replica=2, gpus_per_replica=2, tensor_parallel_size=2)
VOLUME, TOKEN = Volume(claim="weights", path="b"), TokenHub(secret="hub", key="token")
PULLED = ImageVolume(reference="ghcr.io/acme/llama:1", path="models")
_PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "LeaderWorkerSet": "/apis/leaderworkerset.x-k8s.io/v1/namespaces/{namespace}/leaderworkersets",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
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


def install(plane: ControlPlane, *more: str) -> None:
    """Kinds, rights and guards of the chart, one namespace of a tenant, and a LeaderWorkerSet kind without its controller."""
    objects = manifests(plane, *VALUES, *more)
    apply(plane, [one for one in objects if one["kind"] in FIRST])
    for kind in (one["metadata"]["name"] for one in objects if one["kind"] == "CustomResourceDefinition"):
        plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{kind}")
    apply(plane, [leader_worker_sets(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}}])
    apply(plane, sorted((one for one in objects if one["kind"] in LATER), key=lambda one: LATER.index(one["kind"])))
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

    def budget(self) -> Json:
        """The PodDisruptionBudget of a deployment that has none yet."""
        raw = wish("other")
        raw["metadata"] |= {"uid": "11111111-1111-1111-1111-111111111111", "generation": 1}
        raw["spec"]["podDisruptionBudget"] = {"minAvailable": 1}
        return copy.deepcopy(render.render_budget(parse_inference_deployment(raw), PLAN) or {})

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


def reader(source: ByPod, namespace: str = TEAM) -> Json:
    """A reader pod as the controller makes it."""
    wanted = ReadRequest(namespace=namespace, model="acme/in-house", revision=None, source=source)
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
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": {"maxUnavailable": 0}},
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


def moved(manifest: Json, **metadata: object) -> Json:
    """The manifest of another name or place."""
    return {**manifest, "metadata": {**manifest["metadata"], **metadata}}


def event(**fields: object) -> Json:
    """What the controller says of an InferenceDeployment."""
    regarding = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "namespace": TEAM, "name": NAME}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": TEAM, "name": "chat.1"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "plimsoll.dev/plimsoll-controller",
        "reportingInstance": "x",
        "action": "Plan",
        "reason": "PlanApplied",
        "type": "Normal",
        "regarding": regarding | fields,
    }


def lease(name: str = "plimsoll-controller") -> Json:
    """What the leader holds."""
    metadata = {"namespace": NAMESPACE, "name": name}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": "x"}}


def beyond_all() -> list[Json]:
    """For each guard something that it alone refuses, or refuses too."""
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"namespace": TEAM, "name": "x"},
        "spec": {},
    }
    labelled = moved(reader(VOLUME), labels={**reader(VOLUME)["metadata"]["labels"], "app": STRANGER})
    own = [profile("ModelProfile", "x", managed=False), pool("x", derived=True, product="NVIDIA-L4"), event(kind="Pod"), lease("x")]
    return [*(moved(one, name="x") for one in strangers()[:4]), group, labelled, *own]


def _refused(who: Caller, one: Json) -> bool:
    return who.create(one)[0] in (403, 422)


def begin(plane: ControlPlane, *more: str) -> World:
    """Install with further values of the chart, and make what the table of attacks is about."""
    install(plane, *more)
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
    # Guards hold a moment after they were made, each in its own time.
    for one in beyond_all():
        wait_until(partial(_refused, thief, one), f"the guard of {one['kind']}s to hold")
    return world


def changed(manifest: Json, change: Change) -> Json:
    """The manifest with one thing put in."""
    made = copy.deepcopy(manifest)
    change(made)
    return made


def pods_of(manifest: Json) -> list[Json]:
    """The specs of the pods that it is or makes."""
    spec: Json = manifest["spec"]
    if "leaderWorkerTemplate" in spec:
        return [spec["leaderWorkerTemplate"][part]["spec"] for part in ("leaderTemplate", "workerTemplate")]
    return [spec["template"]["spec"]] if "template" in spec else [spec]


def in_pod(**fields: object) -> Change:
    return lambda made: [pod.update(fields) for pod in pods_of(made)]


def in_container(**fields: object) -> Change:
    return lambda made: [pod["containers"][0].update(fields) for pod in pods_of(made)]


def in_security(**fields: object) -> Change:
    return lambda made: [pod["containers"][0]["securityContext"].update(fields) for pod in pods_of(made)]


def beside(**container: object) -> Change:
    return lambda made: [pod["containers"].append(dict(container)) for pod in pods_of(made)]


def mounting(**volume: object) -> Change:
    return lambda made: [pod.setdefault("volumes", []).append({"name": "extra", **volume}) for pod in pods_of(made)]


def with_env(**row: object) -> Change:
    return lambda made: [pod["containers"][0]["env"].append(row) for pod in pods_of(made)]


def owned(**fields: object) -> Change:
    return lambda made: made["metadata"]["ownerReferences"][0].update(fields)


def both(*changes: Change) -> Change:
    return lambda made: [change(made) for change in changes]
