"""Which parallel layout is chosen for a wish, and why: tensor parallel first, then whole experts, stages, further nodes."""

import dataclasses
import json

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, admitted, deployment, offered, planned, resized, verdict
from tests.plimsoll_operator.nodes import H100, gpu_node

from plimsoll_operator.api import FitPolicySpec
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Plan, Reject

QWEN_FP8, QWEN_30B = "Qwen/Qwen3-235B-A22B-FP8", "Qwen/Qwen3-30B-A3B"
QWEN_14B, DEEPSEEK, GPT2 = "Qwen/Qwen2.5-14B-Instruct", "deepseek-ai/DeepSeek-V3", "bigcode/starcoder2-15b"
T4x3 = gpu_node("t", "Tesla-T4", 3, 15360)
A100x8 = gpu_node("a", "NVIDIA-A100-SXM4-80GB", 8, 81920)


def sizes(plan: Plan) -> tuple[int, ...]:
    return (
        plan.tensor_parallel_size,
        plan.pipeline_parallel_size,
        plan.data_parallel_size,
        plan.enable_expert_parallel,
        plan.nodes_per_replica,
    )


ONE_NODE = [
    ("a model that one tensor parallel size serves gets no stages", LLAMA_70B, {}, [H100], (2, 1, 1, False, 1)),
    ("three cards hold it, three do not divide 40 heads: three stages", QWEN_14B, {}, [T4x3], (1, 3, 1, False, 1)),
    ("two thirds of the cards in tensor parallel would do: no stages", QWEN_14B, {"dtype": "float16"}, [gpu_node(count=3)],
     (2, 1, 1, False, 1)),
    ("a pinned tensor parallel size says how many GPUs: no stages are added to it", QWEN_14B, {"tensorParallelSize": 1}, [T4x3], None),
    ("pinned stages are kept, the tensor parallel size is found", LLAMA_8B, {"pipelineParallelSize": 2}, [H100], (1, 2, 1, False, 1)),
    ("experts that can be sliced are", QWEN_FP8, {}, [H100], (4, 1, 1, False, 1)),
    ("fp8 blocks of 128 cannot be sliced for eight ranks: whole experts", QWEN_FP8, {"tensorParallelSize": 8}, [H100], (8, 1, 1, True, 1)),
    ("who pins sliced experts is refused rather than overruled", QWEN_FP8, {"tensorParallelSize": 8, "expertParallel": False}, [H100],
     None),
    ("pinned whole experts are kept", QWEN_30B, {"tensorParallelSize": 2, "expertParallel": True}, [H100], (2, 1, 1, True, 1)),
    ("engines are never added to a wish", QWEN_30B, {}, [H100], (1, 1, 1, False, 1)),
    ("pinned engines share one pod", QWEN_30B, {"dataParallelSize": 4, "expertParallel": True}, [H100], (1, 1, 4, True, 1)),
    ("engines and tensor parallelism together", LLAMA_70B, {"dataParallelSize": 2}, [H100], (2, 1, 2, False, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "engine", "nodes", "expected"), ONE_NODE, ids=[row[0] for row in ONE_NODE])
def test_the_layout_on_one_node(why: str, model: str, engine: Manifest, nodes: list[Manifest], expected: tuple[int, ...] | None) -> None:
    found = verdict(model, engine={"maxModelLen": 8192} | engine, store=Files(*nodes))
    assert (sizes(found.plan) if isinstance(found, Admit) else None) == expected


REFUSED = [
    ("whole experts of a dense model", LLAMA_8B, {"expertParallel": True}, "EngineRefuses", "spec.engine.expertParallel"),
    ("decode context parallelism within the KV heads", LLAMA_70B, {"tensorParallelSize": 4, "decodeContextParallelSize": 2},
     "EngineRefuses", "spec.engine.decodeContextParallelSize"),
    ("more engines than a node has GPUs", QWEN_30B, {"dataParallelSize": 16}, "InsufficientGpusPerNode", "spec.engine.dataParallelSize"),
    ("stages that a model's class has none of", "tiiuae/falcon-mamba-7b", {"pipelineParallelSize": 16}, "InsufficientGpusPerNode",
     "spec.engine.pipelineParallelSize"),
    ("a context parallel size given as an extra argument", LLAMA_8B, {"extraArgs": ["-dcp", "2"]}, "InvalidSpec", "spec.engine.extraArgs"),
    ("nodes given as an extra argument", LLAMA_8B, {"extraArgs": ["--nnodes=2"]}, "InvalidSpec", "spec.engine.extraArgs"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "engine", "reason", "field"), REFUSED, ids=[row[0] for row in REFUSED])
def test_layouts_that_are_refused_by_name(why: str, model: str, engine: Manifest, reason: str, field: str) -> None:
    found = verdict(model, engine={"maxModelLen": 8192} | engine, store=Files(H100))
    assert isinstance(found, Reject)
    assert (found.reason.value, found.field) == (reason, field)


def test_what_is_chosen_because_nothing_simpler_serves_is_said() -> None:
    stages = admitted(verdict(QWEN_14B, engine={"maxModelLen": 8192}, store=Files(T4x3))).warnings
    assert any("3 pipeline stages" in line for line in stages)
    experts = admitted(verdict(QWEN_FP8, engine={"maxModelLen": 8192, "tensorParallelSize": 8}, store=Files(H100))).warnings
    assert any("cannot slice the experts" in line for line in experts)


def test_decode_context_parallel_multiplies_the_tokens_of_latent_attention() -> None:
    h200 = Files(gpu_node("h", "NVIDIA-H200", 8, 143771))
    plain, shared = (
        planned(verdict(DEEPSEEK, engine={"maxModelLen": 32768, "tensorParallelSize": 8, **more}, store=h200))
        for more in ({}, {"decodeContextParallelSize": 8})
    )
    assert shared.decode_context_parallel_size == 8
    assert shared.kv_cache_tokens > 7 * plain.kv_cache_tokens


def test_tokens_and_concurrency_are_of_all_engines_of_a_replica() -> None:
    one, four = (planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192, "dataParallelSize": size}, store=Files(A100x8))) for size in (1, 4))
    assert (four.kv_cache_tokens, four.gpus_per_replica, four.max_num_seqs) == (4 * one.kv_cache_tokens, 4, one.max_num_seqs)
    assert four.host_memory_bytes > 2 * one.host_memory_bytes
    assert four.predicted == one.predicted


