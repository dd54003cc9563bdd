import dataclasses
import json

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, admitted, deployment, planned, refused, undecided, verdict
from tests.plimsoll_operator.nodes import H100, L4, gpu_node

from plimsoll_operator.api import FitPolicySpec
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Reject, Undecided


def test_an_8b_model_goes_to_the_cheapest_gpu_that_holds_it() -> None:
    plan = planned(verdict(engine={"maxModelLen": 16384}))
    assert (plan.product, plan.tensor_parallel_size, plan.max_model_len) == ("NVIDIA-L4", 1, 16384)
    assert plan.allocated_bytes < plan.gpu_total_bytes


def test_a_70b_model_gets_more_gpus_for_more_context() -> None:
    short = planned(verdict(LLAMA_70B, engine={"maxModelLen": 8192}))
    long = planned(verdict(LLAMA_70B, engine={"maxModelLen": 65536}))
    assert (short.tensor_parallel_size, long.tensor_parallel_size) == (2, 4)
    assert short.pools == long.pools


def test_a_rejection_says_needed_available_and_short_by() -> None:
    found = verdict(LLAMA_70B, engine={"maxModelLen": 8192}, placement={"gpuProducts": ["NVIDIA-L4"]})
    assert isinstance(found, Reject)
    assert found.needed_bytes is not None
    assert found.available_bytes is not None
    assert found.short_by_bytes == found.needed_bytes - found.available_bytes > 0
    assert "GiB on each of 4 GPUs" in found.message
    assert "GiB on NVIDIA-L4, short by" in found.message
    assert found.component == "weights"


def test_a_reserve_above_the_gpu_is_short_by_what_is_missing() -> None:
    found = refused(verdict(fit={"reserveBytes": "100Gi"}))
    assert found.short_by_bytes is not None
    assert found.short_by_bytes > 20 << 30
    assert "reserve 100.0" in found.message
    assert "short by -" not in found.message


def test_a_least_context_above_the_models_own_is_refused_and_the_default_is_not() -> None:
    found = refused(verdict("Qwen/Qwen2.5-1.5B-Instruct", fit={"minMaxModelLen": 40000}))
    assert (found.reason, found.field) == ("EngineRefuses", "spec.fit.minMaxModelLen")
    assert "40000 is greater than the length derived" in found.message
    assert planned(verdict("meta-llama/Llama-2-7b-hf")).max_model_len == 4096


def test_a_newer_engine_is_warned_about_once() -> None:
    found = admitted(verdict("Qwen/Qwen2.5-1.5B-Instruct", version="0.34.0"))
    assert sum("newer" in line for line in found.warnings) == 1


def test_a_policy_that_caps_a_replica_is_named_where_memory_is_short() -> None:
    facts = facts_for(deployment(LLAMA_70B, engine={"maxModelLen": 65536}), Files(H100), applied_plan=None)
    found = refused(decide(dataclasses.replace(facts, policy=FitPolicySpec(max_gpus_per_replica=1))))
    assert found.details[0] == "The FitPolicy allows a replica at most 1 GPU."
    assert planned(decide(facts)).tensor_parallel_size == 4


@pytest.mark.parametrize(("host", "reason"), [({"cpu": "2"}, "HostCpu"), ({"host": "8Gi"}, "HostMemory")])
def test_a_host_that_is_too_small_is_named_though_fewer_gpus_would_miss_by_memory(host: Manifest, reason: str) -> None:
    small = gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559, **host)
    found = refused(verdict(LLAMA_70B, engine={"maxModelLen": 8192}, store=Files(small)))
    assert (found.reason, found.field) == (reason, "spec.placement")


CHECKS = [
    ("an unknown model is undecided", {"model": "acme/unknown"}, Undecided, "UnknownModel"),
    ("an engine far ahead of the known ones is undecided", {"version": "0.77.0"}, Undecided, "UnknownEngine"),
    ("an engine older than the oldest known is undecided", {"version": "0.5.0"}, Undecided, "UnknownEngine"),
    ("a product that no pool has is rejected", {"placement": {"gpuProducts": ["NVIDIA-B200"]}}, Reject, "NoMatchingPool"),
    ("more GPUs than a node has are rejected", {"engine": {"tensorParallelSize": 16}}, Reject, "InsufficientGpusPerNode"),
    ("heads that tensor parallelism does not divide are refused", {"engine": {"tensorParallelSize": 3}}, Reject, "EngineRefuses"),
    ("a flag that the plan owns is refused", {"engine": {"extraArgs": ["--max-model-len", "5"]}}, Reject, "InvalidSpec"),
    ("a field that nothing honours is refused by name", {"placement": {"queueName": "a"}}, Reject, "NotSupportedYet"),
    ("a selector on a label that pools are not split by is undecided", {"placement": {"nodeSelector": {"zone": "a"}}}, Undecided,
     "LabelNotIndexed"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "wish", "kind", "reason"), CHECKS, ids=[row[0] for row in CHECKS])
