import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from tests.plimsoll_operator.rendering.rendering import PLAN, value_of, wish

from plimsoll_operator import render
from plimsoll_operator.api import Plan
from plimsoll_operator.names import GENERATION_ANNOTATION, PLAN_ANNOTATION


def deployment(plan: Plan = PLAN, **spec: Any) -> dict[str, Any]:
    return render.render_deployment(wish(**spec), plan, render.Origin(generation=3, spec_digest="abc", replan=""))


def pod(plan: Plan = PLAN, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = deployment(plan, **spec)["spec"]["template"]["spec"]
    return found


def arguments(plan: Plan = PLAN, **spec: Any) -> list[str]:
    found: list[str] = pod(plan, **spec)["containers"][0]["args"]
    return found


ENGINE = {"image": "vllm/vllm-openai:v0.19.0"}


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--tensor-parallel-size", "2"),
        ("--gpu-memory-utilization", "0.931"),
        ("--max-model-len", "32768"),
        ("--max-num-seqs", "256"),
        ("--max-num-batched-tokens", "8192"),
        ("--dtype", "bfloat16"),
    ],
)
def test_every_size_of_the_plan_is_an_argument(flag: str, expected: str) -> None:
    container = pod()["containers"][0]
    assert container["command"] == ["vllm", "serve"]
    assert container["args"][0] == "acme/tiny-8b"
    assert value_of(flag, container["args"]) == expected


@pytest.mark.parametrize(
    ("plan", "spec", "present", "absent"),
    [
        (PLAN, {}, [], ["--quantization", "--pipeline-parallel-size", "--kv-cache-dtype", "--revision", "--enforce-eager"]),
        (replace(PLAN, pipeline_parallel_size=2), {}, ["--pipeline-parallel-size=2"], []),
        (replace(PLAN, data_parallel_size=4, gpus_per_replica=8), {}, ["--data-parallel-size=4"], ["--nnodes"]),
        (replace(PLAN, enable_expert_parallel=True), {}, ["--enable-expert-parallel"], []),
        (replace(PLAN, decode_context_parallel_size=2), {}, ["--decode-context-parallel-size=2"], []),
        (replace(PLAN, kv_cache_dtype="fp8"), {}, ["--kv-cache-dtype=fp8"], []),
        (replace(PLAN, model_revision="c0ffee"), {}, ["--revision", "c0ffee"], []),
        (PLAN, {"engine": {**ENGINE, "quantization": "fp8"}}, ["--quantization=fp8"], []),
        (PLAN, {"engine": {**ENGINE, "enforceEager": True}}, ["--enforce-eager"], []),
        (PLAN, {"engine": {**ENGINE, "enablePrefixCaching": False}}, ["--no-enable-prefix-caching"], ["--enable-prefix-caching"]),
        (PLAN, {"engine": {**ENGINE, "extraArgs": ["--disable-log-requests"]}}, ["--disable-log-requests"], []),
    ],
    ids=[
        "what the checkpoint or vLLM decides itself is not repeated",
        "stages",
        "engines",
        "whole experts",
        "shared caches",
        "a chosen cache type",
        "the commit that was planned for",
        "a pinned quantization",
        "eager",
        "a switch turned off uses vLLM's own negation",
        "the user's own arguments come last",
    ],
)
def test_arguments_follow_plan_and_spec(plan: Plan, spec: dict[str, Any], present: list[str], absent: list[str]) -> None:
    args = arguments(plan, **spec)
    assert " ".join(present) in " ".join(args)
    assert not set(absent) & {token.partition("=")[0] for token in args}


def test_gpu_requests_equal_limits_and_host_memory_rounds_up() -> None:
    resources = pod()["containers"][0]["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": "2"}
    assert resources["requests"]["nvidia.com/gpu"] == "2"
    assert resources["requests"]["memory"] == f"{20 * 1024 + 1}Mi"


def test_pods_are_bound_to_the_plans_products_and_the_users_selector_only() -> None:
    placement = {
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
    }
    spec = pod(replace(PLAN, gpu_products=("NVIDIA-L4", "NVIDIA-A10G")), placement=placement)
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-A10G", "NVIDIA-L4"]},
        {"key": "nvidia.com/gpu.sharing-strategy", "operator": "NotIn", "values": ["mps", "time-slicing"]},
    ]
    assert spec["nodeSelector"] == {"zone": "a"}
    assert spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"},
    ]


