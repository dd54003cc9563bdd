"""Containers, devices and volumes that spec.template brings: what reaches the pod, what counts, and what is refused by name."""

from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, verdict
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.rendering.rendering import PLAN, wish

from plimsoll_operator.api import ApiError, FitPolicy, parse_inference_deployment, parse_object
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.render import Origin, render_deployment
from plimsoll_operator.verdict import Admit, Reason, Reject

ORIGIN = Origin(generation=1, spec_digest="", replan="")
L4 = gpu_node("l4", "NVIDIA-L4", 4, 23034, host="64Gi", cpu="8")
CLAIM = {"persistentVolumeClaim": {"claimName": "c"}}


def pod_of(template: Any, **spec: Any) -> Any:
    return render_deployment(wish(template=template, **spec), PLAN, ORIGIN)["spec"]["template"]["spec"]


def engine_of(template: Any, **spec: Any) -> Any:
    return pod_of(template, **spec)["containers"][0]


def asked(template: Any, *policy: Any, engine: Any = None) -> Any:
    policies = tuple(
        parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": one})
        for one in policy
    )
    store = Files(L4, policies=policies)
    return verdict(LLAMA_8B, engine={"maxModelLen": 8192, **(engine or {})}, template=template, store=store)


BARE = engine_of({})
SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
ROUTER = {
    "name": "router",
    "image": "example/router:1",
    "imagePullPolicy": "Always",
    "command": ["/router"],
    "args": ["--port=8001"],
    "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    "ports": [{"name": "router", "containerPort": 8001}],
    "volumeMounts": [{"name": "work", "mountPath": "/work", "readOnly": True, "subPath": "a"}],
    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8001}, "periodSeconds": 3},
    "resources": {"cpu": "500m", "memory": "1Gi", "limits": {"memory": "2Gi"}},
    "securityContext": {"runAsUser": 7, "readOnlyRootFilesystem": True},
}
WORK = {"name": "work", "mountPath": "/work", "emptyDir": {}}
BLIND = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}


def test_no_container_beside_the_engine_is_shown_a_gpu_whatever_its_image_says() -> None:
    template = {
        "sidecars": [ROUTER],
        "initContainers": [{"name": "before", "image": "x:1", "env": ROUTER["env"]}],
        "runtimeClassName": "nvidia",
        "volumes": [WORK],
    }
    pod = render_deployment(wish(template=template), replace(PLAN, pod_form=2), ORIGIN)["spec"]["template"]["spec"]
    for one in (pod["containers"][1], *pod["initContainers"]):
        assert one["env"] == [BLIND, *ROUTER["env"]]
    assert BLIND not in pod["containers"][0].get("env", []), "the device plugin says which the engine is shown"


def test_a_sidecar_has_what_a_container_needs_and_no_right_more() -> None:
    pod = pod_of({"volumes": [WORK], "sidecars": [ROUTER]})
    assert pod["containers"][1] == ROUTER | {
        "securityContext": SAFE | {"runAsUser": 7, "readOnlyRootFilesystem": True},
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "ports": [{"name": "router", "containerPort": 8001, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8001, "scheme": "HTTP"}, "periodSeconds": 3},
    }


def test_containers_before_the_engine_may_stay_beside_it() -> None:
    pod = pod_of({"initContainers": [{"name": "fetch", "image": "x:1"}, ROUTER | {"restartPolicy": "Always"}], "volumes": [WORK]})
    fetch, router = pod["initContainers"]
    assert fetch == {"name": "fetch", "image": "x:1", "securityContext": SAFE, "env": [BLIND]}
    assert router["restartPolicy"] == "Always"
    assert len(pod["containers"]) == 1