def test_checks(why: str, wish: Manifest, kind: type[Reject | Undecided], reason: str) -> None:
    found = verdict(**wish)
    assert isinstance(found, kind), found
    assert found.reason.value == reason


def test_no_gpu_at_all_is_undecided_and_an_open_cluster_may_get_more() -> None:
    assert undecided(verdict(store=Files())).reason == "NoCapacityKnown"
    for engine, placement, product in (({}, {"gpuProducts": ["NVIDIA-H200"]}, "NVIDIA-H200"), ({"maxModelLen": 131072}, {}, "NVIDIA-")):
        facts = facts_for(deployment(LLAMA_70B, engine=engine, placement=placement), Files(L4), applied_plan=None)
        assert isinstance(decide(facts), Reject)
        found = undecided(decide(dataclasses.replace(facts, policy=FitPolicySpec(capacity="Open"))))
        assert found.reason == "NoKnownPool"
        assert f"It would fit {product}" in found.message


def test_labels_split_pools_and_taints_keep_out() -> None:
    east = gpu_node("e", "NVIDIA-L4", 4, 23034, labels={"zone": "east"})
    west = gpu_node("w", "NVIDIA-L4", 4, 23034, labels={"zone": "west"}, taints=[{"key": "team", "value": "a", "effect": "NoSchedule"}])
    store = Files(east, west, keys=["zone"])
    assert len(planned(verdict(store=store, placement={"nodeSelector": {"zone": "east"}})).pools) == 1
    assert refused(verdict(store=store, placement={"nodeSelector": {"zone": "west"}})).reason == "NoMatchingPool"
    tolerant = {"nodeSelector": {"zone": "west"}, "tolerations": [{"key": "team", "operator": "Equal", "value": "a"}]}
    assert isinstance(verdict(store=store, placement=tolerant), Admit)


def test_several_products_make_one_plan_that_runs_on_each() -> None:
    a10g = gpu_node("a", "NVIDIA-A10G", 1, 23028)
    plan = planned(verdict(store=Files(L4, a10g), placement={"gpuProducts": ["NVIDIA-L4", "NVIDIA-A10G"]}))
    assert plan.gpu_products == ("NVIDIA-A10G", "NVIDIA-L4")
    alone = [planned(verdict(store=Files(item))) for item in (L4, a10g)]
    assert plan.max_model_len == min(p.max_model_len for p in alone)
    assert len(plan.pools) == 2


def test_a_pool_with_too_little_host_memory_is_refused_by_name() -> None:
    small = gpu_node("s", "NVIDIA-L4", 4, 23034, host="4Gi")
    found = refused(verdict(store=Files(small), engine={"maxModelLen": 8192}))
    assert found.reason == "HostMemory"
    assert "nvidia-l4-x4" in found.message


def test_a_full_cluster_is_a_warning() -> None:
    found = verdict(replicas=5, store=Files(L4))
    assert isinstance(found, Admit)
    assert not found.plan.available_now
    assert any("not enough GPUs for 5 replicas" in line for line in found.warnings)


REFUSED = [
    ("context beyond the model's own", "meta-llama/Llama-2-7b-hf", {"maxModelLen": 8192}, "spec.engine.maxModelLen", {"maxModelLen": 4096}),
    (
        "heads that the size does not divide",
        LLAMA_8B,
        {"tensorParallelSize": 3},
        "spec.engine.tensorParallelSize",
        {"tensorParallelSize": 1},
    ),
]