def test_probes_survive_a_load_of_an_hour_and_the_rollout_waits_for_it() -> None:
    container = pod()["containers"][0]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 3600
    assert deployment()["spec"]["progressDeadlineSeconds"] > 3600
    assert {container[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")} == {"/health"}


def test_a_volume_of_weights_is_mounted_read_only_and_served_under_the_models_name() -> None:
    source = {"persistentVolumeClaim": {"claimName": "weights", "path": "llama/8b"}}
    spec = pod(model={"name": "acme/tiny-8b", "source": source})
    args = spec["containers"][0]["args"]
    assert args[0] == "/models/llama/8b"
    assert args[1:3] == ["--served-model-name", "acme/tiny-8b"]
    assert {"name": "weights", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in spec["volumes"]
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in spec["containers"][0]["env"]


def test_the_hub_token_is_a_reference_and_never_a_value() -> None:
    source = {"huggingFace": {"tokenSecretRef": {"name": "hub", "key": "token"}}}
    env = pod(model={"name": "acme/tiny-8b", "source": source})["containers"][0]["env"]
    assert env == [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]


def test_shared_memory_is_in_memory_and_bounded() -> None:
    assert pod()["volumes"][0] == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "3Gi"}}


def test_children_go_with_their_owner_and_do_not_hold_it_back() -> None:
    for child in (deployment(), render.render_service(wish())):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (
            "InferenceDeployment",
            "u-1",
            True,
            False,
        )


def test_the_plan_can_be_read_back_from_the_child() -> None:
    annotations = deployment()["metadata"]["annotations"]
    assert Plan.from_json(annotations[PLAN_ANNOTATION]) == PLAN
    assert annotations[GENERATION_ANNOTATION] == "3"


def test_service_and_pods_meet_in_one_selector() -> None:
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    selector = render.render_service(wish())["spec"]["selector"]
    assert selector.items() <= labels.items()
    assert deployment()["spec"]["selector"]["matchLabels"] == selector
    assert render.selector_text(wish()) == "inference.plimsoll.dev/name=chat"


def test_an_update_surges_only_where_the_plan_found_a_free_gpu() -> None:
    rolled = {surge: deployment(replace(PLAN, may_surge=surge))["spec"]["strategy"]["rollingUpdate"] for surge in (True, False)}
    assert rolled == {True: {"maxSurge": 1, "maxUnavailable": 0}, False: {"maxSurge": 0, "maxUnavailable": 1}}


def test_rendering_twice_gives_the_same_bytes_and_survives_yaml() -> None:
    first, second = json.dumps(deployment()), json.dumps(deployment())
    assert first == second
    assert yaml.safe_load(yaml.safe_dump(deployment())) == deployment()


def test_scaling_and_availability_do_not_touch_the_pod_template() -> None:
    scaled = deployment(replace(PLAN, available_now=False), replicas=7)
    assert scaled["spec"]["template"] == deployment()["spec"]["template"]
    assert render.spec_digest({"replicas": 1, "a": 2}) == render.spec_digest({"replicas": 9, "a": 2})
    assert render.spec_digest({"a": 2}) != render.spec_digest({"a": 3})


def terms(plan: Plan) -> list[Any]:
    affinity = deployment(plan)["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [
        {(row["key"], row["operator"], *row.get("values", ())) for row in term["matchExpressions"]}
        for term in affinity["nodeSelectorTerms"]
    ]


GKE = "cloud.google.com/gke-"
WHOLE = ("nvidia.com/gpu.sharing-strategy", "NotIn", "mps", "time-slicing")
UNSHARED = {(f"{GKE}gpu-sharing-strategy", "DoesNotExist"), (f"{GKE}gpu-partition-size", "DoesNotExist")}
STEERED = [
    ("by the product label where nothing else is said", (), [{("nvidia.com/gpu.product", "In", "NVIDIA-H100-80GB-HBM3"), WHOLE}]),
    ("by GKE's accelerator, and away from shared and cut GPUs", (((f"{GKE}accelerator", "nvidia-l4"),),),
     [{(f"{GKE}accelerator", "In", "nvidia-l4"), WHOLE} | UNSHARED]),
    ("by any of several instance types", ((("node.kubernetes.io/instance-type", "g6.xlarge"),),
        (("node.kubernetes.io/instance-type", "g6.2xlarge"),)),
     [{("node.kubernetes.io/instance-type", "In", "g6.2xlarge", "g6.xlarge"), WHOLE}]),
    ("by either cloud's labels, each term complete", ((("karpenter.k8s.aws/instance-gpu-memory", "22888"),
        ("karpenter.k8s.aws/instance-gpu-name", "l4")), (("nvidia.com/gpu.product", "NVIDIA-L4"),)),
     [{("nvidia.com/gpu.product", "In", "NVIDIA-L4"), WHOLE},
      {("karpenter.k8s.aws/instance-gpu-memory", "In", "22888"), ("karpenter.k8s.aws/instance-gpu-name", "In", "l4"), WHOLE}]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "selectors", "expected"), STEERED, ids=[row[0] for row in STEERED])
def test_pods_are_steered_by_the_labels_of_the_plan_s_nodes(why: str, selectors: Any, expected: Any) -> None:
    assert terms(replace(PLAN, node_selectors=selectors)) == expected


def test_pods_of_an_earlier_plan_keep_their_form_and_new_ones_can_be_stopped_while_they_load() -> None:
    before, now = (deployment(replace(PLAN, pod_form=form))["spec"]["template"]["spec"] for form in (0, 1))
    assert "shareProcessNamespace" not in before
    assert "terminationMessagePolicy" not in before["containers"][0]
    assert now["shareProcessNamespace"] is True
    assert now["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert replace(PLAN, pod_form=1).digest == PLAN.digest, "an upgrade proposes no other plan"
    beside = deployment(replace(PLAN, pod_form=1), template={"sidecars": [{"name": "proxy", "image": "example.com/proxy:1"}]})
    assert "shareProcessNamespace" not in beside["spec"]["template"]["spec"], "a sidecar sees no process of the engine"