PARTS = [
    ("a class of runtime", {"runtimeClassName": "nvidia"}, lambda pod: pod["runtimeClassName"] == "nvidia"),
    ("when the image is pulled", {"imagePullPolicy": "Never"}, lambda pod: pod["containers"][0]["imagePullPolicy"] == "Never"),
    ("a variable of the pod's name", {"env": [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
     lambda pod: pod["containers"][0]["env"][-1] == {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    ("more shared memory", {"sharedMemorySize": "64Gi"}, lambda pod: pod["volumes"][0]["emptyDir"]["sizeLimit"] == "64Gi"),
    ("less shared memory is none of it", {"sharedMemorySize": "1Mi"}, lambda pod: pod["volumes"][0]["emptyDir"]["sizeLimit"] == "3Gi"),
    ("a folder of a claim", {"volumes": [{"name": "d", "mountPath": "/d", "subPath": "a/b", **CLAIM}]},
     lambda pod: pod["containers"][0]["volumeMounts"][-1] == {"name": "d", "mountPath": "/d", "subPath": "a/b"}),
    ("memory that may not be swapped", {"securityContext": {"capabilities": {"add": ["IPC_LOCK"]}}},
     lambda pod: pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}),
    ("a volume of a driver's", {"volumes": [{"name": "s", "mountPath": "/s", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True,
     "volumeAttributes": {"secretProviderClass": "hub"}}}]},
     lambda pod: pod["volumes"][-1] == {"name": "s", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True,
     "volumeAttributes": {"secretProviderClass": "hub"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "template", "holds"), PARTS, ids=[row[0] for row in PARTS])
def test_each_part_reaches_the_pod(why: str, template: Any, holds: Any) -> None:
    assert holds(pod_of(template))


@pytest.mark.parametrize("count", ["2", 2], ids=["as text", "as the number that people write"])
def test_devices_are_requests_and_limits_and_gpus_stay_the_plan_s(count: str | int) -> None:
    found = engine_of({"resources": {"devices": {"rdma/hca": count, "hugepages-2Mi": "1Gi"}}})["resources"]
    assert found["limits"] == BARE["resources"]["limits"] | {"rdma/hca": "2", "hugepages-2Mi": "1Gi"}
    assert found["requests"] == BARE["resources"]["requests"] | {"rdma/hca": "2", "hugepages-2Mi": "1Gi"}


def test_limits_are_never_below_what_is_asked_for() -> None:
    low = engine_of({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}})["resources"]
    assert {name: low["limits"][name] for name in ("cpu", "memory")} == {name: low["requests"][name] for name in ("cpu", "memory")}
    high = engine_of({"resources": {"limits": {"cpu": "64", "memory": "900Gi"}}})["resources"]
    assert (high["limits"]["cpu"], high["limits"]["memory"]) == ("64000m", f"{900 * 1024}Mi")
    assert high["requests"] == BARE["resources"]["requests"]


def test_what_is_preferred_stands_beside_what_the_plan_requires() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "zone"}
    liked = {"weight": 3, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["nvme"]}]}}
    affinity = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [liked]},
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]},
    }
    laid, bare = pod_of({"affinity": affinity})["affinity"], pod_of({})["affinity"]
    assert laid["nodeAffinity"] == bare["nodeAffinity"] | affinity["nodeAffinity"]
    assert (laid["podAffinity"], laid["podAntiAffinity"]) == (affinity["podAffinity"], affinity["podAntiAffinity"])


# Where the hub's files are kept


def test_a_claim_may_keep_what_the_engine_downloads() -> None:
    cache = {"name": "hub", "mountPath": "/root/.cache/huggingface", **CLAIM}
    pod = pod_of({"volumes": [cache]})
    assert [row["name"] for row in pod["volumes"]] == ["shm", "hub"]
    found = asked({"volumes": [cache]})
    assert isinstance(found, Admit), found
    assert found.plan.ephemeral_storage_bytes < asked(None).plan.ephemeral_storage_bytes, "the files are not on the node's disk"
    home = {"name": "hub", "mountPath": "/home/vllm/.cache/huggingface", **CLAIM}
    as_user = {"securityContext": {"runAsUser": 7, "fsGroup": 7}, "volumes": [home]}
    assert asked(as_user).plan.ephemeral_storage_bytes == found.plan.ephemeral_storage_bytes
    assert {row["name"] for row in pod_of(as_user)["volumes"]} == {"shm", "hub-cache", "hub"}