def test_an_offer_of_stages_pins_both_sizes_and_is_admitted() -> None:
    wish: Manifest = {"engine": {"maxModelLen": 8192, "tensorParallelSize": 2}, "store": Files(T4x3)}
    found = verdict(QWEN_14B, **wish)
    assert isinstance(found, Reject)
    patches = [json.loads(offer.patch_json)["spec"].get("engine", {}) for offer in found.offers]
    assert {"tensorParallelSize": 1, "pipelineParallelSize": 3} in patches
    assert all(isinstance(offered(offer, QWEN_14B, **wish), Admit) for offer in found.offers)


@pytest.mark.parametrize(
    ("why", "wish", "changes", "expected"),
    [
        ("a pinned number of stages may move upward", {"pipelineParallelSize": 2}, ["pipelineParallelSize"], (1, 3, 1, False, 1)),
        ("both sizes together, where both are pinned and may move", {"tensorParallelSize": 2, "pipelineParallelSize": 2},
         ["tensorParallelSize", "pipelineParallelSize"], (1, 3, 1, False, 1)),
    ],
)  # fmt: skip
def test_pinned_sizes_move_only_where_they_may(why: str, wish: dict[str, int], changes: list[str], expected: tuple[int, ...]) -> None:
    found = resized(
        verdict(QWEN_14B, engine={"maxModelLen": 8192} | wish, store=Files(T4x3), fit={"policy": "Resize", "mayChange": changes})
    )
    assert sizes(found.plan) == expected, why


SURGE = [
    ("a free GPU for one replica more lets a new pod start before an old one stops", 3, 4, True),
    ("a full pool replaces in place", 4, 4, False),
    ("a pool that is too small does so too", 5, 4, False),
    ("nothing is rolled where nothing runs", 0, 4, False),
]


@pytest.mark.parametrize(("why", "replicas", "gpus", "surges"), SURGE, ids=[row[0] for row in SURGE])
def test_rollout_headroom_is_part_of_the_plan(why: str, replicas: int, gpus: int, surges: bool) -> None:
    store = Files(gpu_node("l", "NVIDIA-L4", gpus, 23034))
    assert planned(verdict(replicas=replicas, engine={"maxModelLen": 8192}, store=store)).may_surge is surges


def test_headroom_that_comes_and_goes_is_no_other_plan() -> None:
    plan = planned(verdict(engine={"maxModelLen": 8192}, store=Files(gpu_node("l", "NVIDIA-L4", 4, 23034))))
    assert plan.may_surge
    assert dataclasses.replace(plan, may_surge=False, available_now=False).digest == plan.digest


def test_a_cap_on_gpus_bounds_stages_too() -> None:
    facts = facts_for(deployment(QWEN_14B, engine={"maxModelLen": 8192}), Files(T4x3), applied_plan=None)
    assert isinstance(decide(facts), Admit)
    assert isinstance(decide(dataclasses.replace(facts, policy=FitPolicySpec(max_gpus_per_replica=2))), Reject)


def test_a_plan_written_before_these_layouts_is_read_with_their_defaults_and_keeps_its_digest() -> None:
    plan = planned(verdict(engine={"maxModelLen": 8192}))
    old = json.loads(plan.canonical_json())
    for name in ("decode_context_parallel_size", "nodes_per_replica", "may_surge"):
        del old[name]
    read = Plan.from_json(json.dumps(old))
    assert (read.decode_context_parallel_size, read.nodes_per_replica, read.may_surge) == (1, 1, False)
    assert read.digest == plan.digest
    assert dataclasses.replace(plan, nodes_per_replica=2).digest != plan.digest
