"""Any valid wish on any cluster gets a verdict, and what it says can be written down: every field of the API, drawn together."""

import dataclasses
import json

from hypothesis import HealthCheck, event, given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, manifest
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_estimator import catalogue
from plimsoll_operator.api import ApiError, FitPolicy, InferenceDeployment, parse_inference_deployment, parse_object
from plimsoll_operator.conditions import UNREAD, Situation
from plimsoll_operator.controller.reporting.status import status_of
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import Bypass
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_workload
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

SHARED = {"nvidia.com/gpu.replicas": "2", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
NODES = [
    gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559),
    gpu_node("a100", "NVIDIA-A100-SXM4-40GB", 4, 40960),
    gpu_node("l4", "NVIDIA-L4", 4, 23034, host="96Gi", cpu="24"),
    gpu_node("t4", "Tesla-T4", 1, 15360, host="30Gi", cpu="7500m"),
    gpu_node("unknown", "ACME-X1", 2, 65536),
    gpu_node("slice", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", 7, 9728, host="180Gi", cpu="47"),
    gpu_node(
        "sliced", "NVIDIA-L4-SHARED", 2, 23034, labels={"nvidia.com/gpu.replicas": "2", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
    ),
]
NODES[-1]["status"]["allocatable"]["nvidia.com/gpu"] = "4"

BEYOND = {"resources": {"cpu": "999999999", "memory": "999999999999999T"}}
SIZES = st.sampled_from([1, 2, 3, 4, 8, 16])


def few(fields: Manifest) -> st.SearchStrategy[Manifest]:
    """At most three of the fields: all at once contradict each other nearly always."""
    names = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


ENGINE = few(
    {
        "tensorParallelSize": SIZES,
        "pipelineParallelSize": st.sampled_from([1, 2, 4]),
        "dataParallelSize": st.sampled_from([1, 2]),
        "expertParallel": st.booleans(),
        "decodeContextParallelSize": st.sampled_from([1, 2]),
        "gpuMemoryUtilization": st.sampled_from([0.05, 0.5, 0.9, 0.95, 1.0]),
        "maxModelLen": st.sampled_from([1, 16, 2048, 8192, 131072, 10_000_000]),
        "maxNumSeqs": st.sampled_from([1, 16, 256, 4096]),
        "maxNumBatchedTokens": st.sampled_from([1, 512, 8192, 65536]),
        "dtype": st.sampled_from(["auto", "bfloat16", "half", "float32"]),
        "quantization": st.sampled_from(["fp8", "awq", "gptq", "bitsandbytes"]),
        "kvCacheDtype": st.sampled_from(["auto", "fp8", "fp8_e5m2"]),
        "blockSize": st.sampled_from([16, 32, 64, 128]),
        "enforceEager": st.booleans(),
        "enablePrefixCaching": st.booleans(),
        "enableChunkedPrefill": st.booleans(),
        "speculative": st.sampled_from(
            [
                {"method": "ngram", "numSpeculativeTokens": 3},
                {"method": "mtp", "numSpeculativeTokens": 1},
                {"model": "meta-llama/Llama-3.2-1B-Instruct", "numSpeculativeTokens": 5},
                {"method": "eagle3", "model": "acme/unknown", "numSpeculativeTokens": 2},
            ]
        ),
        "lora": st.sampled_from([{}, {"maxLoras": 4, "maxLoraRank": 64}]),
        "extraArgs": st.sampled_from(
            [["--enable-prefix-caching"], ["--max-model-len=4096"], ["--no-such-flag"], ["--cpu-offload-gb", "4"]]
        ),
    }
)
SPEC = few(
    {
        "replicas": st.sampled_from([0, 1, 3]),
        "workload": st.sampled_from(
            [
                {"useCase": "chat"},
                {"useCase": "batch", "headroomPercent": 0},
                {"requestClasses": [{"name": "a", "promptTokens": 1000, "outputTokens": 100, "concurrency": 4},
                                    {"name": "b", "promptTokens": 60000, "outputTokens": 1, "concurrency": 1, "percentile": 100}]},
            ]
        ),
        "fit": st.sampled_from(
            [
                {"policy": "Resize", "mayChange": ["maxModelLen", "tensorParallelSize"]},
                {"policy": "Resize", "mayChange": ["gpuMemoryUtilization", "maxNumSeqs", "maxNumBatchedTokens", "kvCacheDtype",
                                                   "pipelineParallelSize", "dataParallelSize"]},
                {"minMaxModelLen": 4096, "reserveBytes": "2Gi"},
                {"reserveBytes": "200Gi"},
            ]
        ),
        "placement": st.fixed_dictionaries(
            {},
            optional={
                "sharing": st.sampled_from(["none", "time-slicing", "mps", "mig"]),
                "gpuProducts": st.sampled_from([["NVIDIA-L4"], ["NVIDIA-L4", "NVIDIA-A100-SXM4-40GB"], ["NVIDIA-NONE"], ["ACME-X1"]]),
                "maxNodesPerReplica": st.sampled_from([1, 2, 4]),
                "nodeSelector": st.just({"zone": "a"}),
                "waitForCapacity": st.booleans(),
            },
        ),
        "template": st.sampled_from([{"resources": {"memory": "900Gi"}}, BEYOND, {"serviceAccountName": "a"}, {"labels": {"team": "a"}}]),
    }
)  # fmt: skip
MODELS = st.one_of(
    st.sampled_from([LLAMA_8B, LLAMA_70B, "deepseek-ai/DeepSeek-R1", "Qwen/Qwen3-Next-80B-A3B-Instruct", "acme/nobody-knows"]),
    st.sampled_from(catalogue.names()),
)
POLICY = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["Enforce", "Warn"]),
        "capacity": st.sampled_from(["Closed", "Open"]),
        "maxGpusPerReplica": st.sampled_from([1, 4]),
        "maxGpusPerNamespace": st.sampled_from([0, 6]),
        "maxExtrapolatedMinors": st.sampled_from([0, 4]),
    },
)
VERSIONS = st.sampled_from(["0.19.0", "0.25.1", "0.33.0", "0.11.0", "0.8.5", "0.34.0", "0.40.0", "0.7.3"])