@pytest.mark.parametrize("kind", [{"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "c", "readOnly": True}}])
def test_nothing_else_is_where_the_engine_downloads_to(kind: Any) -> None:
    with pytest.raises(ApiError, match="the plan mounts something here"):
        wish(template={"volumes": [{"name": "hub", "mountPath": "/root/.cache/huggingface", **kind}]})


# What counts


def test_files_in_memory_count_in_what_the_pod_asks_for() -> None:
    volume = {"name": "m", "mountPath": "/m", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}}
    bare, laid = asked(None).plan, asked({"volumes": [volume]}).plan
    assert laid.template_memory_bytes == 4 << 30
    assert laid.ephemeral_storage_bytes == bare.ephemeral_storage_bytes
    requests = engine_of({"volumes": [volume]})["resources"]["requests"]
    assert int(requests["memory"].removesuffix("Mi")) == int(BARE["resources"]["requests"]["memory"].removesuffix("Mi")) + 4096
    too_much = asked({"volumes": [volume | {"emptyDir": {"medium": "Memory", "sizeLimit": "60Gi"}}]})
    assert (type(too_much), too_much.reason) == (Reject, Reason.HOST_MEMORY)


def init(name: str, memory: str, *, stays: bool = False) -> Any:
    return {"name": name, "image": "x:1", "resources": {"memory": memory}} | ({"restartPolicy": "Always"} if stays else {})


INITS = [
    ("smaller than the engine", [init("a", "1Gi")], 0),
    ("one that stays beside the engine", [init("a", "1Gi", stays=True)], 1),
    ("larger than the engine", [init("a", "50Gi")], None),
    ("with those that stay by then", [init("a", "10Gi", stays=True), init("b", "40Gi")], None),
]


@pytest.mark.parametrize(("why", "containers", "gib"), INITS, ids=[row[0] for row in INITS])
def test_containers_before_the_engine_count_as_the_scheduler_counts_them(why: str, containers: Any, gib: int | None) -> None:
    bare, laid = asked(None).plan, asked({"initContainers": containers}).plan
    total = laid.host_memory_bytes + laid.template_memory_bytes
    assert total == (50 << 30 if gib is None else bare.host_memory_bytes + (gib << 30))


# What is refused


REFUSED = [
    ("a port of the engine's", {"sidecars": [{"name": "a", "image": "x", "ports": [{"name": "a", "containerPort": 8000}]}]},
     "spec.template.sidecars[0].ports[0].containerPort"),
    ("a port's name of the engine's", {"sidecars": [{"name": "a", "image": "x", "ports": [{"name": "http", "containerPort": 1}]}]},
     "spec.template.sidecars[0].ports[0].name"),
    ("a name of another container's", {"initContainers": [{"name": "a", "image": "x"}], "sidecars": [{"name": "a", "image": "x"}]},
     "spec.template.sidecars[0].name"),
    ("a volume that is not there", {"sidecars": [{"name": "a", "image": "x", "volumeMounts": [{"name": "weights", "mountPath": "/w"}]}]},
     "spec.template.sidecars[0].volumeMounts[0].name"),
    ("a limit below its request", {"sidecars": [{"name": "a", "image": "x", "resources": {"memory": "2Gi", "limits": {"memory": "1Gi"}}}]},
     "spec.template.sidecars[0].resources.limits.memory"),
    ("an account for a sidecar", {"volumes": [{"name": "t", "mountPath": "/t", "secret": {"name": "t"}}],
     "sidecars": [{"name": "a", "image":
     "x", "volumeMounts": [{"name": "t", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]},
     "spec.template.sidecars[0].volumeMounts[0].mountPath"),
    ("a folder outside of the volume", {"volumes": [{"name": "d", "mountPath": "/d", "subPath": "a/../../b", **CLAIM}]},
     "spec.template.volumes[0].subPath"),
    ("a driver that no policy lists", {"volumes": [{"name": "d", "mountPath": "/d", "csi": {"driver": "d.example"}}]},
     "spec.template.volumes[0].csi.driver"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "template", "field"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_run_or_may_not_is_refused_by_name(why: str, template: Any, field: str) -> None:
    found = asked(template)
    assert isinstance(found, Reject), found
    assert found.field == field


def test_the_port_that_counts_is_the_engine_s_own() -> None:
    sidecar = {"name": "a", "image": "x", "ports": [{"name": "a", "containerPort": 8000}]}
    assert isinstance(asked({"sidecars": [sidecar]}, engine={"port": 9000}), Admit)


def test_a_policy_says_which_drivers_and_images_there_may_be() -> None:
    csi = {"volumes": [{"name": "d", "mountPath": "/d", "csi": {"driver": "d.example"}}]}
    assert isinstance(asked(csi, {"allowedCsiDrivers": ["d.example"]}), Admit)
    found = asked({"initContainers": [{"name": "a", "image": "evil/x:1"}]}, {"allowedImages": ["docker.io/vllm"]})
    assert (found.reason, found.field) == (Reason.POLICY_FORBIDS, "spec.template.initContainers[0].image")


def test_scratch_space_that_another_container_fills_may_bring_code() -> None:
    own = {"name": "o", "mountPath": "/opt/x", "emptyDir": {}}
    filler = {"name": "a", "image": "x:1", "volumeMounts": [{"name": "o", "mountPath": "/out"}]}
    deny = {"codeLoading": "Deny"}
    assert isinstance(asked({"volumes": [own]}, deny), Admit)
    found = asked({"volumes": [own], "initContainers": [filler]}, deny)
    assert (found.reason, found.field) == (Reason.POLICY_FORBIDS, "spec.template.volumes")


FORBIDDEN = [
    ({"hostPID": True}, "leave it out"),
    ({"nodeSelector": {"a": "b"}}, "is spec.placement.nodeSelector"),
    ({"containers": []}, "is sidecars"),
    ({"volumes": [{"name": "h", "mountPath": "/h", "hostPath": {"path": "/"}}]}, "use a claim"),
    ({"sidecars": [{"name": "a", "image": "x", "securityContext": {"privileged": True}}]}, "leave it out"),
    ({"livenessProbe": {"httpGet": {"port": 1}}}, "asked for /health"),
    ({"somethingElse": 1}, "is not a known field"),
]


@pytest.mark.parametrize(("template", "says"), FORBIDDEN, ids=[str(row[0])[:40] for row in FORBIDDEN])
def test_a_field_that_there_is_not_says_what_to_do_instead(template: Any, says: str) -> None:
    with pytest.raises(ApiError, match=says):
        wish(template=template)


def test_words_of_a_pod_elsewhere_are_unknown_fields_only() -> None:
    body = {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {"name": "x"}}
    spec = {"model": {"name": "a"}, "engine": {"image": "vllm/vllm-openai:v0.19.0", "command": ["x"]}}
    with pytest.raises(ApiError, match="is not a known field"):
        parse_inference_deployment(body | {"spec": spec})


@pytest.mark.parametrize("kind", ["sidecars", "initContainers"])
def test_a_probe_that_is_not_supported_says_which_are(kind: str) -> None:
    one = {"name": "x", "image": "a:1", "restartPolicy": "Always", "readinessProbe": {"grpc": {"port": 1}}}
    with pytest.raises(ApiError, match="use httpGet, tcpSocket or exec"):
        asked({kind: [{key: value for key, value in one.items() if kind == "initContainers" or key != "restartPolicy"}]})
