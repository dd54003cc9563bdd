"""Whatever a spec may say and be admitted with, the API server takes the objects that are made of it: at each bound, by a dry run."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import Json
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, manifest
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import GPUPool, parse_inference_deployment, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.render import Origin, render_budget, render_service, render_workload
from plimsoll_operator.verdict import Admit

pytestmark = pytest.mark.e2e
LONG = "a" * 61
PREFIX = f"{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 70}"
KEY, VALUE, NAME = f"{PREFIX}/{LONG}_z", f"A{LONG}9", f"{PREFIX}"
CONFIG: Json = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 2048, "num_hidden_layers": 16,
    "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
}  # fmt: skip
HOPPER = {"nvidia.com/gpu.compute.major": "9", "nvidia.com/gpu.compute.minor": "0"}
NODES = [
    gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559, host="8000Ti", cpu="999999999", disk="8000Ti"),
    gpu_node("long", "N" * 63, 4, 81559, labels=HOPPER, host="8000Ti", cpu="999999999", disk="8000Ti"),
]
TOKEN = {"huggingFace": {"tokenSecretRef": {"name": NAME, "key": "t"}}}
CLAIM = {"persistentVolumeClaim": {"claimName": NAME, "path": "a b/$(X)/ü"}}
CACHE = {"persistentVolumeClaim": {"claimName": NAME, "path": "hub", "layout": "HubCache"}}
PULLED = {"image": {"reference": f"ghcr.io/acme/llama@sha256:{'0' * 64}", "path": "models", "pullPolicy": "Always"}}
ADAPTERS = {"name": "adapters", "mountPath": "/adapters", "subPath": "a/b", "image": {"reference": "REGISTRY/adapters:1"}}
SHAPE = {"inline": json.dumps(CONFIG)}
PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "Service": "/api/v1/namespaces/{}/services/{}",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/{}",
}

LIFE: Json = {
    "startupProbe": {"failureThreshold": 720},
    "livenessProbe": {"timeoutSeconds": 30, "periodSeconds": 20},
    "readinessProbe": {"failureThreshold": 1},
    "terminationGracePeriodSeconds": 900,
    "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", "5"]}}},
    "topologySpreadConstraints": [
        {"topologyKey": "topology.kubernetes.io/zone"},
        {"topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2, "nodeTaintsPolicy": "Honor"},
    ],
}
MORE: Json = {
    "imagePullPolicy": "IfNotPresent",
    "sharedMemorySize": "64Gi",
    "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
    "resources": {
        "cpu": 8,
        "limits": {"memory": "900Gi", "cpu": 64},
        "devices": {"rdma/hca": "2", "vpc.amazonaws.com/efa": "4", "hugepages-2Mi": "1Gi"},
    },
    "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    "volumes": [
        {"name": "hub", "mountPath": "/root/.cache/huggingface", "subPath": "a/b", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "fast", "mountPath": "/fast", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
    ],
    "initContainers": [
        {"name": "fetch", "image": "x:1", "command": ["/fetch"], "volumeMounts": [{"name": "fast", "mountPath": "/out"}]},
        {
            "name": "router",
            "image": "r:1",
            "restartPolicy": "Always",
            "ports": [{"name": "router", "containerPort": 8001}],
            "startupProbe": {"httpGet": {"path": "/up", "port": 8001}, "initialDelaySeconds": 1, "periodSeconds": 1},
            "livenessProbe": {"tcpSocket": {"port": 8001}},
            "readinessProbe": {"exec": {"command": ["/ready"]}},
            "securityContext": {"runAsUser": 7},
        },
    ],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 3, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["nvme"]}]}}
            ]
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "rack", "labelSelector": {"matchLabels": {"app": "x"}}}]
        },
        "podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {
                        "topologyKey": "zone",
                        "labelSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
                    },
                }
            ]
        },
    },
}
ADMITTED: list[tuple[str, Json]] = [
    ("no wish beyond the model", {}),
    (
        "labels: key and value as long as can be, and an empty one",
        {"template": {"labels": {KEY: VALUE, "A_.-9": "", "pod-template-hash": "x"}}},
    ),
    ("64 labels", {"template": {"labels": {f"example.com/k{n}": "v" for n in range(64)}}}),
    (
        "annotations: a prefix in capitals, text beyond ASCII, a cost",
        {"template": {"annotations": {f"Example.COM/{LONG}": "ü" * 100, "controller.kubernetes.io/pod-deletion-cost": "-2147483648"}}},
    ),
    ("annotations of nearly the whole overlay", {"template": {"annotations": {f"k{n}": "x" * 4096 for n in range(31)}}}),
    (
        "environment: names and values as long as can be",
        {"template": {"env": [{"name": f"E{n:03d}" + "X" * 124, "value": "$(A) $$ \u0001 <&>" * 200} for n in range(8)] + [{"name": "_"}]}},
    ),
    (
        "environment from a Secret and a ConfigMap",
        {
            "template": {
                "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": NAME, "key": ".a-_.B", "optional": True}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "a.b-c", "key": "k" * 253}}},
                ]
            }
        },
    ),
    (
        "volumes of each kind, and paths that are odd",
        {
            "template": {
                "volumes": [
                    {"name": "a" * 63, "mountPath": "/scratch dir/\n/x", "emptyDir": {"sizeLimit": "0.5"}},
                    {"name": "b", "mountPath": "//b/./c", "configMap": {"name": NAME}},
                    {"name": "c--c", "mountPath": "/" + "p" * 1023, "secret": {"name": "s"}},
                    {"name": "d", "mountPath": "/d", "persistentVolumeClaim": {"claimName": NAME, "readOnly": True}},
                ]
            }
        },
    ),
    ("probes, an end and places of its own", {"template": LIFE}),
    ("containers before and beside the engine, devices, limits, files in memory, a hub's cache on a claim, affinities", {"template": MORE}),
    ("no wait at the end", {"template": {"lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}}),
    ("a wait longer than the plan's end", {"template": {"lifecycle": {"preStop": {"sleep": {"seconds": 3600}}}}}),
    (
        "a wait as long as the end",
        {"template": {"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}, "terminationGracePeriodSeconds": 60}},
    ),
    ("huge pages in whole pages", {"template": {"resources": {"devices": {"hugepages-2Mi": "4Mi"}}}}),
    ("resources as large as can be on a node", {"template": {"resources": {"cpu": "1000.001", "memory": "1000.123456789Ti"}}}),
    (
        "sidecars with fractions of a byte and of a thousandth",
        {
            "template": {
                "sidecars": [
                    {"name": "s" * 63, "image": "x", "args": ["", "$(A)"], "resources": {"cpu": "0.001m", "memory": "0.5"}},
                    {"name": "t", "image": "REGISTRY/y:z", "env": [{"name": "A"}], "resources": {"cpu": "1.5m", "memory": "1k"}},
                ]
            }
        },
    ),
    (
        "a security context of bounds",
        {
            "template": {
                "securityContext": {
                    "runAsUser": 2147483647,
                    "runAsGroup": 0,
                    "fsGroup": 2147483647,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "supplementalGroups": [0, 0, 2147483647],
                    "readOnlyRootFilesystem": True,
                }
            }
        },
    ),
    ("pull secrets", {"template": {"imagePullSecrets": [NAME, "a.b"]}}),
    (
        "tolerations of every form",
        {
            "placement": {
                "tolerations": [
                    {"operator": "Exists"},
                    {"operator": "Exists"},
                    {"key": KEY, "operator": "Equal", "value": VALUE, "effect": "PreferNoSchedule"},
                    {"key": "a", "value": "", "effect": "NoExecute", "tolerationSeconds": 1 << 40},
                ]
            }
        },
    ),
    ("names of cluster's objects", {"placement": {"priorityClassName": NAME, "schedulerName": NAME, "waitForCapacity": True}}),
    ("a product of 63 characters", {"placement": {"gpuProducts": ["N" * 63]}}),
    ("a token of the namespace's own", {"model": {"name": LLAMA_8B, "source": TOKEN}}),
    ("replicas that stay", {"podDisruptionBudget": {"minAvailable": 10_000}}),
    ("a share that may be missing", {"podDisruptionBudget": {"maxUnavailable": "100%"}}),
    ("an image", {"model": {"name": LLAMA_8B, "source": PULLED, "profile": SHAPE}, "template": {"volumes": [ADAPTERS]}}),
    ("the hub's cache on a claim", {"model": {"name": LLAMA_8B, "source": CACHE, "profile": SHAPE}}),
    ("a bucket", {"model": {"name": LLAMA_8B, "source": {"objectStorage": {"uri": "s3://weights/llama"}}, "profile": SHAPE}}),
    ("a volume with a path of its own", {"model": {"name": LLAMA_8B, "source": CLAIM, "profile": {"inline": json.dumps(CONFIG)}}}),
]
FAR = f"{'a' * 254}/b"


def engine_with(**fields: Any) -> Callable[[Json], None]:
    return lambda pod: pod["containers"][0].update(fields)


def pod_with(**fields: Any) -> Callable[[Json], None]:
    return lambda pod: pod.update(fields)


def apart(selector: Json, place: str = "host") -> Callable[[Json], None]:
    terms = [{"labelSelector": selector, "topologyKey": place}]
    return pod_with(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})


def pages(count: str) -> Callable[[Json], None]:
    amounts = {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": count}
    return engine_with(resources={"limits": amounts, "requests": amounts})


SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
# What `decision/checks/storable.py` refuses of such specs, laid on a pod that is taken.
REFUSED: list[tuple[str, Callable[[Json], None]]] = [
    ("a wait beyond the end", engine_with(lifecycle={"preStop": {"sleep": {"seconds": 36000}}})),
    ("the same spread twice", pod_with(topologySpreadConstraints=[SPREAD, SPREAD | {"maxSkew": 2}])),
    ("half a page", pages("3Mi")),
    ("a device's name that ends in a dash", engine_with(resources={"limits": {"rdma/a-": "1"}, "requests": {"rdma/a-": "1"}})),
    ("a label that is none", apart({"matchLabels": {"not a key!": "x"}})),
    ("an expression's that is none", apart({"matchExpressions": [{"key": FAR, "operator": "Exists"}]})),
    ("a place that is none", apart({}, FAR)),
]
LARGEST = {"template": {"env": [{"name": f"V{n:02d}", "value": "x" * 4060} for n in range(64)]}}


def rendered(spec: Json, files: Any) -> list[Json]:
    """What an admitted wish becomes."""
    raw = manifest(LLAMA_8B, engine={"tensorParallelSize": 1, "maxModelLen": 4096})
    raw["metadata"] |= {"name": "x" * 63, "uid": "6f1c"}
    raw["spec"] |= spec
    wish = parse_inference_deployment(raw)
    found = decide(facts_for(wish, files, applied_plan=None))
    assert isinstance(found, Admit), found
    budget = render_budget(wish, found.plan)
    made = [render_workload(wish, found.plan, Origin(generation=1, spec_digest="", replan="")), render_service(wish)]
    return made if budget is None else [*made, budget]


def taken(cluster: Cluster, objects: list[Json], namespace: str = "default", dry: str = "dryRun=All&") -> None:
    for made in objects:
        path = PATHS[made["kind"]].format(namespace, made["metadata"]["name"])
        made["metadata"]["namespace"] = namespace
        settings = f"?{dry}fieldManager=plimsoll-controller&force=true&fieldValidation=Strict"
        status, answer = cluster.request("PATCH", path + settings, made, content_type="application/apply-patch+yaml")
        assert status in (200, 201), answer.get("message")


@pytest.mark.parametrize(("why", "spec"), ADMITTED, ids=[why for why, _ in ADMITTED])
def test_what_is_admitted_is_taken(cluster: Cluster, why: str, spec: Json) -> None:
    taken(cluster, rendered(spec, Files(*NODES)))


@pytest.mark.parametrize(("why", "change"), REFUSED, ids=[why for why, _ in REFUSED])
def test_what_is_refused_at_the_door_would_be_refused_of_the_pods(cluster: Cluster, why: str, change: Callable[[Json], None]) -> None:
    made, _ = rendered({}, Files(*NODES))
    change(made["spec"]["template"]["spec"])
    with pytest.raises(AssertionError, match=r"is invalid|duplicate entries"):
        taken(cluster, [made])


def test_the_largest_overlay_that_is_admitted_can_be_stored(cluster: Cluster, namespace: str) -> None:
    """Not a dry run: what is too large is refused by etcd."""
    made, _ = rendered(LARGEST, Files(*NODES))
    made["spec"]["replicas"] = 0
    del made["metadata"]["ownerReferences"]
    taken(cluster, [made], namespace, dry="")


@pytest.mark.parametrize("sharing", ["time-slicing", "mps"])
def test_a_declared_pool_with_a_product_as_long_as_can_be_is_taken(cluster: Cluster, sharing: str) -> None:
    declared = {"product": "P" * 60, "gpusPerNode": 1, "maxNodes": 2, "declared": True, "computeCapability": "9.0", "sharing": sharing}
    declared |= {"sharingReplicas": 2, "usableMemoryBytes": "80Gi"}
    declared |= {"node": {"hostMemoryBytes": "500Gi", "cpu": "64", "ephemeralStorageBytes": "900Gi"}}
    files = Files()
    body = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "GPUPool", "metadata": {"name": "p"}, "spec": declared}
    files.pools = [parse_object(GPUPool, body)]
    engine = {"image": "vllm/vllm-openai:v0.19.0", "gpuMemoryUtilization": 0.4}
    taken(cluster, rendered({"placement": {"sharing": sharing}, "engine": engine}, files))