NOW = "2026-01-01T00:00:00Z"


def _situation(wish: InferenceDeployment, verdict: Verdict) -> Situation:
    return Situation(
        generation=1,
        verdict=verdict,
        adopting=True,
        model=UNREAD,
        applied_generation=1,
        replicas=wish.spec.replicas,
        bound=0,
        capacity_for_missing=False,
        child=None,
    )


CLUSTERS = st.lists(st.sampled_from(NODES), min_size=1, max_size=4, unique_by=lambda item: item["metadata"]["name"])


@law(250, suppress_health_check=[HealthCheck.too_slow])
@given(MODELS, VERSIONS, ENGINE, SPEC, POLICY, CLUSTERS, st.sampled_from(Bypass), st.booleans())
def test_any_wish_gets_a_verdict_that_can_be_written_down(
    model: str,
    version: str,
    engine: Manifest,
    spec: Manifest,
    policy: Manifest,
    nodes: list[Manifest],
    bypass: Bypass,
    leader_worker_set: bool,
) -> None:
    try:
        wish = parse_inference_deployment(manifest(model, version=version, engine=engine, **spec))
    except ApiError:
        return  # two fields that contradict each other: the API says so
    held = {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": policy}
    facts = facts_for(wish, Files(*nodes, policies=(parse_object(FitPolicy, held),)), applied_plan=None)
    facts = dataclasses.replace(facts, bypass=bypass, leader_worker_set=leader_worker_set)
    found = decide(facts)
    assert decide(facts) == found
    event(type(found).__name__)
    plan = getattr(found, "plan", None)
    shown = status_of(_situation(wish, found), plan=plan, proposed=None, selector="a=b", previous=None, observed=None, now=NOW)
    parse_inference_deployment(manifest(model, version=version, engine=engine, **spec) | {"status": shown})
    match found:
        case Admit() | Resize():
            assert Plan.from_json(found.plan.canonical_json()) == found.plan
            assert all(len(line) <= 256 and "\n" not in line for line in found.warnings)
            json.dumps(render_workload(wish, found.plan, Origin(generation=1, spec_digest="", replan="")))
        case Reject():
            assert found.message.endswith(".")
            assert found.short_by_bytes is None or found.short_by_bytes > 0
        case Undecided():
            assert found.message
            assert found.next_step