@pytest.mark.parametrize(("why", "model", "engine", "field", "way_out"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_vllm_refuses_names_the_field_and_the_way_out(
    why: str, model: str, engine: dict[str, int], field: str, way_out: dict[str, int]
) -> None:
    found = refused(verdict(model, engine=engine))
    assert (found.reason, found.field) == ("EngineRefuses", field)
    assert json.loads(found.offers[0].patch_json) == {"spec": {"engine": way_out}}


def test_an_open_cluster_is_still_refused_what_no_gpu_holds() -> None:
    wish = deployment("meta-llama/Llama-3.1-405B", engine={"tensorParallelSize": 1}, placement={"gpuProducts": ["NVIDIA-L4"]})
    facts = facts_for(wish, Files(L4), applied_plan=None)
    assert isinstance(decide(dataclasses.replace(facts, policy=FitPolicySpec(capacity="Open"))), Reject)


@pytest.mark.parametrize(
    ("why", "extra_args"),
    [
        ("a flag that the spec's own field owns", ["--max-model-len=4096"]),
        ("a flag given twice", ["--block-size=16", "--block-size=32"]),
        ("a flag that this release does not have", ["--no-such-flag"]),
        ("a value that is no number", ["--block-size=many"]),
        ("a word that belongs to no flag", ["stray"]),
        ("a model that the spec gives, with underscores and all", ["--model=acme/x"]),
        ("a port abbreviated", ["--por=9000"]),
        ("a revision", ["--revision=main"]),
        ("a size of the plan abbreviated", ["--tensor-parallel-s=2"]),
        ("a value that this release does not list", ["--mamba-ssm-cache-dtype=bfloat16"]),
        ("tools without a parser", ["--enable-auto-tool-choice"]),
    ],
)
def test_a_fault_in_extra_args_names_the_field(why: str, extra_args: list[str]) -> None:
    found = verdict(engine={"maxModelLen": 8192, "extraArgs": extra_args})
    assert isinstance(found, Reject)
    assert found.field == "spec.engine.extraArgs", why
    assert extra_args[-1].partition("=")[0] in found.message


@pytest.mark.parametrize(
    ("version", "engine", "field", "words"),
    [
        ("0.10.2", {"kvCacheDtype": "bfloat16"}, "spec.engine.kvCacheDtype", "it is one from 0.11.0 on"),
        ("0.10.2", {"blockSize": 256}, "spec.engine.blockSize", "it is one from 0.11.1 to 0.17.1"),
        ("0.8.2", {"dataParallelSize": 2}, "spec.engine.dataParallelSize", "--data-parallel-size exists from 0.8.3 on"),
        ("0.8.1", {"speculative": {"method": "ngram", "numSpeculativeTokens": 3}}, "spec.engine.speculative.method", "from 0.8.2 on"),
        ("0.19.0", {"quantization": "acme"}, "spec.engine.quantization", "knows no quantization method acme"),
        ("0.9.2", {"quantization": "mxfp4"}, "spec.engine.quantization", "it is one from 0.10.1 on"),
        ("0.14.0", {"quantization": "fbgemm_fp8"}, "spec.engine.quantization", "--allow-deprecated-quantization"),
        (
            "0.10.1",
            {"tensorParallelSize": 2, "decodeContextParallelSize": 2},
            "spec.engine.decodeContextParallelSize",
            "has no decode",
        ),
    ],
)
def test_values_that_a_release_does_not_take_are_refused_at_their_field(version: str, engine: Manifest, field: str, words: str) -> None:
    found = verdict(version=version, engine={"maxModelLen": 8192} | engine)
    assert isinstance(found, Reject)
    assert found.field == field
    assert words in found.message


def test_loaders_that_read_files_whole_need_the_host_memory_for_them() -> None:
    """An 8B model in mapped files runs on a 16 GiB host; a loader that holds a file of up to 5 GiB does not do so everywhere."""
    small = gpu_node("s", "NVIDIA-L4", 1, 23034, host="10Gi")
    found = admitted(verdict(engine={"maxModelLen": 8192}, store=Files(small)))
    assert any("Host memory is close" in line for line in found.warnings)
    eager = {"maxModelLen": 8192, "extraArgs": ["--safetensors-load-strategy", "eager"]}
    assert refused(verdict(engine=eager, store=Files(small))).reason == "HostMemory"
    roomy = gpu_node("r", "NVIDIA-L4", 1, 23034, host="60Gi")
    assert not any("Host memory" in line for line in admitted(verdict(engine=eager, store=Files(roomy))).warnings)
